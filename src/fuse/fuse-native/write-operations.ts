/**
 * The libfuse operations that change something. On a read-only mount, or over a file system that takes no writes,
 * all of them answer EROFS: without a handler libfuse would answer ENOSYS, which the kernel remembers.
 */
import { errnoNumber } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import {
  type AttributeChange,
  type Caller,
  type Inode,
  type WritableFileSystem,
} from '../../vfs/file-system.js';
import { nameFromText, type Name } from '../../vfs/name.js';
import type { LibfuseBridge } from './bridge.js';

type Reply = (errno: number, result?: number) => void;
type Handlers = Record<string, (...values: never[]) => void>;

const names = [
  'create', 'write', 'truncate', 'ftruncate', 'mkdir', 'rmdir', 'unlink', 'rename', 'link', 'symlink', 'mknod',
  'chmod', 'chown', 'utimens', 'setxattr', 'removexattr',
] as const; // prettier-ignore

/** EROFS for everything. */
export function refusedWriteOperations(): Handlers {
  const refuse = (...values: unknown[]): void => (values.at(-1) as Reply)(-errnoNumber('EROFS'));
  return Object.fromEntries(names.map((name) => [name, refuse]));
}

interface Place {
  readonly parent: Inode;
  readonly name: Name;
}

async function placeOf(bridge: LibfuseBridge, caller: Caller, path: string): Promise<Place> {
  const slash = path.lastIndexOf('/');
  const parent = await bridge.inodeOf(caller, slash <= 0 ? '/' : path.slice(0, slash));
  return { parent, name: nameFromText(path.slice(slash + 1)) };
}

/** An attribute that only the mounter's own tools set: taken and ignored would be a lie, so it is refused. */
function refuseAttribute(what: string, path: string): never {
  throw new ImgfsError('forbidden', `${what} ${path}: extended attributes here are made by imgfs`, { path });
}

/** Handlers that pass every change on to the file system. */
export function writeOperations(bridge: LibfuseBridge, fileSystem: WritableFileSystem): Handlers {
  const change = (
    operation: string,
    path: string,
    wanted: AttributeChange,
    number: number | undefined,
    reply: Reply,
  ): void =>
    bridge.answer(
      operation,
      async (caller) => {
        const node = number === undefined ? undefined : bridge.opened(number);
        const inode = node?.inode ?? (await bridge.inodeOf(caller, path));
        await fileSystem.setattr(caller, inode, wanted, node?.handle);
      },
      (errno) => reply(errno),
    );
  /** A change of names: afterwards nothing below the paths may be believed. */
  const rename = (
    operation: string,
    paths: readonly string[],
    work: (caller: Caller) => Promise<void>,
    reply: Reply,
  ): void =>
    bridge.answer(operation, work, (errno) => {
      for (const path of paths) bridge.paths.drop(path);
      reply(errno);
    });
  return {
    create: (path: string, mode: number, reply: Reply) =>
      bridge.answer(
        'create',
        async (caller) => {
          const { parent, name } = await placeOf(bridge, caller, path);
          // The binding does not tell the flags: read and write is what every one of them allows.
          const { entry, opened } = await fileSystem.create(caller, parent, name, mode, 2);
          bridge.paths.learn(path, entry);
          return bridge.remember({ inode: entry.attributes.inode, handle: opened.handle });
        },
        reply,
      ),
    write: (_path: string, number: number, data: Buffer, length: number, position: number, reply: Reply) => {
      // libfuse frees its buffer when we reply, which a timeout may do first.
      const own = Buffer.from(data.subarray(0, length));
      bridge.answer(
        'write',
        (caller) => fileSystem.write(caller, bridge.opened(number).handle, own, position),
        (errno, bytes = 0) => (errno < 0 ? reply(errno) : reply(bytes, bytes)),
      );
    },
    flush: (_path: string, number: number, reply: Reply) =>
      bridge.answer(
        'flush',
        (caller) => fileSystem.flush(caller, bridge.opened(number).handle),
        (errno) => reply(errno),
      ),
    fsync: (_path: string, _dataOnly: number, number: number, reply: Reply) =>
      bridge.answer(
        'fsync',
        (caller) => fileSystem.fsync(caller, bridge.opened(number).handle),
        (errno) => reply(errno),
      ),
    truncate: (path: string, size: number, reply: Reply) =>
      change('truncate', path, { size }, undefined, reply),
    ftruncate: (path: string, number: number, size: number, reply: Reply) =>
      change('truncate', path, { size }, number, reply),
    chmod: (path: string, mode: number, reply: Reply) =>
      change('chmod', path, { mode: mode & 0o7777 }, undefined, reply),
    chown: (path: string, uid: number, gid: number, reply: Reply) =>
      change('chown', path, { uid, gid }, undefined, reply),
    // The binding hands the access time over twice (fuse-native.c), so only that is believed.
    utimens: (path: string, atimeMs: number, _again: number, reply: Reply) =>
      change('utimens', path, { mtimeNs: BigInt(Math.trunc(atimeMs)) * 1_000_000n }, undefined, reply),
    mkdir: (path: string, mode: number, reply: Reply) =>
      bridge.answer(
        'mkdir',
        async (caller) => {
          const { parent, name } = await placeOf(bridge, caller, path);
          bridge.paths.learn(path, await fileSystem.mkdir(caller, parent, name, mode));
        },
        (errno) => reply(errno),
      ),
    rmdir: (path: string, reply: Reply) =>
      rename(
        'rmdir',
        [path],
        async (caller) => {
          const { parent, name } = await placeOf(bridge, caller, path);
          await fileSystem.rmdir(caller, parent, name);
        },
        reply,
      ),
    unlink: (path: string, reply: Reply) =>
      rename(
        'unlink',
        [path],
        async (caller) => {
          const { parent, name } = await placeOf(bridge, caller, path);
          await fileSystem.unlink(caller, parent, name);
        },
        reply,
      ),
    rename: (from: string, to: string, reply: Reply) =>
      rename(
        'rename',
        [from, to],
        async (caller) => {
          const [source, target] = [await placeOf(bridge, caller, from), await placeOf(bridge, caller, to)];
          await fileSystem.rename(caller, source.parent, source.name, target.parent, target.name, 0);
        },
        reply,
      ),
    symlink: (target: string, path: string, reply: Reply) =>
      bridge.answer(
        'symlink',
        async (caller) => {
          const { parent, name } = await placeOf(bridge, caller, path);
          bridge.paths.learn(path, await fileSystem.symlink(caller, parent, name, nameFromText(target)));
        },
        (errno) => reply(errno),
      ),
    link: (from: string, to: string, reply: Reply) =>
      bridge.answer(
        'link',
        async (caller) => {
          const inode = await bridge.inodeOf(caller, from);
          const { parent, name } = await placeOf(bridge, caller, to);
          bridge.paths.learn(to, await fileSystem.link(caller, inode, parent, name));
        },
        (errno) => reply(errno),
      ),
    mknod: (_path: string, _mode: number, _device: number, reply: Reply) => reply(-errnoNumber('EPERM')),
    setxattr: (
      path: string,
      _name: string,
      _value: Buffer,
      _position: number,
      _flags: number,
      reply: Reply,
    ) =>
      bridge.answer(
        'setxattr',
        async () => refuseAttribute('setxattr', path),
        (errno) => reply(errno),
      ),
    removexattr: (path: string, _name: string, reply: Reply) =>
      bridge.answer(
        'removexattr',
        async () => refuseAttribute('removexattr', path),
        (errno) => reply(errno),
      ),
  };
}
