/**
 * What the rooms above see of the cache: blobs by descriptor, read at any offset, fetched on demand, verified.
 */
import type { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { ByteRange, CallOptions, ImageStore } from '../store/store.js';

/** Where a blob can be had from: the cache goes there for what it lacks. */
export interface BlobSource {
  readonly store: ImageStore;
  readonly repository: string;
  readonly descriptor: Descriptor;
}

/** How much of a blob is cached. */
export interface BlobStatus {
  readonly state: 'absent' | 'partial' | 'complete';
  /** Bytes on disk that belong to the blob. */
  readonly presentBytes: number;
  /** Size of the whole blob in bytes, if known. */
  readonly size: number | undefined;
  /** True when the whole matched its digest. */
  readonly verified: boolean;
}

/** A file on disk that holds the blob, whole or in part, so that a driver can read it without JavaScript. */
export interface Backing {
  /** Open read-only descriptor; belongs to the reader and lives until its `close`, also after eviction. */
  readonly fd: number;
  /** True when all bytes are there and match the digest: passthrough is allowed. Can become true later. */
  readonly complete: boolean;
  /** Ranges present now, sorted, disjoint: each may be read from `fd` without asking. */
  present(): readonly ByteRange[];
  /** End of the present bytes that begin at `position`; `position` when it is absent. */
  presentUntil(position: number): number;
}

/** How a range is read. */
export interface ReadOptions extends CallOptions {
  /** Fetch what is asked for and nothing around it, and take it for no part of a sequence. */
  readonly exact?: boolean;
  /** The reader goes on to the end: windows are long from the first one on, and it is fetched ahead at once. */
  readonly toTheEnd?: boolean;
}

/**
 * Random access to one blob. Reads of what is absent fetch it: single flight per range, read-ahead that grows
 * while reading is sequential, never more than one writer per range.
 *
 * Verification (DESIGN section 4): a range read before the whole is known is unverified; the read that would
 * complete the blob is answered only if the whole matches. With `verify: 'strict'` every read waits for the
 * whole.
 */
export interface BlobReader {
  readonly descriptor: Descriptor;
  /** Size in bytes. */
  readonly size: number;
  /**
   * Read up to `length` bytes at `position` into `buffer` at `offset`; resolves to the number of bytes, short
   * only at the end of the blob.
   * @throws ImgfsError `integrity` when the whole does not match, and whatever the store throws.
   */
  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    options?: ReadOptions,
  ): Promise<number>;
  /** Make `range` present on disk without reading it. @throws as `read`; `cache-full` when it cannot be kept. */
  fill(range: ByteRange, options?: ReadOptions): Promise<void>;
  /** Undefined while nothing is on disk, or when the cache reads through. */
  backing(): Backing | undefined;
  /** How much of the blob is on disk now. */
  status(): BlobStatus;
  /** Let go of it. Idempotent. */
  close(): Promise<void>;
}

/** How a blob is opened. */
export interface OpenOptions extends CallOptions {
  /**
   * How this reader verifies; default: as the cache was opened. `ranges`: the caller checks every range by a digest of its
   * own (a span digest of a layer index), so it reads as with `default` from a strict cache too; and when the blob fails,
   * what it was given before is no reason to end: it goes on with the blob that is fetched anew.
   */
  readonly verify?: 'default' | 'strict' | 'ranges';
}

/** Told when a blob turned out not to match its digest, after some of it may have been read. */
export type IntegrityListener = (digest: Digest, error: ImgfsError) => void;

/** How a blob is read whole. */
export interface ReadAllOptions extends CallOptions {
  /** Refuse a larger blob with `too-large`. */
  readonly maxBytes: number;
}

/** The cache as the rooms above see it. */
export interface ContentCache {
  /** A reader for the blob; opening costs no request. */
  open(source: BlobSource, options?: OpenOptions): Promise<BlobReader>;
  /** The whole blob in memory, always verified. For manifests, configs and other small blobs. */
  readAll(source: BlobSource, options: ReadAllOptions): Promise<Uint8Array>;
  /** Take bytes that are at hand (descriptor `data`, a manifest that came with `resolve`). Verifies first. */
  put(descriptor: Descriptor, bytes: Uint8Array): Promise<void>;
  /** How much of a blob is cached. Asks no store. */
  status(digest: Digest): Promise<BlobStatus>;
  /** Digests of complete and of partial blobs. */
  list(): AsyncIterable<{ readonly digest: Digest; readonly status: BlobStatus }>;
  /**
   * Be told of blobs that failed: whoever gave out their bytes (the kernel's page cache) must forget them. Returns
   * how to stop being told.
   */
  onIntegrityFailure(listener: IntegrityListener): () => void;
  /** What is known for work without a network. */
  readonly refs: RefStore;
  /** The directory all files are in; rooms above keep their own files in their own folder of it. */
  readonly directory: string;
  /** Let go of it. Idempotent. */
  close(): Promise<void>;
}

/** Last known answer of a store to a name. */
export interface KnownRef {
  readonly descriptor: Descriptor;
  /** When the store said so, in milliseconds since the epoch. */
  readonly at: number;
}

/** Last known tag → descriptor, and lists of names visited. Survives restarts; may be lost at any time. */
export interface RefStore {
  /** What was last known of a tag. */
  get(storeId: string, repository: string, tag: string): Promise<KnownRef | undefined>;
  /** Remember an answer of the store. */
  set(storeId: string, repository: string, tag: string, descriptor: Descriptor): Promise<void>;
  /** Forget a tag. */
  delete(storeId: string, repository: string, tag: string): Promise<void>;
  /** Repositories of the store that were ever resolved. */
  repositories(storeId: string): Promise<readonly string[]>;
  /** Tags of the repository that were ever resolved. */
  tags(storeId: string, repository: string): Promise<readonly string[]>;
  /** Stores that were ever visited. */
  stores(): Promise<readonly string[]>;
}
