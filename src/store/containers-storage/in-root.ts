/**
 * Opening files of an unpacked layer by the names a tar gave them: as the unpacker resolved them, in a root of their
 * own. A link of the image to `/etc` must not lead to ours. The file itself is never a link.
 */
import { constants } from 'node:fs';
import { lstat, open, readlink, type FileHandle } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { nameFromBytes, nameToBytes, type Name } from '../../oci/name.js';
import { fileError, fsErrorCode } from '../file-error.js';

/** As in Linux (MAXSYMLINKS). */
const maxLinks = 40;

const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class RootedFiles {
  private readonly root: Name;
  /** Directories by the path that was asked for; 10,000 of about 200 bytes. */
  private readonly known = new LRUCache<Name, Name>({ max: 10_000 });

  /** `root` is the directory of the layer. */
  constructor(root: string) {
    this.root = nameFromBytes(Buffer.from(root));
  }

  /**
   * Open a regular file of `size` bytes.
   * @throws ImgfsError `stale` when it is not there or has another size, `denied`, `link-loop`, `invalid-content` for what is no file.
   */
  async open(name: Name, size: number): Promise<FileHandle> {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.') as Name[];
    const last = parts.pop();
    const text = `${this.root}/${name}`;
    if (last === undefined || last === '..') {
      throw new ImgfsError('invalid-content', `read layer: ${JSON.stringify(name)} is no name of a file`);
    }
    try {
      const folder = await this.directory(parts);
      const handle = await open(nameToBytes(`${folder}/${last}` as Name), flags);
      const stats = await handle.stat();
      if (stats.isFile() && stats.size === size) return handle;
      await handle.close();
      throw stats.isFile()
        ? new ImgfsError('stale', `read layer: ${text} has ${stats.size} bytes, it had ${size}`, {
            path: text,
            hint: 'the layer was changed after it was unpacked: pull the image again',
          })
        : new ImgfsError('invalid-content', `read layer: ${text} is not a file`, { path: text });
    } catch (error) {
      throw fileError(error, 'read layer', text, {
        missing: 'stale',
        hint:
          fsErrorCode(error) === 'EACCES'
            ? 'the files belong to other users of a rootless engine: run imgfs in podman unshare'
            : 'the layer was changed after it was unpacked: pull the image again',
      });
    }
  }

  /** The directory as it is on disk, links resolved inside the root. */
  private async directory(parts: readonly Name[]): Promise<Name> {
    const key = parts.join('/') as Name;
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const waiting = parts.toReversed();
    const at: Name[] = [];
    for (let links = 0; ;) {
      const part = waiting.pop();
      if (part === undefined) break;
      if (part === '..') at.pop();
      if (part === '..' || part === '.' || part === '') continue;
      const path = nameToBytes(this.path([...at, part]));
      if (!(await lstat(path)).isSymbolicLink()) {
        at.push(part);
        continue;
      }
      links += 1;
      if (links > maxLinks)
        throw new ImgfsError('link-loop', `read layer: too many links in ${this.path(parts)}`);
      const target = nameFromBytes(await readlink(path, { encoding: 'buffer' }));
      if (target.startsWith('/')) at.length = 0;
      waiting.push(...(target.split('/').toReversed() as Name[]));
    }
    const found = this.path(at);
    this.known.set(key, found);
    return found;
  }

  private path(parts: readonly Name[]): Name {
    return [this.root, ...parts].join('/') as Name;
  }
}
