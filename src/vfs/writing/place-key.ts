/** How places in stores are told apart. */
import type { ImageStore } from '../../store/store.js';

/** Names a place in a store: a repository, or a tag of the one above it. */
export function placeKey(store: ImageStore, path: string): string {
  return `${store.id}\0${path}`;
}
