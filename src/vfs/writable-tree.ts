/**
 * The operations that change something, over the nodes that allow it. What a node lacks is refused: EPERM where the
 * place takes no writes, whatever the options.
 */
import { constants } from 'node:fs';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Image } from '../image/image.js';
import { counter } from '../observe/metrics.js';
import type {
  AttributeChange,
  Caller,
  Entry,
  FileHandle,
  Inode,
  OpenedFile,
  WritableFileSystem,
} from './file-system.js';
import { pathOf, type InodeRecord } from './inode-table.js';
import { nameFromText, nameToText, type Name } from './name.js';
import { isDirectoryNode, type Found, type SymlinkNode, type VfsNode } from './node.js';
import { directoryStat } from './nodes/answers.js';
import { BlobFile } from './nodes/blob-file.js';
import { ImageDirectory } from './nodes/image-directory.js';
import { UploadFile } from './nodes/upload-file.js';
import { Tree, type TreeOptions } from './tree.js';
import {
  accessModeMask,
  isWritableFile,
  isWritableFileNode,
  type ChangeableDirectory,
  type WritableFile,
} from './writable-node.js';

/** renameat2(2): do not replace. */
const renameNoReplace = 1;

/** libfuse looks a new link up once more, and wants a link: it is one for as long as that driver keeps names. */
const linkTtlMs = 1_000;

/** A path in a symbolic link's target: more components are no way to an image. */
const maxLinkComponents = 64;

const writes = counter('imgfs_vfs_write_bytes_total', 'Bytes written through JavaScript.');

export class WritableTree extends Tree implements WritableFileSystem {
  readonly #root: VfsNode;

  constructor(options: TreeOptions) {
    super(options);
    this.#root = options.root;
  }

  override async open(caller: Caller, inode: Inode, flags: number): Promise<OpenedFile> {
    if ((flags & accessModeMask) === constants.O_RDONLY)
      return super.open(caller, inode, flags & ~(constants.O_TRUNC | constants.O_CREAT | constants.O_APPEND));
    const record = this.inodes.get(inode);
    return this.guarded('open', record, undefined, async () => {
      const { node } = record;
      if (isDirectoryNode(node)) throw new ImgfsError('is-dir', 'open: it is a directory');
      if (!isWritableFileNode(node)) throw immutable('open for writing');
      const file = await node.openForWriting(flags, caller);
      if ((flags & constants.O_TRUNC) !== 0) await file.truncate(0);
      return { handle: this.files.add({ file, record }), keepCache: false, directIo: true };
    });
  }

  async create(caller: Caller, parent: Inode, name: Name, _mode: number, _flags: number) {
    const record = this.inodes.get(parent);
    return this.guarded('create', record, name, async () => {
      const { node, file } = await this.#place(record, 'create').create(name, caller);
      const entry = await this.#entry(record, name, node);
      const child = this.inodes.get(entry.attributes.inode);
      const handle = this.files.add({ file, record: child });
      return { entry, opened: { handle, keepCache: false, directIo: true } };
    });
  }

  async write(caller: Caller, handle: FileHandle, data: Uint8Array, position: number): Promise<number> {
    const { file, record } = this.#writable(handle);
    return this.guarded('write', record, undefined, async () => {
      await file.write(data, position, caller);
      writes.add(data.length);
      return data.length;
    });
  }

  async setattr(caller: Caller, inode: Inode, change: AttributeChange, handle: FileHandle | undefined) {
    const record = this.inodes.get(inode);
    return this.guarded('setattr', record, undefined, async () => {
      if (change.size !== undefined) await this.#resize(caller, record, change.size, handle);
      // Modes, owners and times say nothing here. `cp -p` may ask for them of what it has just written.
      else if (!isWritableFileNode(record.node) && !isDirectoryNode(record.node)) throw immutable('setattr');
      return this.getattr(caller, inode);
    });
  }

