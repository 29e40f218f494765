/** A tree of ours against a directory that another tool unpacked, entry by entry. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { nameFromBytes, nameFromText, nameToText, type Name } from '../../src/oci/name.js';
import type { Attributes, FileSystem, Inode } from '../../src/vfs/file-system.js';
import type { Walker } from './file-system-walker.js';

const run = promisify(execFile);

/** One line for each path: everything that lstat(2) tells but inode numbers, the link's target, the content's sha256. */
export type Listing = ReadonlyMap<string, string>;

interface Facts {
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  readonly mtimeNs: bigint;
  readonly rdev: readonly [number, number];
  readonly content: string;
}

function line(facts: Facts): string {
  const { type, mode, uid, gid, size, nlink, mtimeNs, rdev, content } = facts;
  const length = type === 'directory' ? 0 : size;
  return `${type} ${mode.toString(8)} ${uid}:${gid} ${length} links=${nlink} ${mtimeNs} ${rdev.join(',')} ${content}`;
}

async function hashFile(path: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

const typeNames: Readonly<Record<number, string>> = {
  0o010000: 'fifo',
  0o020000: 'char',
  0o040000: 'directory',
  0o060000: 'block',
  0o100000: 'file',
  0o120000: 'symlink',
};

/** What is in a directory on disk. Names are bytes. */
export async function listUnpacked(root: string): Promise<Listing> {
  const listing = new Map<string, string>();
  const visit = async (path: Buffer, shown: string): Promise<void> => {
    const facts = await lstat(path, { bigint: true });
    const type = typeNames[Number(facts.mode) & 0o170000] ?? 'other';
    let content = '';
    if (type === 'file') content = await hashFile(path);
    if (type === 'symlink') content = nameFromBytes(await readlink(path, { encoding: 'buffer' }));
    const isDevice = type === 'char' || type === 'block';
    const rdev = Number(facts.rdev);
    listing.set(
      shown,
      line({
        type,
        mode: Number(facts.mode) & 0o7777,
        uid: Number(facts.uid),
        gid: Number(facts.gid),
        size: Number(facts.size),
        nlink: Number(facts.nlink),
        mtimeNs: facts.mtimeNs,
        rdev: isDevice ? [(rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00)] : [0, 0],
        content,
      }),
    );
    if (type !== 'directory') return;
    for (const name of await readdir(path, { encoding: 'buffer' }))
      await visit(Buffer.concat([path, Buffer.from('/'), name]), `${shown}/${nameFromBytes(name)}`);
  };
  await visit(Buffer.from(root), '');
  return listing;
}

async function hashOurs(fileSystem: FileSystem, walker: Walker, inode: Inode): Promise<string> {
  const { handle } = await fileSystem.open(walker.caller, inode, 0);
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(1 << 20);
  try {
    for (let position = 0; ;) {
      const length = await fileSystem.read(walker.caller, handle, buffer, position);
      if (length === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, length));
      position += length;
    }
  } finally {
    await fileSystem.release(handle);
  }
}

/** What is in a directory of a file system of ours. */
export async function listOurs(fileSystem: FileSystem, walker: Walker, root: string): Promise<Listing> {
  const listing = new Map<string, string>();
  const visit = async (attributes: Attributes, shown: string): Promise<void> => {
    const { type, mode, uid, gid, size, nlink, mtimeNs, rdev, inode } = attributes;
    let content = '';
    if (type === 'file') content = await hashOurs(fileSystem, walker, inode);
    if (type === 'symlink') content = await fileSystem.readlink(walker.caller, inode);
    const device = [(rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00)] as const;
    listing.set(shown, line({ type, mode, uid, gid, size, nlink, mtimeNs, rdev: device, content }));
    if (type !== 'directory') return;
    const { handle } = await fileSystem.opendir(walker.caller, inode);
    for (let offset = 0n, end = false; !end;) {
      const page = await fileSystem.readdir(walker.caller, inode, handle, offset, { limit: 500, plus: true });
      for (const child of page.entries) {
        if (child.entry !== undefined) await visit(child.entry.attributes, `${shown}/${child.name}`);
        else listing.set(`${shown}/${child.name}`, 'came without attributes');
      }
      offset = page.entries.at(-1)?.next ?? offset;
      end = page.end;
    }
    await fileSystem.releasedir(handle);
  };
  const inode = await walker.inode(root);
  // Only once it was looked into has the root its own attributes.
  await fileSystem.releasedir((await fileSystem.opendir(walker.caller, inode)).handle);
  await visit((await fileSystem.getattr(walker.caller, inode)).attributes, '');
  return listing;
}

/**
 * Paths on which two listings differ, with both lines. A directory whose time was made by the unpacking itself, at or
 * after `unpackedAtMs`, has no time to compare: no layer describes it, or it was written into afterwards.
 */
export function differences(ours: Listing, theirs: Listing, unpackedAtMs: number): string[] {
  const paths = new Set([...ours.keys(), ...theirs.keys()]);
  const time = / (\d{19}) /;
  const isEqual = (one = '', other = ''): boolean => {
    if (one === other) return true;
    const made = Number(time.exec(other)?.[1] ?? 0) / 1e6 >= unpackedAtMs;
    const withoutTime = (text: string): string => text.replace(/ -?\d+ (?=\d+,\d+ $)/, ' ');
    return other.startsWith('directory') && made && withoutTime(one) === withoutTime(other);
  };
  return [...paths]
    .filter((path) => !isEqual(ours.get(path), theirs.get(path)))
    .map(
      (path) =>
        `${path || '/'}\n  ours   ${ours.get(path) ?? 'missing'}\n  theirs ${theirs.get(path) ?? 'missing'}`,
    );
}

/** `path name=hex value` for every extended attribute on disk whose name begins with `user.`. */
export async function unpackedXattrs(root: string): Promise<string[]> {
  const arguments_ = ['-R', '-h', '-d', '-m', '^user\\.', '-e', 'hex', '--absolute-names', root];
  const { stdout } = await run('getfattr', arguments_, { encoding: 'latin1', maxBuffer: 1 << 26 });
  const found: string[] = [];
  let path = '';
  for (const text of stdout.split('\n')) {
    if (text.startsWith('# file: ')) path = text.slice('# file: '.length + root.length);
    // umoci keeps its own notes in user.rootlesscontainers.
    else if (text.includes('=') && !text.startsWith('user.rootlesscontainers')) found.push(`${path} ${text}`);
  }
  return found.sort();
}

/** The same for a tree of ours. */
export async function ourXattrs(
  fileSystem: FileSystem,
  walker: Walker,
  root: string,
  paths: Iterable<string>,
): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const inode = await walkNames(fileSystem, walker, root, path);
    for (const name of await fileSystem.listxattr(walker.caller, inode)) {
      const text = nameToText(name);
      if (!text.startsWith('user.') || /^user\.(imgfs|oci)\./.test(text)) continue;
      const value = Buffer.from(await fileSystem.getxattr(walker.caller, inode, name)).toString('hex');
      found.push(`${path} ${text}=0x${value}`);
    }
  }
  return found.sort();
}

async function walkNames(fileSystem: FileSystem, walker: Walker, root: string, path: string): Promise<Inode> {
  let inode = await walker.inode(root);
  for (const name of path.split('/').filter(Boolean)) {
    const entry = await fileSystem.lookup(walker.caller, inode, name as Name);
    if (entry.attributes === undefined) throw new Error(`no ${nameFromText(path)}`);
    ({ inode } = entry.attributes);
  }
  return inode;
}
