/** Stores that give an image they have another name by themselves, without its manifest being sent: engines. */
import type { CallOptions, ImageStore, Target } from './store.js';

export interface Tagger {
  /** @throws ImgfsError `not-found`, `name-invalid`. */
  tag(target: Target, repository: string, tag: string, options?: CallOptions): Promise<void>;
}

export const isTagger = (store: ImageStore): store is ImageStore & Tagger =>
  typeof (store as Partial<Tagger>).tag === 'function';
