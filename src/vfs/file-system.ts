/**
 * The file-system operations, by inode number, in the words of the FUSE protocol (lookup, forget, readdir,
 * open, read…), but without its wire format. Drivers in `fuse/` call this; tests call it without a mount.
 *
 * Names are bytes. A `Name` is a string in which each char code is one byte (latin1), so that names from layers
 * survive unchanged and still work as Map keys; `name.ts` converts.
 *
 * Failures are thrown as ImgfsError; the driver turns them into an errno.
 */
import type { TakeSegments } from '../content/file-segment.js';
import type { FilePlace, SharedFile } from '../content/shared-file.js';
import type { ByteRange } from '../store/store.js';
import type { Name } from './name.js';

/** Inode number: positive safe integer. 1 is the root. Never reused while the process lives. */
export type Inode = number & { readonly __brand: 'Inode' };

/** Number of an open file or directory. Never reused while the process lives. */
export type FileHandle = number & { readonly __brand: 'FileHandle' };

/** Inode of the mount point. */
export const rootInode = 1 as Inode;

/** What a file is. */
export type FileType = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

/** Times are in nanoseconds since the epoch as bigint: layers carry sub-microsecond times. */
export interface Attributes {
  readonly inode: Inode;
  readonly type: FileType;
  /** Permission bits with setuid, setgid and sticky: 0o7777 at most. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Length in bytes. */
  readonly size: number;
  /** 512-byte units, as in stat(2). */
  readonly blocks: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly atimeNs: bigint;
  /** Device number of char and block files; 0 otherwise. */
  readonly rdev: number;
}

/** How long the kernel may believe an answer, in milliseconds. */
export interface Lifetime {
  readonly attrTtlMs: number;
  readonly entryTtlMs: number;
}

/** A positive answer to lookup. It counts one lookup on `attributes.inode`, given back by `forget`. */
export interface Entry extends Lifetime {
  readonly attributes: Attributes;
  /** A driver may open the file by itself, for reading: what is present there is verified and never changes. */
  readonly place?: FilePlace;
  /** Of a symbolic link, where it is at hand. */
  readonly target?: Name;
}

/** "There is no such name", worth remembering: only ever made from a true not-found of the store. */
export interface NegativeEntry {
  readonly attributes: undefined;
  readonly entryTtlMs: number;
}

/** Who asks, and how to stop. `signal` fires on interrupt and on the operation's deadline. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly signal: AbortSignal;
}

/** One name of a listing. */
export interface DirectoryEntry {
  readonly name: Name;
  readonly inode: Inode;
  readonly type: FileType;
  /** Cookie of the entry behind this one: where reading goes on. */
  readonly next: bigint;
  /** Set when attributes are at hand without further work: drivers with readdirplus use it. Counts one lookup
   *  if, and only if, `readdir` was called with `plus`. */
  readonly entry?: Entry;
}

/** Part of a listing. */
export interface DirectoryPage {
  readonly entries: readonly DirectoryEntry[];
  /** True when nothing is behind the last of `entries`. */
  readonly end: boolean;
}

/** Lets a driver read without JavaScript: the file behind an open handle, whole or sparse. */
export interface FileBacking {
  /** Open descriptor; valid until `release`. */
  readonly fd: number;
  /** Where byte 0 of the file lies in `fd`. */
  readonly baseOffset: number;
  /** What `fd` is of, when other files lie in it as well: of that, bytes may go while nobody has them open. */
  readonly file?: SharedFile;
  /** All there and verified: the kernel may read it directly if `baseOffset` is 0. */
  complete(): boolean;
  /** Ranges of the file (not of `fd`) present now. */
  present(): readonly ByteRange[];
  /** End of the present bytes that begin at `position`, where that is known without looking for long. */
  presentUntil?(position: number): number;
  /** Make a range of the file present. @throws ImgfsError `cache-full`: use `read` instead. */
  fill(range: ByteRange, signal: AbortSignal): Promise<void>;
}

/** Lets a driver read without JavaScript a file that is put together of others. */
export interface FileSegments {
  /**
   * Find out what a range is made of, and give it to `take` while all descriptors are open: segments in order, without
   * gaps, that may reach beyond the range. Their bytes stay what they are until `release`. Not called when some of the
   * range can only be had by `read` (now). @throws what opening the parts throws.
   */
  cover(range: ByteRange, signal: AbortSignal, take: TakeSegments): Promise<void>;
}

/** An open file. */
export interface OpenedFile {
  readonly handle: FileHandle;
  /** Keep pages that the kernel has from earlier opens: content that cannot change. */
  readonly keepCache: boolean;
  /** Bypass the page cache: size unknown until read, or content made anew for each open. */
  readonly directIo: boolean;
  readonly backing?: FileBacking;
  /** Instead of `backing`. */
  readonly segments?: FileSegments;
}

/** An open directory. */
export interface OpenedDirectory {
  readonly handle: FileHandle;
  /** The listing cannot change: the kernel may keep it. */
  readonly keepCache: boolean;
  /** With `keepCache`: a name that the listing lacks does not exist, so a driver that has read all of it answers
   *  lookups by itself. False where names can be looked up that are not listed. */
  readonly complete?: boolean;
}

/** What `df` shows. */
export interface FileSystemStatistics {
  /** Bytes per block for the counts below. */
  readonly blockSize: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly files: number;
  readonly maxNameLength: number;
}

