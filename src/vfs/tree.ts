/**
 * The file-system operations over the nodes: inode numbers, lookup counts, handles, attributes, errors.
 *
 * What is in memory is answered without waiting for anything but the promise itself. Nothing is locked: between two
 * awaits every table is consistent, and a lookup is counted in the same turn in which its answer is made.
 */
import { constants } from 'node:fs';
import { ImgfsError } from '../errors/imgfs-error.js';
import { abortError } from '../errors/aborted.js';
import { counter, gauge } from '../observe/metrics.js';
import { DirectoryCursor } from './directory-cursor.js';
import type { EntryExpiry } from './entry-expiry.js';
import type { Failures } from './failures.js';
import type {
  Attributes,
  Caller,
  DirectoryEntry,
  DirectoryPage,
  Entry,
  FileHandle,
  FileSystem,
  FileSystemStatistics,
  FileType,
  Inode,
  NegativeEntry,
  Notifier,
  OpenedDirectory,
  OpenedFile,
} from './file-system.js';
import { HandleTable } from './handle-table.js';
import { InodeTable, pathOf, unknownInode, type InodeRecord } from './inode-table.js';
import { nameFromText, nameToText, type Name } from './name.js';
import {
  isDirectoryNode,
  isFileNode,
  isSymlinkNode,
  type DirectoryNode,
  type Found,
  type ListedChild,
  type NodeStat,
  type OpenFile,
  type VfsNode,
  type XattrReader,
} from './node.js';

export interface TreeOptions {
  readonly root: DirectoryNode;
  readonly failures: Failures;
  readonly expiry: EntryExpiry;
  /** Owner of everything that has none of its own. */
  readonly uid: number;
  readonly gid: number;
  readonly statfs: () => Promise<FileSystemStatistics>;
  /** Called last by `close`. */
  readonly onClose: () => Promise<void>;
}

const errorAttribute = 'user.imgfs.error';

/** Flags that ask for writing; O_RDONLY is 0. */
const writeFlags =
  constants.O_WRONLY | constants.O_RDWR | constants.O_TRUNC | constants.O_APPEND | constants.O_CREAT;

const lookups = counter('imgfs_vfs_lookups_total', 'Lookups answered.');
const reads = counter('imgfs_vfs_read_bytes_total', 'Bytes read through JavaScript.');

/** An open file, and what it was opened from. */
export interface OpenRecord {
  readonly file: OpenFile;
  readonly record: InodeRecord;
}

interface OpenDirectory {
  readonly cursor: DirectoryCursor;
  readonly record: InodeRecord;
}

export class Tree implements FileSystem {
  readonly #options: TreeOptions;
  /** For the operations that change something, in a class of their own. */
  protected readonly inodes: InodeTable;
  protected readonly files = new HandleTable<OpenRecord>();
  readonly #directories = new HandleTable<OpenDirectory>();

