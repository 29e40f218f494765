/**
 * The nodes of the tree: what a file or directory *is*, without inode numbers, lookup counts and handles, which
 * `tree.ts` adds.
 *
 * A node implements what it supports (after go-fuse's node interfaces). Nodes are cheap, hold no open resources
 * and may be made anew for each lookup: the tree keeps one per inode while the kernel knows it.
 *
 * Methods answer at once where they can and with a promise where they must ask the disk or a store.
 */
import type { FilePlace } from '../content/shared-file.js';
import type { CallOptions } from '../store/store.js';
import type { FileBacking, FileSegments, FileType } from './file-system.js';
import type { Name } from './name.js';

export type MaybePromise<Value> = Value | Promise<Value>;

/** What stat(2) shows of a node; the tree fills in inode number and owner. */
export interface NodeStat {
  /** Length in bytes; 0 for directories. */
  readonly size: number;
  /** Permission bits, 0o7777 at most. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** Default: `mtimeNs`. */
  readonly ctimeNs?: bigint;
  /** Default 1: for directories that means "unknown", so that `find` counts no subdirectories by it. */
  readonly nlink?: number;
  /** Default: who mounted. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly rdev?: number;
}

/** Reads one extended attribute, text or bytes; undefined when it is absent now. */
export type XattrReader = (options: CallOptions) => MaybePromise<string | Uint8Array | undefined>;

/** Extended attributes by name. */
export type NodeXattrs = ReadonlyMap<string, XattrReader>;

export interface VfsNode {
  readonly type: FileType;
  /**
   * Names the content: nodes of the same identity are one inode wherever they are found, so that the page cache is
   * shared. Never set on directories, which the kernel allows in one place only.
   */
  readonly identity?: string;
  /** Tells versions of a node at one place apart: the digest a tag stands for. */
  readonly version?: string;
  /** How long the kernel may believe `stat`, in milliseconds. */
  readonly attrTtlMs: number;
  /** True while `stat` must fetch or render something: listings leave the attributes out then. */
  readonly statIsDear?: boolean;
  stat(options: CallOptions): MaybePromise<NodeStat>;
  xattrs?(options: CallOptions): MaybePromise<NodeXattrs>;
}

/** The answer to a lookup. */
export interface Found {
  /** Undefined: there is no such name, on the word of the store. */
  readonly node: VfsNode | undefined;
  /** How long the kernel may believe it, in milliseconds. */
  readonly entryTtlMs: number;
  /** Key of {@link tagWatchKey}: the entry is to be expired when the tag moves. */
  readonly watch?: string;
}

export interface ListedChild {
  readonly name: Name;
  readonly type: FileType;
  /** The node, where it is at hand: drivers with readdirplus need no lookup then. */
  readonly found?: Found;
}

/** Names behind this one in the stream's order; all when undefined. */
export interface StreamStart {
  readonly last: Name | undefined;
  readonly signal: AbortSignal;
}

/** Children of a directory: an array, or something that makes them page by page. */
export interface ChildList {
  readonly length: number;
  slice(start: number, end: number): ListedChild[];
}

export interface Listing {
  readonly children: ChildList;
  /** More, too many to hold, behind `children`. Started anew when a reader seeks backwards far. */
  readonly stream?: (start: StreamStart) => AsyncIterable<ListedChild>;
  /** The listing cannot change. */
  readonly immutable: boolean;
  /** What the listing lacks cannot be looked up either. */
  readonly complete?: boolean;
}

export interface DirectoryNode extends VfsNode {
  readonly type: 'directory';
  /** `list` answers from memory now, and completely. */
  readonly listsAtOnce?: boolean;
  lookup(name: Name, options: CallOptions): MaybePromise<Found>;
  list(options: CallOptions): MaybePromise<Listing>;
}

export interface OpenFile {
  readonly keepCache: boolean;
  readonly directIo: boolean;
  readonly backing?: FileBacking;
  /** Instead of `backing`. */
  readonly segments?: FileSegments;
  /** Fill `buffer` from `position`; the number of bytes, short only at the end. */
  read(buffer: Uint8Array, position: number, options: CallOptions): MaybePromise<number>;
  close(): MaybePromise<void>;
}

export interface FileNode extends VfsNode {
  readonly type: 'file';
  /** Where its bytes lie, once they may be read without `open`. */
  place?(): FilePlace | undefined;
  /** Somebody opened it by its place, near bytes that are missing there. */
  passed?(): void;
  open(options: CallOptions): MaybePromise<OpenFile>;
}

export interface SymlinkNode extends VfsNode {
  readonly type: 'symlink';
  /** What `readlink` says, if it says it at once. */
  target?(): Name | undefined;
  readlink(options: CallOptions): MaybePromise<Name>;
}

export function isDirectoryNode(node: VfsNode): node is DirectoryNode {
  return node.type === 'directory';
}

export function isFileNode(node: VfsNode): node is FileNode {
  return node.type === 'file';
}

export function isSymlinkNode(node: VfsNode): node is SymlinkNode {
  return node.type === 'symlink';
}

/** Key by which entries that stand for a tag are expired when it moves. */
export function tagWatchKey(storeId: string, repository: string, tag: string): string {
  return `${storeId}\0${repository}\0${tag}`;
}