/** What a driver asks, by inode. */
export interface FileSystem {
  /** Find a name. Counts one lookup when it is there. */
  lookup(caller: Caller, parent: Inode, name: Name): Promise<Entry | NegativeEntry>;
  /** Give back `count` lookups. Never fails; unknown inodes are ignored. */
  forget(inode: Inode, count: number): void;
  /** What stat(2) shows. */
  getattr(
    caller: Caller,
    inode: Inode,
  ): Promise<{ readonly attributes: Attributes; readonly attrTtlMs: number }>;
  /** Target of a symbolic link, as bytes. */
  readlink(caller: Caller, inode: Inode): Promise<Name>;
  /** Open a directory; `releasedir` closes it. */
  opendir(caller: Caller, inode: Inode): Promise<OpenedDirectory>;
  /** Entries from cookie `offset` (0 = start), at most `limit`. `.` and `..` are the driver's business. */
  readdir(
    caller: Caller,
    inode: Inode,
    handle: FileHandle,
    offset: bigint,
    options: { readonly limit: number; readonly plus: boolean },
  ): Promise<DirectoryPage>;
  /** Close an open directory. */
  releasedir(handle: FileHandle): Promise<void>;
  /** True where `opendir` and `readdir` answer from memory, with a listing that is complete: a driver may then list
   *  the directory by itself, to know its names. */
  listsAtOnce?(inode: Inode): boolean;
  /** `flags` are open(2) flags of this platform. */
  open(caller: Caller, inode: Inode, flags: number): Promise<OpenedFile>;
  /** A driver opened a file by itself, near bytes that are missing. Never fails; unknown inodes are ignored. */
  passed?(inode: Inode): void;
  /** Fill `buffer` from `position`; resolves to the number of bytes, short only at the end of the file. */
  read(caller: Caller, handle: FileHandle, buffer: Uint8Array, position: number): Promise<number>;
  /** Close an open file: no descriptor is left. */
  release(handle: FileHandle): Promise<void>;
  /** Value of an extended attribute. @throws ImgfsError `no-attribute`. */
  getxattr(caller: Caller, inode: Inode, name: Name): Promise<Uint8Array>;
  /** Names of the extended attributes. */
  listxattr(caller: Caller, inode: Inode): Promise<readonly Name[]>;
  /** What `df` shows. */
  statfs(caller: Caller, inode: Inode): Promise<FileSystemStatistics>;
  /** Called once by the driver, with the means to tell the kernel that something changed. */
  attach?(notifier: Notifier): void;
  /** Let go of everything; open handles included. */
  close(): Promise<void>;
}

/** What setattr(2)'s family may change; absent fields stay. Only `size` means something in this tree. */
export interface AttributeChange {
  /** New length in bytes: truncate(2), O_TRUNC. */
  readonly size?: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeNs?: bigint;
  readonly atimeNs?: bigint;
}

/**
 * The operations that change something: an extension that a file system may also implement. Without it, and on a
 * read-only mount, a driver answers EROFS by itself.
 */
export interface WritableFileSystem extends FileSystem {
  /** Make and open a file. Counts one lookup. `flags` as in `open`. */
  create(
    caller: Caller,
    parent: Inode,
    name: Name,
    mode: number,
    flags: number,
  ): Promise<{ readonly entry: Entry; readonly opened: OpenedFile }>;
  /** Take all of `data` at `position`; resolves to its length. `data` is the driver's and is reused afterwards. */
  write(caller: Caller, handle: FileHandle, data: Uint8Array, position: number): Promise<number>;
  /** `handle` is set for ftruncate(2) and friends. */
  setattr(
    caller: Caller,
    inode: Inode,
    change: AttributeChange,
    handle: FileHandle | undefined,
  ): Promise<{ readonly attributes: Attributes; readonly attrTtlMs: number }>;
  /** close(2): resolves when the store has it. Called once for each descriptor that is closed. */
  flush(caller: Caller, handle: FileHandle): Promise<void>;
  /** fsync(2): resolves when the store has it, or the spool for content that is not finished. */
  fsync(caller: Caller, handle: FileHandle): Promise<void>;
  /** Make a directory. Counts one lookup. */
  mkdir(caller: Caller, parent: Inode, name: Name, mode: number): Promise<Entry>;
  /** Remove a file. */
  unlink(caller: Caller, parent: Inode, name: Name): Promise<void>;
  /** Remove a directory. */
  rmdir(caller: Caller, parent: Inode, name: Name): Promise<void>;
  /** `flags` are renameat2(2)'s: RENAME_NOREPLACE is 1, others are refused with `invalid`. */
  rename(
    caller: Caller,
    parent: Inode,
    name: Name,
    newParent: Inode,
    newName: Name,
    flags: number,
  ): Promise<void>;
  /** Make a symbolic link. Counts one lookup. */
  symlink(caller: Caller, parent: Inode, name: Name, target: Name): Promise<Entry>;
  /** Give a file one more name. Counts one lookup. */
  link(caller: Caller, inode: Inode, newParent: Inode, newName: Name): Promise<Entry>;
  /** copy_file_range(2): resolves to bytes copied; `unsupported` makes the kernel copy by reading and writing. */
  copyFileRange(
    caller: Caller,
    from: FileHandle,
    fromPosition: number,
    to: FileHandle,
    toPosition: number,
    length: number,
  ): Promise<number>;
}

/** True when the file system takes writes. */
export function isWritable(fileSystem: FileSystem): fileSystem is WritableFileSystem {
  return typeof (fileSystem as Partial<WritableFileSystem>).create === 'function';
}

/** What a driver can tell the kernel. Never called from inside an operation (deadlock: fuse-limits.md P1). */
export interface Notifier {
  /** The name may mean something else now: ask again at the next use. */
  expireEntry(parent: Inode, name: Name): void;
  /** Attributes changed. */
  expireAttributes(inode: Inode): void;
  /** Content changed: pages that the kernel has are of the past, also for who has the file open. */
  expireContent(inode: Inode): void;
}