  constructor(options: TreeOptions) {
    this.#options = options;
    this.inodes = new InodeTable(options.root);
    gauge('imgfs_vfs_inodes', 'Inodes the kernel knows.', () => this.inodes.size);
    gauge('imgfs_vfs_open_files', 'Open files.', () => this.files.size);
    gauge('imgfs_vfs_open_directories', 'Open directories.', () => this.#directories.size);
  }

  attach(notifier: Notifier): void {
    this.#options.expiry.attach(notifier);
  }

  async lookup(caller: Caller, parent: Inode, name: Name): Promise<Entry | NegativeEntry> {
    const record = this.inodes.get(parent);
    try {
      const directory = asDirectory(record);
      const answer = directory.lookup(name, caller);
      const found = answer instanceof Promise ? await answer : answer;
      return await this.#enter(caller, record, name, found);
    } catch (error) {
      throw this.#options.failures.record('lookup', parent, pathOf(record, name), error);
    }
  }

  forget(inode: Inode, count: number): void {
    this.inodes.forget(inode, count);
  }

  async getattr(caller: Caller, inode: Inode) {
    const record = this.inodes.get(inode);
    try {
      return { attributes: await this.#attributes(caller, record), attrTtlMs: record.node.attrTtlMs };
    } catch (error) {
      throw this.#fail('getattr', record, error);
    }
  }

  async readlink(caller: Caller, inode: Inode): Promise<Name> {
    const record = this.inodes.get(inode);
    try {
      if (!isSymlinkNode(record.node)) throw new ImgfsError('invalid', 'readlink: not a symbolic link');
      return await record.node.readlink(caller);
    } catch (error) {
      throw this.#fail('readlink', record, error);
    }
  }

  async opendir(caller: Caller, inode: Inode): Promise<OpenedDirectory> {
    const record = this.inodes.get(inode);
    try {
      const listing = await asDirectory(record).list(caller);
      const handle = this.#directories.add({ cursor: new DirectoryCursor(listing), record });
      return { handle, keepCache: listing.immutable, complete: listing.complete === true };
    } catch (error) {
      throw this.#fail('opendir', record, error);
    }
  }

  async readdir(
    caller: Caller,
    _inode: Inode,
    handle: FileHandle,
    offset: bigint,
    options: { readonly limit: number; readonly plus: boolean },
  ): Promise<DirectoryPage> {
    const { cursor, record } = this.#directories.get(handle);
    try {
      const { children, first, end } = await cursor.page(Number(offset), options.limit, caller.signal);
      const entries = children.map((child, index) =>
        this.#directoryEntry(caller, record, child, BigInt(first + index + 1), options.plus),
      );
      return { entries, end };
    } catch (error) {
      throw this.#fail('readdir', record, error);
    }
  }

  listsAtOnce(inode: Inode): boolean {
    const { node } = this.inodes.get(inode);
    return isDirectoryNode(node) && node.listsAtOnce === true;
  }

  async releasedir(handle: FileHandle): Promise<void> {
    this.#directories.remove(handle)?.cursor.close();
  }

  async open(caller: Caller, inode: Inode, flags: number): Promise<OpenedFile> {
    const record = this.inodes.get(inode);
    try {
      if ((flags & writeFlags) !== 0) {
        throw new ImgfsError('read-only-store', 'open for writing: this file takes no writes');
      }
      if (isDirectoryNode(record.node)) throw new ImgfsError('is-dir', 'open: it is a directory');
      if (!isFileNode(record.node)) throw new ImgfsError('invalid', 'open: not a regular file');
      const file = await record.node.open(caller);
      const { keepCache, directIo, backing, segments } = file;
      const handle = this.files.add({ file, record });
      return {
        handle,
        keepCache,
        directIo,
        ...(backing === undefined ? {} : { backing }),
        ...(segments === undefined ? {} : { segments }),
      };
    } catch (error) {
      throw this.#fail('open', record, error);
    }
  }

  passed(inode: Inode): void {
    if (!this.inodes.has(inode)) return;
    const { node } = this.inodes.get(inode);
    if (isFileNode(node)) node.passed?.();
  }

  async read(caller: Caller, handle: FileHandle, buffer: Uint8Array, position: number): Promise<number> {
    const { file, record } = this.files.get(handle);
    try {
      const answer = file.read(buffer, position, caller);
      const length = typeof answer === 'number' ? answer : await answer;
      reads.add(length);
      return length;
    } catch (error) {
      throw this.#fail('read', record, error);
    }
  }

  async release(handle: FileHandle): Promise<void> {
    await this.files.remove(handle)?.file.close();
  }

  async getxattr(caller: Caller, inode: Inode, name: Name): Promise<Uint8Array> {
    const record = this.inodes.get(inode);
    try {
      const value = await this.#xattr(caller, record, nameToText(name));
      if (value !== undefined) return typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
      throw new ImgfsError('no-attribute', `no attribute ${JSON.stringify(nameToText(name))}`);
    } catch (error) {
      throw this.#fail('getxattr', record, error);
    }
  }

  async listxattr(caller: Caller, inode: Inode): Promise<readonly Name[]> {
    const record = this.inodes.get(inode);
    try {
      const readers = (await record.node.xattrs?.(caller)) ?? new Map<string, XattrReader>();
      const present: Name[] = [];
      for (const [name, reader] of readers) {
        if ((await reader(caller)) !== undefined) present.push(nameFromText(name));
      }
      if (this.#options.failures.last(record.inode) !== undefined) present.push(nameFromText(errorAttribute));
      return present.filter((name) => isReadableXattr(record.node.type, name));
    } catch (error) {
      throw this.#fail('listxattr', record, error);
    }
  }

  async statfs(): Promise<FileSystemStatistics> {
    return { ...(await this.#options.statfs()), files: this.inodes.size };
  }

  async close(): Promise<void> {
    for (const { cursor } of this.#directories.drain()) cursor.close();
    await Promise.allSettled(this.files.drain().map(async ({ file }) => file.close()));
    this.inodes.clear();
    this.#options.expiry.close();
    await this.#options.onClose();
  }

  async #enter(
    caller: Caller,
    parent: InodeRecord,
    name: Name,
    found: Found,
  ): Promise<Entry | NegativeEntry> {
    lookups.add();
    const { node, entryTtlMs, watch } = found;
    if (node === undefined) return { attributes: undefined, entryTtlMs };
    const answer = node.stat(caller);
    const stat = answer instanceof Promise ? await answer : answer;
    // Who gave up will not give back a lookup.
    if (caller.signal.aborted) throw abortError(caller.signal);
    if (watch !== undefined) this.#options.expiry.watch(watch, parent.inode, name);
    return this.counted(parent, name, node, stat, entryTtlMs);
  }

  /** Enter a node and count one lookup on it. */
  protected counted(
    parent: InodeRecord,
    name: Name,
    node: VfsNode,
    stat: NodeStat,
    entryTtlMs: number,
  ): Entry {
    const record = this.inodes.remember(parent, name, node);
    const entry = { attributes: this.#shown(record, stat), attrTtlMs: node.attrTtlMs, entryTtlMs };
    const place = isFileNode(node) ? node.place?.() : undefined;
    if (place !== undefined) return { ...entry, place };
    const target = isSymlinkNode(node) ? node.target?.() : undefined;
    return target === undefined ? entry : { ...entry, target };
  }

  async #attributes(caller: Caller, record: InodeRecord): Promise<Attributes> {
    if (record.attributes !== undefined) return record.attributes;
    const answer = record.node.stat(caller);
    return this.#shown(record, answer instanceof Promise ? await answer : answer);
  }

  /** Content keeps its first attributes: other times would make the kernel drop its pages. */
  #shown(record: InodeRecord, stat: NodeStat): Attributes {
    if (record.attributes !== undefined) return record.attributes;
    const attributes = this.#toAttributes(record.inode, record.node, stat);
    if (record.node.identity !== undefined) record.attributes = attributes;
    return attributes;
  }

  #toAttributes(inode: Inode, node: VfsNode, stat: NodeStat): Attributes {
    const { size, mode, mtimeNs, ctimeNs, nlink, owner, rdev } = stat;
    return {
      inode,
      type: node.type,
      mode,
      nlink: nlink ?? 1,
      uid: owner?.uid ?? this.#options.uid,
      gid: owner?.gid ?? this.#options.gid,
      size,
      blocks: Math.ceil(size / 512),
      mtimeNs,
      ctimeNs: ctimeNs ?? mtimeNs,
      atimeNs: mtimeNs,
      rdev: rdev ?? 0,
    };
  }

  #directoryEntry(
    caller: Caller,
    parent: InodeRecord,
    child: ListedChild,
    next: bigint,
    plus: boolean,
  ): DirectoryEntry {
    const { name, type, found } = child;
    const node = found?.node;
    if (found === undefined || node === undefined) return { name, type, next, inode: unknownInode };
    const stat = plus && node.statIsDear !== true ? node.stat(caller) : undefined;
    if (stat === undefined || stat instanceof Promise) {
      // Not at hand: the kernel will look it up if it wants it.
      stat?.catch(() => undefined);
      return { name, type, next, inode: this.inodes.peek(parent, name, node) };
    }
    const entry = this.counted(parent, name, node, stat, found.entryTtlMs);
    return { name, type, next, inode: entry.attributes.inode, entry };
  }

  async #xattr(caller: Caller, record: InodeRecord, name: string): Promise<string | Uint8Array | undefined> {
    if (name === errorAttribute) return this.#options.failures.last(record.inode);
    const readers = await record.node.xattrs?.(caller);
    return readers?.get(name)?.(caller);
  }

  /** Run a change of an entry or of a node; its failure is noted where `user.imgfs.error` shows it. */
  protected async guarded<Value>(
    operation: string,
    record: InodeRecord,
    name: Name | undefined,
    work: () => Promise<Value>,
  ): Promise<Value> {
    try {
      return await work();
    } catch (error) {
      throw this.#options.failures.record(operation, record.inode, pathOf(record, name), error);
    }
  }

  #fail(operation: string, record: InodeRecord, error: unknown): Error {
    return this.#options.failures.record(operation, record.inode, pathOf(record), error);
  }
}

function asDirectory(record: InodeRecord): DirectoryNode {
  if (isDirectoryNode(record.node)) return record.node;
  throw new ImgfsError('not-dir', 'not a directory');
}

/** Linux lets nobody read `user.*` of links and special files (xattr(7)): a name listed there would be a lie. */
function isReadableXattr(type: FileType, name: Name): boolean {
  return type === 'file' || type === 'directory' || !nameToText(name).startsWith('user.');
}