  async #resize(
    caller: Caller,
    record: InodeRecord,
    size: number,
    handle: FileHandle | undefined,
  ): Promise<void> {
    if (handle !== undefined) return this.#writable(handle).file.truncate(size);
    if (!isWritableFileNode(record.node)) throw immutable('truncate');
    const file = await record.node.openForWriting(constants.O_WRONLY, caller);
    try {
      await file.truncate(size);
      await file.fsync(caller);
    } finally {
      await file.close();
    }
  }

  async flush(caller: Caller, handle: FileHandle): Promise<void> {
    const { file, record } = this.files.get(handle);
    if (isWritableFile(file)) await this.guarded('close', record, undefined, () => file.flush(caller));
  }

  async fsync(caller: Caller, handle: FileHandle): Promise<void> {
    const { file, record } = this.files.get(handle);
    if (isWritableFile(file)) await this.guarded('fsync', record, undefined, () => file.fsync(caller));
  }

  async mkdir(caller: Caller, parent: Inode, name: Name, _mode: number): Promise<Entry> {
    const record = this.inodes.get(parent);
    return this.guarded('mkdir', record, name, async () =>
      this.#entry(record, name, await this.#place(record, 'mkdir').mkdir(name, caller)),
    );
  }

  async unlink(caller: Caller, parent: Inode, name: Name): Promise<void> {
    const record = this.inodes.get(parent);
    await this.guarded('unlink', record, name, () => this.#place(record, 'unlink').unlink(name, caller));
  }

  async rmdir(caller: Caller, parent: Inode, name: Name): Promise<void> {
    const record = this.inodes.get(parent);
    await this.guarded('rmdir', record, name, () => this.#place(record, 'rmdir').rmdir(name, caller));
  }

  async rename(
    caller: Caller,
    parent: Inode,
    name: Name,
    newParent: Inode,
    newName: Name,
    flags: number,
  ): Promise<void> {
    const [from, to] = [this.inodes.get(parent), this.inodes.get(newParent)];
    await this.guarded('rename', from, name, async () => {
      if ((flags & ~renameNoReplace) !== 0)
        throw new ImgfsError('invalid', 'rename: such flags mean nothing here');
      const { node } = await this.#find(from.node, name, nobody(caller));
      if (node === undefined) throw new ImgfsError('not-found', 'rename: no such name');
      const there = await this.#find(to.node, newName, caller);
      if (there.node !== undefined && (flags & renameNoReplace) !== 0)
        throw new ImgfsError('exists', 'rename: the new name is there');
      if (node instanceof ImageDirectory) return this.#renameTag(from, name, node.image, to, newName, caller);
      if (node instanceof UploadFile) return this.#place(to, 'adopt').adopt(newName, node, caller);
      throw immutable('rename');
    });
  }

  async #renameTag(
    from: InodeRecord,
    name: Name,
    image: Image,
    to: InodeRecord,
    newName: Name,
    caller: Caller,
  ): Promise<void> {
    const source = this.#place(from, 'rmdir');
    const target = this.#place(to, 'tagImage');
    await this.#place(from, 'assertRemovable').assertRemovable(caller);
    await target.tagImage(newName, image, caller);
    await source.rmdir(name, caller);
  }

  /** Makes a tag of the image that the target leads to. What is there afterwards is a directory, not a link. */
  async symlink(caller: Caller, parent: Inode, name: Name, target: Name): Promise<Entry> {
    const record = this.inodes.get(parent);
    return this.guarded('symlink', record, name, async () => {
      const place = this.#place(record, 'tagImage');
      const node = await this.#follow(record, nameToText(target), caller);
      if (!(node instanceof ImageDirectory))
        throw new ImgfsError('invalid', `symlink: ${nameToText(target)} is no image directory`, {
          hint: 'link to an image: ln -s ../@digests/sha256/<hex> <tag>, or ln -s <tag> <new tag>',
        });
      await place.tagImage(name, node.image, caller);
      // The kernel insists on the type it asked for; a later lookup finds the directory.
      return this.#entry(record, name, transientLink(target), linkTtlMs);
    });
  }

  async link(caller: Caller, inode: Inode, newParent: Inode, newName: Name): Promise<Entry> {
    const { node } = this.inodes.get(inode);
    const record = this.inodes.get(newParent);
    return this.guarded('link', record, newName, async () => {
      if (!(node instanceof BlobFile)) throw new ImgfsError('forbidden', 'link: only blobs can be linked');
      const found = await this.#place(record, 'linkBlob').linkBlob(newName, node.source, caller);
      if (found.node === undefined) throw new ImgfsError('internal', 'link: nothing was made');
      return this.#entry(record, newName, found.node);
    });
  }

  async copyFileRange(
    caller: Caller,
    from: FileHandle,
    fromPosition: number,
    to: FileHandle,
    toPosition: number,
    length: number,
  ): Promise<number> {
    const { record: source } = this.files.get(from);
    const { file, record } = this.#writable(to);
    const { node } = source;
    const copied =
      node instanceof BlobFile && fromPosition === toPosition
        ? await this.guarded('copy_file_range', record, undefined, async () =>
            file.copyFrom?.(node.source, fromPosition, length, caller),
          )
        : undefined;
    // The kernel copies by reading and writing then.
    if (copied === undefined) throw new ImgfsError('unsupported', 'copy_file_range: the bytes have to move');
    return copied;
  }

  #writable(handle: FileHandle): { readonly file: WritableFile; readonly record: InodeRecord } {
    const { file, record } = this.files.get(handle);
    if (isWritableFile(file)) return { file, record };
    throw new ImgfsError('bad-handle', 'the file is open for reading only');
  }

  /** The directory, when it can do that. @throws ImgfsError `not-dir`, `immutable`. */
  #place<Method extends Exclude<keyof ChangeableDirectory, 'lookup' | 'list'>>(
    record: InodeRecord,
    method: Method,
  ): ChangeableDirectory & Required<Pick<ChangeableDirectory, Method>> {
    const { node } = record;
    if (!isDirectoryNode(node)) throw new ImgfsError('not-dir', 'not a directory');
    if (typeof (node as ChangeableDirectory)[method] === 'function')
      return node as ChangeableDirectory & Required<Pick<ChangeableDirectory, Method>>;
    throw immutable(method);
  }

  async #find(directory: VfsNode, name: Name, caller: Caller): Promise<Found> {
    if (!isDirectoryNode(directory)) throw new ImgfsError('not-dir', 'not a directory');
    return directory.lookup(name, caller);
  }

  /** The node at a link's target, relative to the directory that has the link. */
  async #follow(directory: InodeRecord, target: string, caller: Caller): Promise<VfsNode | undefined> {
    if (target.startsWith('/')) {
      throw new ImgfsError('invalid', 'symlink: the target is absolute', {
        hint: 'write it relative to the link',
      });
    }
    const path = pathOf(directory).split('/').filter(Boolean);
    for (const part of target.split('/')) {
      if (part === '..') path.pop();
      else if (part !== '' && part !== '.') path.push(part);
    }
    if (path.length > maxLinkComponents) throw new ImgfsError('link-loop', 'symlink: the target is too deep');
    let node: VfsNode | undefined = this.#root;
    const asker = nobody(caller);
    for (const part of path) {
      if (node === undefined || !isDirectoryNode(node)) return undefined;
      ({ node } = await node.lookup(nameFromText(part), asker));
    }
    return node;
  }

  async #entry(parent: InodeRecord, name: Name, node: VfsNode, ttlMs = 0): Promise<Entry> {
    return this.counted(parent, name, node, await node.stat({}), ttlMs);
  }
}

/** Who made a directory and may be copying still sees it without its image: nobody in particular sees the image. */
function nobody({ uid, gid, signal }: Caller): Caller {
  return { uid, gid, pid: -1, signal };
}

function immutable(operation: string): ImgfsError {
  return new ImgfsError('immutable', `${operation}: this place takes no writes`, {
    hint: 'write to @uploads/, @blobs/, or to manifest.json in a directory made with mkdir',
  });
}

function transientLink(target: Name): SymlinkNode {
  return {
    type: 'symlink',
    version: 'link',
    attrTtlMs: 0,
    stat: () => ({ ...directoryStat(BigInt(Date.now()) * 1_000_000n), mode: 0o777, size: target.length }),
    readlink: () => target,
  };
}
