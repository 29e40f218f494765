/** The libfuse operations that only look. */
import { constants } from 'node:fs';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isWritable, type Caller } from '../../vfs/file-system.js';
import { nameFromText, nameToText } from '../../vfs/name.js';
import type { LibfuseOperations, LibfuseStat } from './binding.js';
import type { LibfuseBridge } from './bridge.js';
import { toStat } from './stat.js';

/** Entries asked for at once: a page of vfs, about 40 KB of names. */
const readdirPageEntries = 1_000;

async function attributes(bridge: LibfuseBridge, caller: Caller, path: string): Promise<LibfuseStat> {
  const resolved = await bridge.paths.resolve(caller, path);
  const found = resolved.attributes ?? (await bridge.fileSystem.getattr(caller, resolved.inode)).attributes;
  bridge.paths.shown(path);
  return toStat(found);
}

/** The whole listing: libfuse 2's binding takes no pages. */
async function list({ fileSystem, paths }: LibfuseBridge, caller: Caller, path: string): Promise<string[]> {
  const { inode } = await paths.resolve(caller, path);
  const { handle } = await fileSystem.opendir(caller, inode);
  const names = ['.', '..'];
  try {
    for (let offset = 0n, end = false; !end;) {
      const options = { limit: readdirPageEntries, plus: false };
      const page = await fileSystem.readdir(caller, inode, handle, offset, options);
      for (const entry of page.entries) names.push(nameToText(entry.name));
      const last = page.entries.at(-1);
      end = page.end || last === undefined;
      offset = last?.next ?? offset;
    }
  } finally {
    await fileSystem.releasedir(handle);
  }
  return names;
}

async function open(bridge: LibfuseBridge, caller: Caller, path: string, flags: number): Promise<number> {
  if ((flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0 && !isWritable(bridge.fileSystem)) {
    throw new ImgfsError('read-only-store', `open ${path} for writing: nothing here takes writes`, { path });
  }
  const inode = await bridge.paths.resolveShown(caller, path);
  const { handle } = await bridge.fileSystem.open(caller, inode, flags);
  return bridge.remember({ inode, handle });
}

async function statistics(
  bridge: LibfuseBridge,
  caller: Caller,
  path: string,
): Promise<Record<string, number>> {
  const facts = await bridge.fileSystem.statfs(caller, await bridge.inodeOf(caller, path));
  return {
    bsize: facts.blockSize,
    frsize: facts.blockSize,
    blocks: facts.blocks,
    bfree: facts.blocksFree,
    bavail: facts.blocksFree,
    files: facts.files,
    namemax: facts.maxNameLength,
  };
}

/** Handlers for `getattr`, `readdir`, `open`, `read` and their kin. */
export function readOperations(bridge: LibfuseBridge): LibfuseOperations {
  const { fileSystem } = bridge;
  return {
    getattr: (path, reply) => bridge.answer('getattr', (caller) => attributes(bridge, caller, path), reply),
    readdir: (path, reply) => bridge.answer('readdir', (caller) => list(bridge, caller, path), reply),
    readlink: (path, reply) =>
      bridge.answer(
        'readlink',
        async (caller) => nameToText(await fileSystem.readlink(caller, await bridge.inodeOf(caller, path))),
        reply,
      ),
    // The listing itself opens and releases; libfuse only wants a yes.
    opendir: (path, _flags, reply) =>
      bridge.answer(
        'opendir',
        (caller) => bridge.inodeOf(caller, path),
        (errno) => reply(errno, 0),
      ),
    releasedir: (_path, _number, reply) => reply(0),
    open: (path, flags, reply) => bridge.answer('open', (caller) => open(bridge, caller, path, flags), reply),
    read: (_path, number, target, length, position, reply) => {
      // Into a buffer of our own: after a timeout libfuse frees its buffer while our read still runs.
      const own = Buffer.allocUnsafe(length);
      bridge.answer(
        'read',
        (caller) => fileSystem.read(caller, bridge.opened(number).handle, own, position),
        (errno, bytes = 0) => {
          if (errno < 0) return reply(errno);
          own.copy(target, 0, 0, bytes);
          return reply(bytes, bytes);
        },
      );
    },
    release: (_path, number, reply) =>
      bridge.answer(
        'release',
        () => fileSystem.release(bridge.take(number).handle),
        (errno) => reply(errno),
      ),
    getxattr: (path, name, _position, reply) =>
      bridge.answer(
        'getxattr',
        async (caller) =>
          Buffer.from(
            await fileSystem.getxattr(caller, await bridge.inodeOf(caller, path), nameFromText(name)),
          ),
        reply,
      ),
    listxattr: (path, reply) =>
      bridge.answer(
        'listxattr',
        async (caller) =>
          (await fileSystem.listxattr(caller, await bridge.inodeOf(caller, path))).map(nameToText),
        reply,
      ),
    statfs: (path, reply) => bridge.answer('statfs', (caller) => statistics(bridge, caller, path), reply),
  };
}
