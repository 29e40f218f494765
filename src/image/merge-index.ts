/**
 * Adding platforms to an index (linuxkit's `IndexWrite`): a child for the same platform is replaced, attestations of
 * what is no longer there go with it. linuxkit compares all but the variant, so that arm/v6 and arm/v7 replace each
 * other; here they are two.
 */
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import { indexBytes } from '../oci/manifest-json.js';
import type { ImageIndex } from '../oci/manifest.js';
import { mediaTypes } from '../oci/media-type.js';
import { formatPlatform, normalizePlatform } from '../oci/platform.js';
import { isAttestationManifest } from '../oci/select-manifest.js';

/** Annotation by which BuildKit's attestations name the image they are about. */
const aboutAnnotation = 'vnd.docker.reference.digest';

/** A new index: its bytes and its descriptor. */
export interface MergedIndex {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly manifests: readonly Descriptor[];
}

/** Merge children into an index, or make one of them. Those of `added` win; the order of what stays is kept. */
export function mergeIndex(current: ImageIndex | undefined, added: readonly Descriptor[]): MergedIndex {
  const fresh = lastOfEach(added);
  const replaced = new Set(fresh.map(placeOf));
  const kept = (current?.manifests ?? []).filter((child) => !replaced.has(placeOf(child)));
  const manifests = withoutDangling([...kept, ...fresh]);
  const mediaType = current?.mediaType ?? mediaTypes.ociIndex;
  const bytes = indexBytes(manifests, {
    mediaType,
    ...(current === undefined ? {} : { annotations: current.annotations }),
  });
  return { bytes, manifests, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

/** What two children cannot both be: the image of a platform, the attestation of a digest. */
function placeOf(child: Descriptor): string {
  if (isAttestationManifest(child))
    return `attestation ${child.annotations?.[aboutAnnotation] ?? child.digest}`;
  if (child.platform === undefined) return `digest ${child.digest}`;
  const platform = normalizePlatform(child.platform);
  const features = [...(platform.osFeatures ?? [])].sort().join(',');
  return `platform ${formatPlatform(platform)} ${platform.osVersion ?? ''} ${features}`;
}

function lastOfEach(children: readonly Descriptor[]): readonly Descriptor[] {
  return [...new Map(children.map((child) => [placeOf(child), child])).values()];
}

function withoutDangling(children: readonly Descriptor[]): readonly Descriptor[] {
  const digests = new Set<string>(children.map(({ digest }) => digest));
  return children.filter((child) => {
    const about = child.annotations?.[aboutAnnotation];
    return !isAttestationManifest(child) || about === undefined || digests.has(about);
  });
}
