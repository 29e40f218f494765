/** The memory file system with the operations that change something. */
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import {
  type AttributeChange,
  type Attributes,
  type Caller,
  type Entry,
  type FileHandle,
  type Inode,
  type OpenedFile,
  type WritableFileSystem,
} from '../../src/vfs/file-system.js';
import type { Name } from '../../src/vfs/name.js';
import { MemoryFileSystem, type MemoryNode } from './memory-file-system.js';

export class WritableMemoryFileSystem extends MemoryFileSystem implements WritableFileSystem {
  /** Thrown by the next flush: close(2) that fails. */
  flushFailure: ImgfsError | undefined;
  readonly copies: { from: number; to: number; length: number }[] = [];

  #directory(parent: Inode): MemoryNode {
    const node = this.node(parent);
    if (node.complete) throw new ImgfsError('immutable', 'this directory is bound to a digest');
    return node;
  }

  #child(parent: Inode, name: Name): MemoryNode {
    const node = this.#directory(parent).children.get(name);
    if (node === undefined) throw new ImgfsError('not-found', 'no such name');
    return node;
  }

  #new(parent: Inode, name: Name, type: 'file' | 'directory' | 'symlink', mode: number): MemoryNode {
    const directory = this.#directory(parent);
    if (directory.children.has(name)) throw new ImgfsError('exists', 'the name is taken');
    const node = this.make(type, mode);
    directory.children.set(name, node);
    return node;
  }

  async create(
    _caller: Caller,
    parent: Inode,
    name: Name,
    mode: number,
    _flags: number,
  ): Promise<{ readonly entry: Entry; readonly opened: OpenedFile }> {
    this.count('create');
    const node = this.#new(parent, name, 'file', mode);
    node.content = Buffer.alloc(0);
    node.keepCache = false;
    this.lastHandle += 1;
    const handle = this.lastHandle as FileHandle;
    this.openFiles.set(handle, { node, fd: undefined });
    return { entry: this.entry(node), opened: { handle, keepCache: false, directIo: false } };
  }

  /** Memory behind the content, at least as long: 4 KiB writes must not copy the whole file each time. */
  /** Nodes that may have several names. */
  readonly #linked = new WeakSet<MemoryNode>();
  readonly #memory = new WeakMap<MemoryNode, Buffer>();

  #resize(node: MemoryNode, size: number): Buffer {
    const before = this.#memory.get(node);
    let memory = before;
    if (memory === undefined || memory.length < size) {
      memory = Buffer.alloc(size * 2);
      memory.set((node.content ?? Buffer.alloc(0)).subarray(0, size));
      this.#memory.set(node, memory);
    } else if (size > node.size) memory.fill(0, node.size, size);
    const content = memory.subarray(0, size);
    node.content = content;
    node.size = size;
    return content;
  }

  #opened(handle: FileHandle): MemoryNode {
    const open = this.openFiles.get(handle);
    if (open === undefined) throw new ImgfsError('bad-handle', 'no such file handle');
    return open.node;
  }

  async write(_caller: Caller, handle: FileHandle, data: Uint8Array, position: number): Promise<number> {
    this.count('write');
    const node = this.#opened(handle);
    const end = Math.max(node.size, position + data.length);
    this.#resize(node, end).set(data, position);
    return data.length;
  }

  async setattr(
    _caller: Caller,
    inode: Inode,
    change: AttributeChange,
  ): Promise<{ readonly attributes: Attributes; readonly attrTtlMs: number }> {
    this.count('setattr');
    const node = this.node(inode);
    if (change.size !== undefined) this.#resize(node, change.size);
    if (change.mode !== undefined) node.mode = change.mode;
    return { attributes: this.attributes(node), attrTtlMs: this.options.attrTtlMs };
  }

  async flush(_caller: Caller, handle: FileHandle): Promise<void> {
    this.count('flush');
    this.#opened(handle);
    const failure = this.flushFailure;
    this.flushFailure = undefined;
    if (failure !== undefined) throw failure;
  }

  async fsync(): Promise<void> {
    this.count('fsync');
  }

  async mkdir(_caller: Caller, parent: Inode, name: Name, mode: number): Promise<Entry> {
    this.count('mkdir');
    return this.entry(this.#new(parent, name, 'directory', mode));
  }

  async unlink(_caller: Caller, parent: Inode, name: Name): Promise<void> {
    this.count('unlink');
    const node = this.#child(parent, name);
    this.#directory(parent).children.delete(name);
    if (!this.#linked.has(node)) this.unlinked.add(node.inode);
  }

  async rmdir(_caller: Caller, parent: Inode, name: Name): Promise<void> {
    this.count('rmdir');
    const node = this.#child(parent, name);
    if (node.children.size > 0) throw new ImgfsError('not-empty', 'it has entries');
    this.#directory(parent).children.delete(name);
    this.unlinked.add(node.inode);
  }

  async rename(
    _caller: Caller,
    parent: Inode,
    name: Name,
    newParent: Inode,
    newName: Name,
    flags: number,
  ): Promise<void> {
    this.count('rename');
    const node = this.#child(parent, name);
    const target = this.#directory(newParent);
    if (flags === 1 && target.children.has(newName)) throw new ImgfsError('exists', 'the name is taken');
    this.#directory(parent).children.delete(name);
    target.children.set(newName, node);
  }

  async symlink(_caller: Caller, parent: Inode, name: Name, target: Name): Promise<Entry> {
    this.count('symlink');
    const node = this.#new(parent, name, 'symlink', 0o777);
    node.target = target;
    node.size = target.length;
    return this.entry(node);
  }

  async link(_caller: Caller, inode: Inode, newParent: Inode, newName: Name): Promise<Entry> {
    this.count('link');
    const node = this.node(inode);
    this.#linked.add(node);
    this.#directory(newParent).children.set(newName, node);
    return this.entry(node);
  }

  async copyFileRange(
    _caller: Caller,
    from: FileHandle,
    fromPosition: number,
    to: FileHandle,
    toPosition: number,
    length: number,
  ): Promise<number> {
    this.count('copyFileRange');
    const source = this.openFiles.get(from);
    if (source === undefined) throw new ImgfsError('bad-handle', 'no such source');
    const bytes = Math.min(length, source.node.size - fromPosition);
    const data = Buffer.alloc(Math.max(0, bytes));
    await this.read(
      { uid: 0, gid: 0, pid: 0, signal: AbortSignal.timeout(10_000) },
      from,
      data,
      fromPosition,
    );
    const node = this.#opened(to);
    const content = this.#resize(node, Math.max(node.size, toPosition + data.length));
    content.set(data, toPosition);
    this.copies.push({ from: fromPosition, to: toPosition, length });
    return data.length;
  }
}
