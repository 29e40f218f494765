/**
 * From paths to inodes: libfuse 2 speaks in paths, `vfs/` in inode numbers.
 *
 * Each remembered path holds one lookup on its inode, given back when the entry expires, is pushed out, or is
 * replaced by another inode.
 */
import { LRUCache } from 'lru-cache';
import { ImgfsError } from '../../errors/imgfs-error.js';
import {
  rootInode,
  type Attributes,
  type Caller,
  type Entry,
  type FileSystem,
  type Inode,
} from '../../vfs/file-system.js';
import { maxNameBytes, nameFromText } from '../../vfs/name.js';

/** About 300 bytes each: 6 MB when full, and a `find` over 20,000 entries looks each parent up once. */
const maxRememberedPaths = 20_000;

/** How long the kernel believes attributes through libfuse (`attrTimeout` of driver.ts), and a little. */
const shownMs = 1_100;

interface Remembered {
  readonly inode: Inode;
  /** In milliseconds since the epoch, like all times here. */
  readonly expiresAt: number;
  /** Until then the kernel believes the size of this inode. */
  shownUntil: number;
}

export interface ResolvedPath {
  readonly inode: Inode;
  /** Present when the last step was a lookup just now. */
  readonly attributes?: Attributes;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

export class PathTable {
  readonly #fileSystem: FileSystem;
  readonly #known: LRUCache<string, Remembered>;

  constructor(fileSystem: FileSystem) {
    this.#fileSystem = fileSystem;
    this.#known = new LRUCache({
      max: maxRememberedPaths,
      dispose: (entry) => fileSystem.forget(entry.inode, 1),
    });
  }

  get size(): number {
    return this.#known.size;
  }

  /**
   * Walk `path` (absolute, as libfuse gives it).
   * @throws ImgfsError `not-found`, `name-too-long`, and whatever a lookup throws.
   */
  async resolve(caller: Caller, path: string): Promise<ResolvedPath> {
    if (path === '/') return { inode: rootInode };
    const known = this.#known.get(path);
    if (known !== undefined && known.expiresAt > Date.now()) return { inode: known.inode };
    const slash = path.lastIndexOf('/');
    const parent = await this.resolve(caller, parentOf(path));
    return this.#lookup(caller, parent.inode, path, path.slice(slash + 1));
  }

  /**
   * The inode to open: the one whose attributes the kernel was shown, while it believes them. Another content under
   * the old size would be cut.
   */
  async resolveShown(caller: Caller, path: string): Promise<Inode> {
    const known = this.#known.get(path);
    if (known !== undefined && known.shownUntil > Date.now()) return known.inode;
    return (await this.resolve(caller, path)).inode;
  }

  /** The kernel gets the attributes of what the path is now. */
  shown(path: string): void {
    const known = this.#known.peek(path);
    if (known !== undefined) known.shownUntil = Date.now() + shownMs;
  }

  async #lookup(caller: Caller, parent: Inode, path: string, text: string): Promise<ResolvedPath> {
    const name = nameFromText(text);
    if (name.length > maxNameBytes)
      throw new ImgfsError('name-too-long', `lookup ${path}: name over 255 bytes`);
    const entry = await this.#fileSystem.lookup(caller, parent, name);
    if (entry.attributes === undefined) {
      this.#known.delete(path);
      throw new ImgfsError('not-found', `lookup ${path}: no such entry`, { path });
    }
    this.learn(path, entry);
    return { inode: entry.attributes.inode, attributes: entry.attributes };
  }

  /**
   * Take over the lookup that `entry` counted: the path is known from now on, but no longer than the directory it is
   * in. A name in an image directory stays what it is for ever; the tag above it does not.
   */
  learn(path: string, entry: Entry): void {
    const parent = parentOf(path);
    const parentExpiry =
      parent === '/' ? Number.POSITIVE_INFINITY : (this.#known.peek(parent)?.expiresAt ?? 0);
    const expiresAt = Math.min(Date.now() + entry.entryTtlMs, parentExpiry);
    this.#known.set(path, { inode: entry.attributes.inode, expiresAt, shownUntil: 0 });
  }

  /** The path, and everything below it, means something else now. */
  drop(path: string): void {
    this.#known.delete(path);
    const below = `${path}/`;
    const gone = [...this.#known.keys()].filter((known) => known.startsWith(below));
    for (const known of gone) this.#known.delete(known);
  }

  /** Give every lookup back. */
  clear(): void {
    this.#known.clear();
  }
}
