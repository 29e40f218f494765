/** What programs do to a file system that takes changes, by path: for tests without a mount. */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import type { Caller, FileHandle, WritableFileSystem } from '../../src/vfs/file-system.js';
import { nameFromText } from '../../src/vfs/name.js';
import type { Walker } from './file-system-walker.js';

export interface Verbs {
  /** Open for writing, made if need be, and cut to nothing. */
  readonly openNew: (path: string, caller?: Caller) => Promise<FileHandle>;
  /** Write as cp(1) does: pieces of 64 KiB, then close, whose failure is thrown. */
  readonly cp: (bytes: Uint8Array | string, path: string, caller?: Caller) => Promise<void>;
  readonly mkdir: (path: string) => Promise<void>;
  readonly rm: (path: string) => Promise<void>;
  readonly rmdir: (path: string) => Promise<void>;
  readonly symlink: (target: string, path: string) => Promise<void>;
  readonly link: (from: string, to: string) => Promise<void>;
  readonly mv: (from: string, to: string) => Promise<void>;
}

export function verbs(fs: WritableFileSystem, tree: Walker): Verbs {
  const split = async (path: string) => {
    const slash = path.lastIndexOf('/');
    return { parent: await tree.inode(path.slice(0, slash)), name: nameFromText(path.slice(slash + 1)) };
  };
  const openNew = async (path: string, caller: Caller = tree.caller) => {
    const { parent, name } = await split(path);
    const found = await fs.lookup(tree.caller, parent, name);
    if (found.attributes === undefined)
      return (await fs.create(caller, parent, name, 0o644, constants.O_WRONLY)).opened.handle;
    const { handle } = await fs.open(caller, found.attributes.inode, constants.O_WRONLY);
    await fs.setattr(tree.caller, found.attributes.inode, { size: 0 }, handle);
    return handle;
  };
  const cp = async (
    bytes: Uint8Array | string,
    path: string,
    caller: Caller = tree.caller,
  ): Promise<void> => {
    const data = Buffer.from(bytes);
    const handle = await openNew(path, caller);
    try {
      for (let at = 0; at < data.length; at += 65_536)
        await fs.write(caller, handle, data.subarray(at, at + 65_536), at);
      await fs.flush(caller, handle);
    } finally {
      await fs.release(handle);
    }
  };
  const mkdir = async (path: string): Promise<void> => {
    const { parent, name } = await split(path);
    await fs.mkdir(tree.caller, parent, name, 0o755);
  };
  const rm = async (path: string): Promise<void> => {
    const { parent, name } = await split(path);
    await fs.unlink(tree.caller, parent, name);
  };
  const rmdir = async (path: string): Promise<void> => {
    const { parent, name } = await split(path);
    await fs.rmdir(tree.caller, parent, name);
  };
  const symlink = async (target: string, path: string): Promise<void> => {
    const { parent, name } = await split(path);
    const entry = await fs.symlink(tree.caller, parent, name, nameFromText(target));
    assert.equal(entry.attributes.type, 'symlink');
  };
  const link = async (from: string, to: string): Promise<void> => {
    const { parent, name } = await split(to);
    await fs.link(tree.caller, await tree.inode(from), parent, name);
  };
  const mv = async (from: string, to: string): Promise<void> => {
    const [source, target] = [await split(from), await split(to)];
    await fs.rename(tree.caller, source.parent, source.name, target.parent, target.name, 0);
  };
  return { openNew, cp, mkdir, rm, rmdir, symlink, link, mv };
}
