/** A file system by path, as a program would use it: for tests without a mount. */
import type {
  Attributes,
  Caller,
  DirectoryEntry,
  Entry,
  FileSystem,
  Inode,
} from '../../src/vfs/file-system.js';
import { rootInode } from '../../src/vfs/file-system.js';
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import { nameFromText, nameToText } from '../../src/vfs/name.js';

export interface Walker {
  readonly caller: Caller;
  /** The entry at a path, every component looked up; throws `not-found` like open(2). */
  readonly entry: (path: string) => Promise<Entry>;
  readonly inode: (path: string) => Promise<Inode>;
  readonly stat: (path: string) => Promise<Attributes>;
  readonly list: (path: string, limit?: number) => Promise<string[]>;
  readonly entries: (path: string, plus: boolean) => Promise<DirectoryEntry[]>;
  readonly read: (path: string) => Promise<Buffer>;
  readonly text: (path: string) => Promise<string>;
  /** `undefined` when absent. */
  readonly xattr: (path: string, name: string) => Promise<string | undefined>;
  readonly xattrs: (path: string) => Promise<string[]>;
}

/** Walks with a caller whose operations have `deadlineMs`. */
export function walk(fileSystem: FileSystem, deadlineMs = 5000): Walker {
  const caller: Caller = {
    uid: 0,
    gid: 0,
    pid: 1,
    get signal() {
      return AbortSignal.timeout(deadlineMs);
    },
  };
  const entry = async (path: string): Promise<Entry> => {
    let at: Entry = {
      ...(await fileSystem.getattr(caller, rootInode)),
      entryTtlMs: Number.POSITIVE_INFINITY,
    };
    for (const part of path.split('/').filter(Boolean)) {
      const next = await fileSystem.lookup(caller, at.attributes.inode, nameFromText(part));
      if (next.attributes === undefined)
        throw new ImgfsError('not-found', `${path}: no such file (at ${part})`);
      at = next;
    }
    return at;
  };
  const inode = async (path: string): Promise<Inode> => (await entry(path)).attributes.inode;
  const entries = async (path: string, plus: boolean, limit = 100): Promise<DirectoryEntry[]> => {
    const directory = await inode(path);
    const { handle } = await fileSystem.opendir(caller, directory);
    const all: DirectoryEntry[] = [];
    for (let offset = 0n, end = false; !end;) {
      const page = await fileSystem.readdir(caller, directory, handle, offset, { limit, plus });
      all.push(...page.entries);
      offset = page.entries.at(-1)?.next ?? offset;
      end = page.end;
    }
    await fileSystem.releasedir(handle);
    return all;
  };
  const read = async (path: string): Promise<Buffer> => {
    const { handle } = await fileSystem.open(caller, await inode(path), 0);
    const chunks: Buffer[] = [];
    try {
      for (let position = 0; ;) {
        const buffer = Buffer.alloc(65_536);
        const length = await fileSystem.read(caller, handle, buffer, position);
        if (length === 0) break;
        chunks.push(buffer.subarray(0, length));
        position += length;
      }
    } finally {
      await fileSystem.release(handle);
    }
    return Buffer.concat(chunks);
  };
  return {
    caller,
    entry,
    inode,
    entries,
    read,
    stat: async (path) => (await entry(path)).attributes,
    list: async (path, limit) => (await entries(path, false, limit)).map(({ name }) => nameToText(name)),
    text: async (path) => (await read(path)).toString('utf8'),
    xattr: async (path, name) => {
      try {
        return Buffer.from(
          await fileSystem.getxattr(caller, await inode(path), nameFromText(name)),
        ).toString();
      } catch (error) {
        if (error instanceof ImgfsError && error.code === 'no-attribute') return undefined;
        throw error;
      }
    },
    xattrs: async (path) => (await fileSystem.listxattr(caller, await inode(path))).map(nameToText),
  };
}
