/**
 * A FileSystem in memory for tests of drivers: ordinary files, files backed by a file on disk (whole or sparse),
 * directories of any size, and nodes that are slow, or fail. It counts what it handed out, so that tests can see that
 * everything came back.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { FileSegment, TakeSegments } from '../../src/content/file-segment.js';
import type { ByteRange } from '../../src/store/store.js';
import {
  rootInode,
  type Attributes,
  type Caller,
  type DirectoryPage,
  type Entry,
  type FileBacking,
  type FileHandle,
  type FileSegments,
  type FileSystem,
  type FileSystemStatistics,
  type FileType,
  type Inode,
  type NegativeEntry,
  type Notifier,
  type OpenedDirectory,
  type OpenedFile,
} from '../../src/vfs/file-system.js';
import { nameFromText, nameToText, type Name } from '../../src/vfs/name.js';

export interface MemoryNode {
  readonly inode: Inode;
  readonly type: FileType;
  mode: number;
  size: number;
  /** Directories. */
  readonly children: Map<Name, MemoryNode>;
  /** The listing may be kept, and is all there is. */
  complete: boolean;
  /** Content of ordinary files. */
  content?: Uint8Array;
  /** Content comes from this file on disk. */
  backing?: MemoryBacking;
  /** Content is put together of these; those of `read` are known to `read` alone. */
  segments?: readonly MemorySegment[];
  target?: Name;
  xattrs: Map<Name, Uint8Array>;
  /** Every operation on this node waits so long first, or until its signal fires. */
  delayMs: number;
  /** Every operation on this node throws this. */
  failure?: Error;
  keepCache: boolean;
  directIo: boolean;
}

/** A part of a file that is put together: of a file on disk from `offset` on, or bytes. */
export interface MemorySegment {
  readonly size: number;
  readonly path?: string;
  readonly offset?: number;
  readonly bytes?: Uint8Array;
}

/** A file on disk that holds a node's bytes, from `baseOffset` on. Each open has a descriptor of its own. */
export interface MemoryBacking {
  path: string;
  baseOffset: number;
  complete: boolean;
  present: ByteRange[];
  /** Writes the bytes of the range into the file; what it throws reaches the reader. */
  fill(range: ByteRange, signal: AbortSignal): Promise<void>;
}

export interface MemoryOptions {
  /** Default one hour. */
  readonly attrTtlMs?: number;
  readonly entryTtlMs?: number;
  readonly negativeTtlMs?: number;
}

const hourMs = 3_600_000;
const timeNs = 1_700_000_000_123_456_789n;

async function delayed(node: MemoryNode, signal: AbortSignal): Promise<void> {
  if (node.delayMs > 0) {
    await sleep(node.delayMs, undefined, { signal }).catch((error: unknown) => {
      throw new ImgfsError('interrupted', 'the wait was aborted', { cause: error });
    });
  }
  if (node.failure !== undefined) throw node.failure;
}

export class MemoryFileSystem implements FileSystem {
  readonly root: MemoryNode;
  notifier: Notifier | undefined;
  /** Calls by operation. */
  readonly calls: Record<string, number> = {};
  /** Lookups handed out and not given back, by inode. */
  readonly lookups = new Map<Inode, number>();
  readonly openFiles = new Map<FileHandle, { node: MemoryNode; fd: number | undefined }>();
  readonly openDirectories = new Map<FileHandle, readonly (readonly [Name, MemoryNode])[]>();
  readonly fills: ByteRange[] = [];
  abortedFills = 0;
  protected readonly options: Required<MemoryOptions>;
  /** Nodes without a name, kept for who knows them still. */
  protected readonly unlinked = new Set<Inode>();
  readonly #nodes = new Map<Inode, MemoryNode>();
  #lastInode = 0;
  protected lastHandle = 0;

  constructor(options: MemoryOptions = {}) {
    this.options = { attrTtlMs: hourMs, entryTtlMs: hourMs, negativeTtlMs: 0, ...options };
    this.root = this.make('directory', 0o755);
  }

  protected make(type: FileType, mode: number): MemoryNode {
    this.#lastInode += 1;
    const node: MemoryNode = {
      inode: this.#lastInode as Inode,
      type,
      mode,
      size: 0,
      children: new Map(),
      complete: false,
      xattrs: new Map(),
      delayMs: 0,
      keepCache: true,
      directIo: false,
    };
    this.#nodes.set(node.inode, node);
    return node;
  }

  protected add(parent: MemoryNode, name: string, type: FileType, mode: number): MemoryNode {
    const node = this.make(type, mode);
    parent.children.set(nameFromText(name), node);
    return node;
  }

  addDirectory(parent: MemoryNode, name: string): MemoryNode {
    return this.add(parent, name, 'directory', 0o755);
  }

