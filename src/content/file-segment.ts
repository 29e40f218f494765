/** Files that are put together of others, told so that who reads them needs no copy of their bytes. */
import type { ByteRange } from '../store/store.js';

/** Part of a file: bytes in memory, or a range of an open file on disk. `start` and `end` are of the whole. */
export type FileSegment = ByteRange &
  ({ readonly bytes: Uint8Array } | { readonly fd: number; readonly offset: number });

/** Takes segments while all their descriptors are open. */
export type TakeSegments = (segments: readonly FileSegment[]) => void;
