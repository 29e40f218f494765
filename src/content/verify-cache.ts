/** Hash every blob in the cache again: `imgfs cache verify [--repair]`. */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { digestAlgorithm, isDigest, type Digest } from '../oci/digest.js';
import type { CallOptions } from '../store/store.js';
import type { BlobContext } from './blob-context.js';
import { algorithms } from './cache-kinds.js';
import { closeQuietly, errorCode, openFile, removePath, statFile } from './file-io.js';
import { stamp } from './verified-stamp.js';
import { checkSignal } from '../errors/aborted.js';

/** Hashed in one go by a helper; between two goes the caller may give up. */
const sliceBytes = 16 << 20;

export interface VerifyOptions extends CallOptions {
  /** Remove what is damaged or does not belong under `blobs/`. */
  readonly repair?: boolean;
  /** Called after each blob. */
  readonly onProgress?: (progress: { readonly blobs: number; readonly bytes: number }) => void;
}

export interface DamagedBlob {
  readonly digest: Digest;
  readonly path: string;
  /** What is wrong, in words. */
  readonly cause: string;
  /** True when a pinned image needs it: pull that image again. */
  readonly pinned: boolean;
  readonly removed: boolean;
}

export interface VerifyReport {
  readonly blobs: number;
  readonly bytes: number;
  readonly damaged: readonly DamagedBlob[];
  /** Paths under `blobs/` that are not blobs. */
  readonly strangers: readonly string[];
}

/** Names in a folder; none when it is not there. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await fs.readdir(folder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return [];
    throw error;
  }
}

export async function verifyBlobs(
  context: BlobContext,
  isPinned: (digest: Digest) => boolean,
  onRemoved: (digest: Digest) => void,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const damaged: DamagedBlob[] = [];
  const strangers: string[] = [];
  let blobs = 0;
  let bytes = 0;
  for (const algorithm of algorithms) {
    const folder = join(context.paths.blobs, algorithm);
    for (const name of await namesIn(folder)) {
      checkSignal(options.signal);
      const path = join(folder, name);
      const digest = `${algorithm}:${name}`;
      if (!isDigest(digest)) {
        strangers.push(path);
        if (options.repair === true) await removePath(path);
        continue;
      }
      const result = await verifyBlob(context, digest, path, options.signal);
      if (result === undefined) continue;
      blobs += 1;
      bytes += result.bytes;
      options.onProgress?.({ blobs, bytes });
      if (result.cause === undefined) continue;
      const removed = options.repair === true && (await removePath(path));
      if (removed) onRemoved(digest);
      damaged.push({ digest, path, cause: result.cause, pinned: isPinned(digest), removed });
    }
  }
  return { blobs, bytes, damaged, strangers };
}

/** Undefined when the blob went away meanwhile. */
async function verifyBlob(
  context: BlobContext,
  digest: Digest,
  path: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly bytes: number; readonly cause?: string } | undefined> {
  let fd: number | undefined;
  try {
    const kind = await fs.lstat(path);
    if (!kind.isFile()) return { bytes: 0, cause: 'not a file' };
    fd = await openFile(path, 'r');
    const { size } = await statFile(fd);
    const actual = await hashFile(context, digest, fd, size, signal);
    if (actual !== digest) return { bytes: size, cause: `its bytes have digest ${actual}` };
    await stamp(digest, fd);
    return { bytes: size };
  } catch (error) {
    checkSignal(signal);
    if (errorCode(error) === 'ENOENT') return undefined;
    return { bytes: 0, cause: error instanceof Error ? error.message : String(error) };
  } finally {
    await closeQuietly(fd);
  }
}

async function hashFile(
  context: BlobContext,
  digest: Digest,
  fd: number,
  size: number,
  signal: AbortSignal | undefined,
): Promise<Digest> {
  const digester = context.pool.digester(digestAlgorithm(digest));
  try {
    for (let at = 0; at < size; at = Math.min(size, at + sliceBytes)) {
      checkSignal(signal);
      await digester.hashFile(fd, at, Math.min(size, at + sliceBytes));
    }
    return await digester.finish();
  } catch (error) {
    await digester.drop();
    throw error;
  }
}