  addFile(parent: MemoryNode, name: string, content: Uint8Array | string): MemoryNode {
    const node = this.add(parent, name, 'file', 0o644);
    node.content = Buffer.from(content);
    node.size = node.content.length;
    return node;
  }

  addLink(parent: MemoryNode, name: string, target: string): MemoryNode {
    const node = this.add(parent, name, 'symlink', 0o777);
    node.target = nameFromText(target);
    node.size = node.target.length;
    return node;
  }

  /** A file whose bytes are those of a whole file on disk. */
  addBacked(parent: MemoryNode, name: string, path: string, sizeBytes: number, baseOffset = 0): MemoryNode {
    const node = this.add(parent, name, 'file', 0o644);
    node.size = sizeBytes;
    node.backing = { path, baseOffset, complete: true, present: [], fill: async () => {} };
    return node;
  }

  /** A file whose bytes are made by `bytesOf` when they are asked for, and kept in a sparse file on disk. */
  addSparse(
    parent: MemoryNode,
    name: string,
    path: string,
    sizeBytes: number,
    bytesOf: (range: ByteRange, signal: AbortSignal) => Promise<Uint8Array>,
    baseOffset = 0,
  ): MemoryNode {
    const node = this.add(parent, name, 'file', 0o644);
    node.size = sizeBytes;
    const backing: MemoryBacking = {
      path,
      baseOffset,
      complete: false,
      present: [],
      fill: async (range, signal) => {
        const bytes = await bytesOf(range, signal);
        const fd = openSync(path, 'r+');
        try {
          writeSync(fd, bytes, 0, bytes.length, baseOffset + range.start);
        } finally {
          closeSync(fd);
        }
        backing.present.push(range);
      },
    };
    node.backing = backing;
    return node;
  }

  protected count(operation: string): void {
    this.calls[operation] = (this.calls[operation] ?? 0) + 1;
  }

  protected node(inode: Inode): MemoryNode {
    const node = this.#nodes.get(inode);
    if (node === undefined) throw new ImgfsError('stale', `no inode ${inode}`);
    return node;
  }

  protected attributes(node: MemoryNode): Attributes {
    return {
      inode: node.inode,
      type: node.type,
      mode: node.mode,
      nlink: node.type === 'directory' ? 2 : 1,
      uid: 0,
      gid: 0,
      size: node.size,
      blocks: Math.ceil(node.size / 512),
      mtimeNs: timeNs,
      ctimeNs: timeNs,
      atimeNs: timeNs,
      rdev: 0,
    };
  }

  protected entry(node: MemoryNode): Entry {
    this.lookups.set(node.inode, (this.lookups.get(node.inode) ?? 0) + 1);
    const { attrTtlMs, entryTtlMs } = this.options;
    return { attributes: this.attributes(node), attrTtlMs, entryTtlMs };
  }

  attach(notifier: Notifier): void {
    this.notifier = notifier;
  }

  async lookup(caller: Caller, parent: Inode, name: Name): Promise<Entry | NegativeEntry> {
    this.count('lookup');
    const directory = this.node(parent);
    const node = directory.children.get(name);
    await delayed(node ?? directory, caller.signal);
    if (node === undefined) return { attributes: undefined, entryTtlMs: this.options.negativeTtlMs };
    return this.entry(node);
  }

  forget(inode: Inode, count: number): void {
    this.count('forget');
    const left = (this.lookups.get(inode) ?? 0) - count;
    if (left !== 0) this.lookups.set(inode, left);
    else {
      this.lookups.delete(inode);
      if (this.unlinked.delete(inode)) this.#nodes.delete(inode);
    }
  }

  async getattr(_caller: Caller, inode: Inode): Promise<{ attributes: Attributes; attrTtlMs: number }> {
    this.count('getattr');
    return { attributes: this.attributes(this.node(inode)), attrTtlMs: this.options.attrTtlMs };
  }

  async readlink(_caller: Caller, inode: Inode): Promise<Name> {
    this.count('readlink');
    const { target } = this.node(inode);
    if (target === undefined) throw new ImgfsError('invalid-content', 'not a link');
    return target;
  }

  async opendir(caller: Caller, inode: Inode): Promise<OpenedDirectory> {
    this.count('opendir');
    const node = this.node(inode);
    if (inode !== rootInode) await delayed(node, caller.signal);
    const handle = (this.lastHandle += 1) as FileHandle;
    this.openDirectories.set(handle, [...node.children]);
    return { handle, keepCache: node.complete, complete: node.complete };
  }

  async readdir(
    _caller: Caller,
    _inode: Inode,
    handle: FileHandle,
    offset: bigint,
    options: { readonly limit: number; readonly plus: boolean },
  ): Promise<DirectoryPage> {
    this.count('readdir');
    const all = this.openDirectories.get(handle);
    if (all === undefined) throw new ImgfsError('bad-handle', 'no such directory handle');
    const start = Number(offset);
    const entries = all.slice(start, start + options.limit).map(([name, child], index) => ({
      name,
      inode: child.inode,
      type: child.type,
      next: BigInt(start + index + 1),
      ...(options.plus && child.failure === undefined ? { entry: this.entry(child) } : {}),
    }));
    return { entries, end: start + entries.length >= all.length };
  }

