/** Using a `FileSystem` by path, without a mount: for `imgfs ls`, `cat` and everyone without FUSE. */
import { ImgfsError } from '../errors/imgfs-error.js';
import {
  rootInode,
  type Attributes,
  type Caller,
  type DirectoryEntry,
  type FileSystem,
  type Inode,
} from '../vfs/file-system.js';
import { nameFromText, nameToText } from '../vfs/name.js';

/** Entries asked for at once. */
const pageEntries = 1_000;

/** Bytes read at once: large enough that read-ahead is never waited for twice. */
const readChunkBytes = 1024 * 1024;

/** An entry of a directory. */
export interface Listed {
  readonly name: string;
  readonly attributes: Attributes;
}

export interface WalkedEntry extends Listed {
  /** Path from where the walk began. */
  readonly below: string;
}

/** As Linux has it (MAXSYMLINKS). */
const maxLinks = 40;

/** Number of components that lead to the root of an image's tree; undefined for paths that lead into none. */
function treeRootDepth(components: readonly string[]): number | undefined {
  const rootfs = components.indexOf('rootfs');
  const layers = components.indexOf('layers');
  if (rootfs > 0 && (layers < 0 || rootfs < layers)) return rootfs + 1;
  return layers > 0 && /^[0-9]+$/.test(components[layers + 1] ?? '') ? layers + 2 : undefined;
}

export interface FoundNode {
  readonly inode: Inode;
  readonly attributes: Attributes;
  /** The path asked for, for messages. */
  readonly path: string;
}

export class TreeWalker {
  readonly #fileSystem: FileSystem;
  readonly #caller: Caller;

  constructor(fileSystem: FileSystem, signal: AbortSignal) {
    this.#fileSystem = fileSystem;
    this.#caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: process.pid, signal };
  }

