/** The kinds of entries that the cache itself has: complete blobs of each algorithm, and partial blobs. */
import { join } from 'node:path';
import { promises as fs } from 'node:fs';
import { digestHex, isDigest, parseDigest, type Digest, type DigestAlgorithm } from '../oci/digest.js';
import { digestOfPartial, type CachePaths } from './cache-paths.js';
import { errorCode } from './file-io.js';
import type { EvictableKind } from './kind-list.js';
import { tryOwn } from './owner-lock.js';
import { removeContents } from './partial-file.js';

export const algorithms: readonly DigestAlgorithm[] = ['sha256', 'sha512', 'blake3'];

/** What the kinds ask before something goes. */
export interface InUse {
  /** True when a reader of this process has the blob open. Closes it when it is only kept at hand. */
  isOpen(digest: Digest): Promise<boolean>;
  isPinned(digest: Digest): boolean;
}

/** Complete blobs. Other processes may have them open: their descriptors stay good. */
export function blobKind(paths: CachePaths, algorithm: DigestAlgorithm, inUse: InUse): EvictableKind {
  const digestOf = (key: string): Digest => parseDigest(`${algorithm}:${key}`);
  return {
    name: `blobs/${algorithm}`,
    folder: join(paths.blobs, algorithm),
    accepts: (key) => isDigest(`${algorithm}:${key}`),
    evict: async (key) => {
      const digest = digestOf(key);
      if (inUse.isPinned(digest) || (await inUse.isOpen(digest))) return false;
      await removeFile(join(paths.blobs, algorithm, digestHex(digest)));
      return true;
    },
  };
}

/** Partial blobs: only what no process writes to. */
export function partialKind(paths: CachePaths, inUse: InUse): EvictableKind {
  return {
    name: 'partial',
    folder: paths.partials,
    accepts: (key) => digestOfPartial(key) !== undefined,
    evict: async (key) => {
      const digest = digestOfPartial(key);
      if (digest === undefined || (await inUse.isOpen(digest))) return false;
      const folder = join(paths.partials, key);
      const stat = await fs.lstat(folder).catch(() => undefined);
      if (stat === undefined) return true;
      if (!stat.isDirectory()) {
        // A small blob that was being put when its process was killed.
        await removeFile(folder);
        return true;
      }
      const lock = await tryOwn(folder);
      if (lock === undefined) return false;
      await removeContents(folder);
      await lock.release();
      await fs.rmdir(folder).catch(() => undefined);
      return true;
    },
  };
}

async function removeFile(path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}
