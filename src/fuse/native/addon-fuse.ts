/** The addon's FUSE part as TypeScript sees it (native/src/fuse/binding*.cc). */
import { loadAddon } from '../../addon/load-addon.js';

/** What one call delivers: nobody waited any more, delivered, or delivered and our handle is not needed any more. */
export const delivery = { gone: 0, delivered: 1, adopted: 2 } as const;

/** Flags of `replyOpen` and `replyOpendir`; `complete` also of `fillDone`. `segmented`: fills tell segments. */
export const openFlags = { keepCache: 1, directIo: 2, complete: 4, segmented: 8 } as const;

/** Flag of `fillDone`: the range cannot be kept on disk, ask for its bytes with `read`. */
export const fillUseRead = 1;

/** Sizes of the shared buffers, as in binding-jobs.cc. */
export const batchWords = 128 * 12;
export const batchNameBytes = 128 * 256;

/** What mounting came to: an open `/dev/fuse`, or the step that failed with its errno and what the helper said. */
export interface AddonMountResult {
  readonly fd: number;
  readonly error: number;
  readonly step: string;
  readonly output: string;
}

export interface AddonMountOptions {
  /** Absolute path without symbolic links. */
  readonly mountPoint: string;
  readonly fsName: string;
  /** Path of fusermount3; empty for mount(2). */
  readonly helper: string;
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  /** Largest READ in bytes. */
  readonly maxRead: number;
}

/**
 * How a file was opened. `fd` is -1 without a backing file; `present` holds pairs of start and end; `file` is a number of
 * `putFile`, or 0.
 */
export type OpenAnswer = [
  handle: number,
  flags: number,
  fd: number,
  baseOffset: number,
  present: Float64Array,
  file: number,
];

export interface AddonSessionOptions {
  readonly mountPoint: string;
  readonly helper: string;
  /** The open device; the session owns it from now on. */
  readonly fd: number;
  readonly readers: number;
  readonly operationTimeoutMs: number;
  /** Of operations that wait for a store to take something: flush, fsync, copy_file_range. */
  readonly slowTimeoutMs: number;
  readonly maxRead: number;
  readonly passthrough: boolean;
  /** Extended attributes outside `user.` are asked for too. */
  readonly allXattrs: boolean;
  /** Flags of INIT that are not asked for, and the newest minor version (0: the newest known). */
  readonly withoutFlags: number;
  readonly mostMinor: number;
  /** False: everything that changes something is answered EROFS without asking. */
  readonly writable: boolean;
  /** Receives jobs: `batchWords` numbers and, over the same memory, the cookies. */
  readonly words: ArrayBuffer;
  readonly names: Uint8Array;
  /** Written before `replyEntry`, `replyAttributes` and `putAttributes`. */
  readonly packed: Uint8Array;
  /** `count` jobs lie in `words`. */
  readonly onBatch: (count: number) => void;
  /** Jobs wait that would hold this turn of the event loop up: call `nextTurn` in a later one. */
  readonly onShareUsed: () => void;
}

/** Answers carry the job's id; false, or `delivery.gone`: nobody waits any more, undo what the answer gave. */
export interface AddonSession {
  replyError(id: number, errno: number): boolean;
  replyEntry(id: number): boolean;
  replyNegative(id: number, ttlMs: number): boolean;
  replyAttributes(id: number): boolean;
  replyBytes(id: number, bytes: Uint8Array, length: number): boolean;
  replyStatfs(
    id: number,
    blockSize: number,
    blocks: number,
    blocksFree: number,
    files: number,
    maxNameLength: number,
  ): boolean;
  replyOpen(id: number, ...answer: OpenAnswer): number;
  /** A file that the addon opened by itself has a handle of ours now. */
  replyReopen(kernelHandle: number, ...answer: OpenAnswer): number;
  reopenFailed(kernelHandle: number, errno: number): void;
  /**
   * A file that many inodes lie in; entries and opens name it by its number, from 1 up. `present` as in `OpenAnswer`.
   * False when descriptors ran out.
   */
  putFile(file: number, fd: number, size: number, present: Float64Array): boolean;
  addRanges(file: number, present: Float64Array): void;
  /** Sets a byte of `mayGo` for each range that nobody has open. `forced`: it is believed no more in any case. */
  takeBack(file: number, ranges: Float64Array, forced: boolean, mayGo: Uint8Array): void;
  dropFile(file: number): void;
  replyOpendir(id: number, handle: number, flags: number): boolean;
  replyReaddir(id: number, page: Uint8Array, length: number, end: boolean): boolean;
  /** All entries of a complete directory. False: it was not taken, undo its lookups. */
  putListing(directory: number, page: Uint8Array, length: number): boolean;
  /** The entry is packed; flags as in `replyOpen`. */
  replyCreate(id: number, handle: number, flags: number): number;
  /** Bytes taken by WRITE or COPY_FILE_RANGE. */
  replyCount(id: number, bytes: number): boolean;
  /** The data that came with a job, once; how many bytes it was. */
  takePayload(id: number, buffer: Uint8Array): number;
  /**
   * Before `fillDone`: four numbers for each segment, start, end, descriptor (-1: `literals`) and offset there. False
   * when they were not all taken.
   */
  addSegments(fillId: number, segments: Float64Array, literals: Uint8Array): boolean;
  fillDone(fillId: number, errno: number, flags: number, present: Float64Array): void;
  putAttributes(): void;
  /** `name` is a string of bytes (latin1). */
  expireEntry(parent: number, name: string): void;
  expireAttributes(inode: number): void;
  /** Pages and attributes. */
  expireContent(inode: number): void;
  statistics(): Record<string, number>;
  /** A turn has begun: jobs that wait are given to `onBatch`, for 1 ms. */
  nextTurn(): void;
  /** Start the threads. */
  run(): void;
  /** Fail what waits and end the threads; the job `closed` follows. */
  stop(): void;
  /** Free everything. Resolves to false when threads are stuck in the kernel and were left alone. */
  close(): Promise<boolean>;
}

export interface AddonFuse {
  mount(options: AddonMountOptions): Promise<AddonMountResult>;
  unmount(
    mountPoint: string,
    helper: string,
    lazy: boolean,
  ): Promise<{ readonly error: number; readonly output: string }>;
  start(options: AddonSessionOptions): AddonSession;
}

/** The addon's FUSE part, or why there is none. */
export function loadAddonFuse():
  { readonly fuse: AddonFuse } | { readonly fuse: undefined; readonly reason: string } {
  const loaded = loadAddon();
  if (loaded.addon === undefined) return { fuse: undefined, reason: loaded.reason };
  return { fuse: loaded.addon.fuse as AddonFuse };
}
