/** Stores of one image keep no names: their image is under one tag, whatever a test would call it. */
import type { StoreFixture } from './store-suite.js';

/** The tag to use where a test wants `wanted`. */
export function tagFor({ onlyTag }: StoreFixture, wanted = 'v1'): string {
  return onlyTag ?? wanted;
}
