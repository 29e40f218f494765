/** Removing blobs that no image of a layout needs. */
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import { fileError, fsErrorCode } from '../file-error.js';
import { reachableBlobs } from './reachable.js';
import type { ManifestReader } from './referrers.js';

/** What counts as garbage. */
export interface CollectOptions {
  /** Say what would go, remove nothing. */
  readonly dryRun?: boolean;
  /**
   * Keep what is younger, in milliseconds; default one day. A push writes blobs long before the manifest that needs
   * them, so this has to be longer than the longest push.
   */
  readonly minAgeMs?: number;
}

/** What was removed, or would be. */
export interface CollectResult {
  /** Blobs removed (or to be removed), in no order. */
  readonly removed: readonly { readonly digest: Digest; readonly size: number }[];
  readonly freedBytes: number;
  /** Blobs that stay. */
  readonly keptBlobs: number;
  /** Ids of abandoned uploads removed. */
  readonly uploads: readonly string[];
}

export const defaultMinAgeMs = 24 * 60 * 60 * 1000;

interface StoredBlob {
  readonly digest: Digest;
  readonly path: string;
  readonly size: number;
  readonly ageMs: number;
}

/**
 * The blobs that may go: not reachable from `roots`, nor from a referrer of what is reachable, and old enough.
 * @throws ImgfsError as {@link reachableBlobs}: nothing is removed when the images cannot be walked.
 */
export async function findGarbage(
  blobsDirectory: string,
  roots: readonly Descriptor[],
  read: ManifestReader,
  minAgeMs: number,
): Promise<{ readonly garbage: readonly StoredBlob[]; readonly keptBlobs: number }> {
  const reachable = await reachableBlobs(roots, read);
  const stored = await storedBlobs(blobsDirectory);
  await addReferrers(stored, reachable, read);
  const garbage = stored.filter(({ digest, ageMs }) => !reachable.has(digest) && ageMs >= minAgeMs);
  return { garbage, keptBlobs: stored.length - garbage.length };
}

/** Remove them; what is gone already is no error. */
export async function removeBlobs(garbage: readonly StoredBlob[]): Promise<void> {
  for (const { path, digest } of garbage) {
    await unlink(path).catch((error: unknown) => {
      if (fsErrorCode(error) !== 'ENOENT') throw fileError(error, 'remove blob', path, { digest });
    });
  }
}

/** Files under blobs/ that are named as blobs; others are not ours to judge. */
async function storedBlobs(directory: string): Promise<readonly StoredBlob[]> {
  const now = Date.now();
  const found: StoredBlob[] = [];
  for (const algorithm of await list(directory)) {
    for (const hex of await list(join(directory, algorithm))) {
      const digest = `${algorithm}:${hex}`;
      const path = join(directory, algorithm, hex);
      if (!isDigest(digest)) continue;
      const stats = await stat(path).catch(() => undefined);
      if (stats?.isFile()) found.push({ digest, path, size: stats.size, ageMs: now - stats.mtimeMs });
    }
  }
  return found;
}

async function list(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(fsErrorCode(error) ?? '')) return [];
    throw fileError(error, 'list', directory);
  }
}

/** Manifests that no index names but that refer to what is reachable, and referrers of those. */
async function addReferrers(
  stored: readonly StoredBlob[],
  reachable: Set<Digest>,
  read: ManifestReader,
): Promise<void> {
  let candidates = await subjects(stored, reachable, read);
  for (let before = -1; before !== candidates.length;) {
    before = candidates.length;
    const kept = candidates.filter(({ subject }) => reachable.has(subject));
    candidates = candidates.filter(({ subject }) => !reachable.has(subject));
    await reachableBlobs(
      kept.map(({ descriptor }) => descriptor),
      read,
      reachable,
    );
  }
}

interface Candidate {
  readonly subject: Digest;
  readonly descriptor: Descriptor;
}

async function subjects(
  stored: readonly StoredBlob[],
  reachable: ReadonlySet<Digest>,
  read: ManifestReader,
): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const { digest, size } of stored) {
    if (reachable.has(digest) || size > maxManifestBytes) continue;
    try {
      const bytes = await read(digest);
      // Nearly all small blobs are configs and layers: a look at the first byte spares parsing the latter.
      if (bytes[0] !== 0x7b) continue;
      const manifest = parseManifest(bytes);
      const { subject, mediaType } = manifest;
      if (subject !== undefined)
        found.push({ subject: subject.digest, descriptor: { mediaType, digest, size } });
    } catch (error) {
      if (!isImgfsError(error)) throw error;
    }
  }
  return found;
}
