/** Everything an image is made of, as far as its manifests are in a cache. */
import type { ContentCache } from '../../content/content.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { referencedBlobs } from '../../oci/manifest.js';
import { isForeignLayer, manifestKind } from '../../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import type { ImageStore } from '../../store/store.js';

/** Indexes in indexes: two is what registries have. */
const maxDepth = 4;

/** What of an image is not in the cache whole and verified, manifests included; empty when all is. */
export async function missingFrom(
  cache: ContentCache,
  store: ImageStore,
  descriptor: Descriptor,
  include: (child: Descriptor) => boolean = () => true,
): Promise<readonly Descriptor[]> {
  const missing: Descriptor[] = [];
  const seen = new Set<Digest>();
  const visit = async (each: Descriptor, depth: number): Promise<void> => {
    if (seen.has(each.digest) || depth > maxDepth || isForeignLayer(each.mediaType)) return;
    seen.add(each.digest);
    const { state, size } = await cache.status(each.digest);
    if (state !== 'complete' || size !== each.size) {
      missing.push(each);
      return;
    }
    const kind = manifestKind(each.mediaType);
    if (kind === undefined) return;
    const bytes = await cache.readAll(
      { store, repository: '', descriptor: each },
      { maxBytes: maxManifestBytes },
    );
    const manifest = parseManifest(bytes, each.mediaType);
    const children =
      manifest.kind === 'index' ? manifest.manifests.filter(include) : referencedBlobs(manifest);
    for (const child of children) await visit(child, depth + 1);
  };
  await visit(descriptor, 0);
  return missing;
}