  /**
   * Walk from the root. Symbolic links inside an image are followed as a container would, never out of its tree; the
   * last one too, unless `follow` is false.
   * @throws ImgfsError `not-found` naming the first component that is missing; `invalid` for a loop of links.
   */
  async find(components: readonly string[], follow = true): Promise<FoundNode> {
    const { attributes } = await this.#fileSystem.getattr(this.#caller, rootInode);
    /** What was walked: the root, and a node for each component below it. */
    const walked: FoundNode[] = [{ inode: rootInode, attributes, path: '' }];
    const top = treeRootDepth(components);
    const rest = components.toReversed();
    let links = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      const here = walked.at(-1) ?? walked[0];
      if (here === undefined) break;
      if (name === '..') {
        if (walked.length - 1 > (top ?? 0)) walked.pop();
        continue;
      }
      const next = await this.#step(here, name);
      const isLast = rest.length === 0;
      if (next.attributes.type !== 'symlink' || top === undefined || (isLast && !follow)) {
        walked.push(next);
        continue;
      }
      links += 1;
      if (links > maxLinks) throw new ImgfsError('invalid', `${next.path}: too many symbolic links`);
      const target = await this.readlink(next.inode);
      if (target.startsWith('/')) walked.length = top + 1;
      rest.push(
        ...target
          .split('/')
          .filter((part) => part !== '' && part !== '.')
          .reverse(),
      );
    }
    return walked.at(-1) ?? { inode: rootInode, attributes, path: '' };
  }

  async #step(parent: FoundNode, name: string): Promise<FoundNode> {
    const path = parent.path === '' ? name : `${parent.path}/${name}`;
    const entry = await this.#fileSystem.lookup(this.#caller, parent.inode, nameFromText(name));
    if (entry.attributes === undefined) {
      const shows = parent.path === '' ? '' : `; imgfs ls ${parent.path} shows what is there`;
      const hint = `check the spelling${shows}`;
      throw new ImgfsError('not-found', `${path}: no such file or directory`, { path, hint });
    }
    return { inode: entry.attributes.inode, attributes: entry.attributes, path };
  }

  /** Entries of a directory with their attributes, in the order of the store; known until the next one is asked for. */
  async *list(directory: FoundNode): AsyncIterable<Listed> {
    const { handle } = await this.#fileSystem.opendir(this.#caller, directory.inode);
    try {
      let offset = 0n;
      for (let end = false; !end;) {
        const options = { limit: pageEntries, plus: true };
        const page = await this.#fileSystem.readdir(this.#caller, directory.inode, handle, offset, options);
        for (const entry of page.entries) {
          const attributes = await this.#attributesOf(directory.inode, entry);
          // Gone between the listing and the look: as if it had not been listed.
          if (attributes === undefined) continue;
          yield { name: nameToText(entry.name), attributes };
          this.#fileSystem.forget(attributes.inode, 1);
        }
        offset = page.entries.at(-1)?.next ?? offset;
        end = page.end || page.entries.length === 0;
      }
    } finally {
      await this.#fileSystem.releasedir(handle);
    }
  }

  /** Attributes that did not come with the listing cost a lookup, as `ls -l` on a mount does. */
  async #attributesOf(directory: Inode, entry: DirectoryEntry): Promise<Attributes | undefined> {
    if (entry.entry !== undefined) return entry.entry.attributes;
    return (await this.#fileSystem.lookup(this.#caller, directory, entry.name)).attributes;
  }

  /**
   * Everything below a directory, a directory before what is in it. `below` is the path from there. Known until the
   * next one is asked for.
   */
  async *walk(directory: FoundNode, maxDepth = Number.POSITIVE_INFINITY): AsyncIterable<WalkedEntry> {
    const open: { readonly entries: AsyncIterator<Listed>; readonly below: string }[] = [];
    const enter = (node: FoundNode, below: string): void => {
      open.push({ entries: this.list(node)[Symbol.asyncIterator](), below });
    };
    if (maxDepth > 0) enter(directory, '');
    try {
      for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
        const next = await last.entries.next();
        if (next.done === true) {
          open.pop();
          continue;
        }
        const { name, attributes } = next.value;
        const below = `${last.below}${name}`;
        yield { name, attributes, below };
        if (attributes.type === 'directory' && open.length < maxDepth)
          enter({ inode: attributes.inode, attributes, path: `${directory.path}/${below}` }, `${below}/`);
      }
    } finally {
      for (const { entries } of open.reverse()) await entries.return?.();
    }
  }

  /** A child by its name; give it back with `release`. @throws ImgfsError `not-found`. */
  child(directory: FoundNode, name: string): Promise<FoundNode> {
    return this.#step(directory, name);
  }

  release(node: FoundNode): void {
    this.#fileSystem.forget(node.inode, 1);
  }

  /** Extended attributes, values as text where they are text, else in hexadecimal. */
  async xattrs(inode: Inode): Promise<readonly (readonly [string, string])[]> {
    const found: [string, string][] = [];
    for (const name of await this.#fileSystem.listxattr(this.#caller, inode)) {
      const bytes = Buffer.from(await this.#fileSystem.getxattr(this.#caller, inode, name));
      const text = bytes.toString('utf8');
      const isText = Buffer.from(text, 'utf8').equals(bytes) && !text.includes('\0');
      found.push([nameToText(name), isText ? text : `0x${bytes.toString('hex')}`]);
    }
    return found;
  }

  /** The bytes of a file, in order. @throws ImgfsError `is-dir` for a directory. */
  async *read(file: FoundNode): AsyncIterable<Uint8Array> {
    if (file.attributes.type === 'directory')
      throw new ImgfsError('is-dir', `${file.path}: is a directory`, { path: file.path });
    const { handle } = await this.#fileSystem.open(this.#caller, file.inode, 0);
    try {
      for (let position = 0; ;) {
        // A new buffer each time: the chunk before may still wait in the pipe.
        const buffer = Buffer.allocUnsafe(readChunkBytes);
        const bytes = await this.#fileSystem.read(this.#caller, handle, buffer, position);
        if (bytes === 0) return;
        yield buffer.subarray(0, bytes);
        position += bytes;
      }
    } finally {
      await this.#fileSystem.release(handle);
    }
  }

  /** Target of a symbolic link, as text. */
  async readlink(link: Inode): Promise<string> {
    return nameToText(await this.#fileSystem.readlink(this.#caller, link));
  }
}
