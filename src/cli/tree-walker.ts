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

  /** Walk from the root. @throws ImgfsError `not-found` naming the first component that is missing. */
  async find(components: readonly string[]): Promise<FoundNode> {
    let inode = rootInode;
    let { attributes } = await this.#fileSystem.getattr(this.#caller, inode);
    const walked: string[] = [];
    for (const component of components) {
      walked.push(component);
      const entry = await this.#fileSystem.lookup(this.#caller, inode, nameFromText(component));
      if (entry.attributes === undefined) {
        throw new ImgfsError('not-found', `${walked.join('/')}: no such file or directory`, {
          path: walked.join('/'),
        });
      }
      ({ attributes } = entry);
      inode = attributes.inode;
    }
    return { inode, attributes, path: walked.join('/') };
  }

  /** Entries of a directory with their attributes, in the order of the store. */
  async *list(
    directory: FoundNode,
  ): AsyncIterable<{ readonly name: string; readonly attributes: Attributes }> {
    const { handle } = await this.#fileSystem.opendir(this.#caller, directory.inode);
    try {
      let offset = 0n;
      for (let end = false; !end;) {
        const options = { limit: pageEntries, plus: true };
        const page = await this.#fileSystem.readdir(this.#caller, directory.inode, handle, offset, options);
        for (const entry of page.entries) {
          const attributes = await this.#attributesOf(directory.inode, entry);
          if (entry.entry !== undefined) this.#fileSystem.forget(entry.inode, 1);
          // Gone between the listing and the look: as if it had not been listed.
          if (attributes !== undefined) yield { name: nameToText(entry.name), attributes };
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
    const found = await this.#fileSystem.lookup(this.#caller, directory, entry.name);
    if (found.attributes !== undefined) this.#fileSystem.forget(found.attributes.inode, 1);
    return found.attributes;
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
