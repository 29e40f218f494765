/** What the rooms above see of layers. */
import type { ImgfsError } from '../errors/imgfs-error.js';
import type { SharedFile } from '../content/shared-file.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { ByteRange, CallOptions } from '../store/store.js';
import type { EntryTable } from './index/entry-table.js';
import type { IndexOrigin } from './index/index-file.js';
import type { LayerFormat } from './native/layer-addon.js';

export interface LayerProgress {
  readonly state: 'indexing' | 'ready' | 'failed';
  /** Bytes of the blob and of its decoded archive that an index pass has been through. */
  readonly inBytes: number;
  readonly outBytes: number;
  readonly blobBytes: number;
  readonly entries: number;
  /** Why it failed. */
  readonly error: ImgfsError | undefined;
}

/** Decoded bytes on disk that may be read without asking. */
export interface LayerBacking {
  /** Open descriptor; lives until the layer is closed. Byte 0 is byte 0 of the decoded archive. */
  readonly fd: number;
  /** Ranges that are there, decoded and checked, now: sorted and disjoint. Only those that touch `within`, if given. */
  present(within?: ByteRange): readonly ByteRange[];
  /**
   * What is present of the range now, and whatever is filled, stays there until the answer is called or the layer that
   * gave this backing is closed. To be called before `present` and `fillDecoded` by whoever reads without asking.
   */
  hold(range: ByteRange): () => void;
}

/**
 * One layer. An entry is known by its row in `table`, which stays the same whatever happens to its index, so
 * `(identity, row)` names it in any image.
 */
export interface Layer {
  readonly descriptor: Descriptor;
  /**
   * What the rows are of: the layer's digest, or, while an index is in use that came with an image, that and what binds
   * the index. Final once the layer is ready.
   */
  readonly identity: string;
  /** Names and bytes are covered by a digest that the manifest binds. */
  readonly isVerified: boolean;
  /** Entries in archive order; grows while indexing. Trust it only once `whenReady` resolved (or when deferred). */
  readonly table: EntryTable;
  /** Undefined until the first bytes were seen. */
  readonly format: LayerFormat | undefined;
  readonly origin: IndexOrigin | undefined;
  /** Length of the decoded archive in bytes, once it is known. */
  readonly decodedSize: number | undefined;
  progress(): LayerProgress;
  /**
   * Resolves when all entries are known and the blob (or what stands for it) has matched its digest.
   * @throws ImgfsError why it cannot be: `integrity`, `invalid-content`, `too-large`, `unsupported`, or what the store
   *   threw; `interrupted` when the signal fired.
   */
  whenReady(options?: CallOptions): Promise<void>;
  /** Resolves when more is known than now, or at once when the layer is ready. @throws as `whenReady`. */
  whenChanged(options?: CallOptions): Promise<void>;
  /**
   * Resolves when an index of our own is there, and with it `decodedSize`: a layer may be ready before that by an index
   * that came with its image. @throws as `whenReady`.
   */
  whenIndexed(options?: CallOptions): Promise<void>;
  /**
   * Read the decoded archive: fills `buffer` from `position`; the number is short only at its end. Waits for the index,
   * or, when deferred, for the bytes only. @throws as `whenReady`.
   */
  readDecoded(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number>;
  /** Make a range of the decoded archive present in `backing`. @throws as `readDecoded`; `cache-full`. */
  fillDecoded(range: ByteRange, options?: CallOptions): Promise<void>;
  /**
   * Have a range of the blob on disk, for who goes through the whole layer; nothing is done where that would not help.
   * @throws as `readDecoded`; `cache-full`.
   */
  fetchAhead(range: ByteRange, options?: CallOptions): Promise<void>;
  /** Read the content of a file entry, holes included. @throws as `readDecoded`. */
  readEntry(row: number, buffer: Uint8Array, position: number, options?: CallOptions): Promise<number>;
  /** Undefined before the layer is ready, for plain archives (use the blob's), and when nothing can be kept. */
  backing(): LayerBacking | undefined;
  /** The decoded archive for who opens files in it by itself; undefined where `backing` is. */
  sharedFile(): SharedFile | undefined;
  /** Note that a file whose bytes begin at `start` of the decoded archive was opened by who did not ask. */
  passed(start: number): void;
  close(): Promise<void>;
}
