import type { ImageStore, Pusher } from '../store/store.js';

/** A store that takes images. */
export type PushStore = ImageStore & Pusher;
