/** Artifacts that refer to an image (image-spec manifest.md, "Guidelines for Artifact Usage"): SBOMs, reports, anything. */
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import { mediaTypes } from '../oci/media-type.js';
import type { CallOptions } from '../store/store.js';
import type { Image } from './image.js';
import { pushManifest } from './push-manifest.js';
import { putBytes } from './put-bytes.js';
import { assertPusher } from './upload/uploads.js';

/** A file of an artifact. */
export interface ArtifactFile {
  readonly title: string;
  readonly mediaType: string;
  readonly content: Uint8Array;
}

/** What an artifact is, and what is in it. */
export interface NewArtifact {
  readonly artifactType: string;
  readonly files: readonly ArtifactFile[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Push an artifact whose subject is the image. Registries without a referrers API get the fallback tag.
 * @throws ImgfsError `read-only-store`, and what the store throws.
 */
export async function attachArtifact(
  image: Image,
  artifact: NewArtifact,
  options: CallOptions = {},
): Promise<Descriptor> {
  const store = assertPusher(image.store);
  const { repository, descriptor: subject } = image;
  const empty = Buffer.from('{}');
  const layers = [];
  for (const { title, mediaType, content } of artifact.files) {
    const digest = await putBytes(store, repository, content, options);
    const annotations = { 'org.opencontainers.image.title': title };
    layers.push({ mediaType, digest, size: content.length, annotations });
  }
  await putBytes(store, repository, empty, options);
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: artifact.artifactType,
    config: { mediaType: mediaTypes.ociEmpty, digest: digestOf(empty), size: empty.length },
    layers,
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
    ...(artifact.annotations === undefined ? {} : { annotations: artifact.annotations }),
  };
  return pushManifest({ store, repository }, Buffer.from(JSON.stringify(manifest)), options);
}
