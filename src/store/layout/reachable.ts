/** Which blobs of a layout its index needs. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { referencedBlobs } from '../../oci/manifest.js';
import { manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import type { ManifestReader } from './referrers.js';

/**
 * Digests that can be reached from `roots`, the roots themselves included. Children that are missing are named all the
 * same. A manifest that is there but cannot be understood stops the walk: what it needs is not known, and a collector
 * must not guess.
 * @throws ImgfsError `invalid-content` naming the manifest.
 */
export async function reachableBlobs(
  roots: readonly Descriptor[],
  read: ManifestReader,
  known: Set<Digest> = new Set(),
): Promise<Set<Digest>> {
  const waiting = [...roots];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (known.has(next.digest)) continue;
    known.add(next.digest);
    if (manifestKind(next.mediaType) !== undefined) waiting.push(...(await references(next, read)));
  }
  return known;
}

async function references(descriptor: Descriptor, read: ManifestReader): Promise<readonly Descriptor[]> {
  try {
    const manifest = parseManifest(await read(descriptor.digest), descriptor.mediaType);
    return manifest.kind === 'index' ? manifest.manifests : referencedBlobs(manifest);
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return [];
    throw new ImgfsError(
      'invalid-content',
      `walk images: ${descriptor.digest} is not a manifest we understand`,
      {
        digest: descriptor.digest,
        cause: error,
        hint: 'remove its entry from index.json first',
      },
    );
  }
}
