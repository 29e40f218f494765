/** What a node may do besides being read: each method is optional, and what a node lacks is refused. */
import type { Descriptor } from '../oci/descriptor.js';
import type { Image } from '../image/image.js';
import type { BlobSource } from '../content/content.js';
import type { Caller } from './file-system.js';
import type { Name } from './name.js';
import type { DirectoryNode, Found, FileNode, MaybePromise, NodeStat, OpenFile, VfsNode } from './node.js';

/** Bits of open(2) flags that say reading, writing or both (asm-generic/fcntl.h); node:fs does not name them. */
export const accessModeMask = 3;

/** An open file that takes changes. All of them resolve when the spool has them, `flush` when the store does. */
export interface WritableFile extends OpenFile {
  stat(): NodeStat;
  write(data: Uint8Array, position: number, caller: Caller): Promise<void>;
  truncate(size: number): Promise<void>;
  /** close(2) of a descriptor. */
  flush(caller: Caller): Promise<void>;
  fsync(caller: Caller): Promise<void>;
  /**
   * Take all of a blob over without moving a byte. `length` is what the caller wants from `position` on, in both.
   * Undefined: it cannot be had this way.
   */
  copyFrom?(
    source: BlobSource,
    position: number,
    length: number,
    caller: Caller,
  ): Promise<number | undefined>;
}

export interface WritableFileNode extends FileNode {
  openForWriting(flags: number, caller: Caller): MaybePromise<WritableFile>;
}

export interface Created {
  readonly node: VfsNode;
  readonly file: WritableFile;
}

export interface ChangeableDirectory extends DirectoryNode {
  create?(name: Name, caller: Caller): Promise<Created>;
  mkdir?(name: Name, caller: Caller): Promise<DirectoryNode>;
  unlink?(name: Name, caller: Caller): Promise<void>;
  rmdir?(name: Name, caller: Caller): Promise<void>;
  /** Make a tag for an image: symlink(2), and the first half of renaming one. */
  tagImage?(name: Name, image: Image, caller: Caller): Promise<Descriptor>;
  /** Whether a tag may be taken away from here: asked before a rename begins. */
  assertRemovable?(caller: Caller): Promise<void>;
  /** Take a blob into this place without moving its bytes: link(2). */
  linkBlob?(name: Name, source: BlobSource, caller: Caller): Promise<Found>;
  /** Take an upload of this or another directory in under this name: rename(2). */
  adopt?(name: Name, node: VfsNode, caller: Caller): Promise<void>;
}

export function isWritableFile(file: OpenFile): file is WritableFile {
  return typeof (file as Partial<WritableFile>).write === 'function';
}

export function isWritableFileNode(node: VfsNode): node is WritableFileNode {
  return typeof (node as Partial<WritableFileNode>).openForWriting === 'function';
}
