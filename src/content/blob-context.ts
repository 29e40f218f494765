/** What a blob needs of the cache it belongs to. */
import type { ImgfsError } from '../errors/imgfs-error.js';
import type { Digest } from '../oci/digest.js';
import type { CachePaths } from './cache-paths.js';
import type { HelperPool } from './helper-pool.js';
import type { KindLedger } from './kind-list.js';
import type { LazyBlob } from './lazy-blob.js';
import type { Ledger } from './ledger.js';
import type { MemoryShelf } from './memory-shelf.js';

export interface BlobContext {
  readonly paths: CachePaths;
  readonly pool: HelperPool;
  readonly ledger: Ledger;
  /** Partial blobs, by the name of their folder. */
  readonly partials: KindLedger;
  readonly shelf: MemoryShelf;
  /** Transfers of one blob at the same time. */
  readonly connections: number;
  /** False for a while after the disk refused something. */
  diskUsable(): boolean;
  noteTrouble(error: unknown): void;
  /** The disk is full: evict. Resolves to the bytes freed; 0 when that does not help. */
  freeDisk(error: unknown): Promise<number>;
  /** A complete blob was used. */
  touch(digest: Digest): void;
  /** A complete blob is about to get its name; `blobAdded` or `blobGone` follows. */
  blobNamed(digest: Digest, bytes: number): void;
  blobAdded(digest: Digest, bytes: number): void;
  blobGone(digest: Digest): void;
  /** The blob is dead; `sourceAtFault`: the bytes came wrong from the store. */
  blobFailed(blob: LazyBlob, error: ImgfsError, sourceAtFault: boolean): void;
}