  listsAtOnce(inode: Inode): boolean {
    return this.node(inode).complete;
  }

  async releasedir(handle: FileHandle): Promise<void> {
    this.count('releasedir');
    this.openDirectories.delete(handle);
  }

  async open(caller: Caller, inode: Inode): Promise<OpenedFile> {
    this.count('open');
    const node = this.node(inode);
    await delayed(node, caller.signal);
    const handle = (this.lastHandle += 1) as FileHandle;
    const { backing: on } = node;
    const fd = on === undefined ? undefined : openSync(on.path, 'r');
    this.openFiles.set(handle, { node, fd });
    const opened = { handle, keepCache: node.keepCache, directIo: node.directIo };
    if (node.segments !== undefined)
      return { ...opened, segments: new SegmentsInMemory(this, node.segments) };
    if (on === undefined || fd === undefined) return opened;
    const backing: FileBacking = {
      fd,
      baseOffset: on.baseOffset,
      complete: () => on.complete,
      present: () => on.present,
      fill: async (range, signal) => {
        this.fills.push(range);
        signal.addEventListener('abort', () => {
          this.abortedFills += 1;
        });
        await on.fill(range, signal);
      },
    };
    return { ...opened, backing };
  }

  async read(caller: Caller, handle: FileHandle, buffer: Uint8Array, position: number): Promise<number> {
    this.count('read');
    const open = this.openFiles.get(handle);
    if (open === undefined) throw new ImgfsError('bad-handle', 'no such file handle');
    const { node, fd } = open;
    await delayed(node, caller.signal);
    if (node.content === undefined && node.backing !== undefined && fd !== undefined) {
      const { backing, size } = node;
      const end = Math.min(size, position + buffer.length);
      if (end <= position) return 0;
      if (!backing.complete) await backing.fill({ start: position, end }, caller.signal);
      return readSync(fd, buffer, 0, end - position, backing.baseOffset + position);
    }
    if (node.content === undefined) throw new ImgfsError('internal', 'a file without content');
    const bytes = node.content.subarray(position, position + buffer.length);
    buffer.set(bytes);
    return bytes.length;
  }

  async release(handle: FileHandle): Promise<void> {
    this.count('release');
    const open = this.openFiles.get(handle);
    this.openFiles.delete(handle);
    if (open?.fd !== undefined) {
      fstatSync(open.fd);
      closeSync(open.fd);
    }
  }

  async getxattr(_caller: Caller, inode: Inode, name: Name): Promise<Uint8Array> {
    this.count('getxattr');
    const value = this.node(inode).xattrs.get(name);
    if (value === undefined) throw new ImgfsError('no-attribute', `no attribute ${nameToText(name)}`);
    return value;
  }

  async listxattr(_caller: Caller, inode: Inode): Promise<readonly Name[]> {
    this.count('listxattr');
    return [...this.node(inode).xattrs.keys()];
  }

  async statfs(): Promise<FileSystemStatistics> {
    this.count('statfs');
    return { blockSize: 4096, blocks: 1000, blocksFree: 250, files: this.#nodes.size, maxNameLength: 255 };
  }

  async close(): Promise<void> {
    for (const handle of this.openFiles.keys()) await this.release(handle);
    this.openDirectories.clear();
  }
}

/** Tells segments as exports do: those on disk and in memory, whole, and nothing of a range that has others. */
class SegmentsInMemory implements FileSegments {
  readonly #fileSystem: MemoryFileSystem;
  readonly #segments: readonly MemorySegment[];

  constructor(fileSystem: MemoryFileSystem, segments: readonly MemorySegment[]) {
    this.#fileSystem = fileSystem;
    this.#segments = segments;
  }

  async cover(range: ByteRange, _signal: AbortSignal, take: TakeSegments): Promise<void> {
    this.#fileSystem.fills.push(range);
    const told: FileSegment[] = [];
    const descriptors: number[] = [];
    let isCovered = true;
    let start = 0;
    for (const { size, path, offset = 0, bytes } of this.#segments) {
      const end = start + size;
      if (end > range.start && start < range.end) {
        if (bytes !== undefined) told.push({ start, end, bytes });
        else if (path === undefined) isCovered = false;
        else {
          const fd = openSync(path, 'r');
          descriptors.push(fd);
          told.push({ start, end, fd, offset });
        }
      }
      start = end;
    }
    await sleep(1);
    if (isCovered) take(told);
    for (const fd of descriptors) closeSync(fd);
  }
}
