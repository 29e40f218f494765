/**
 * SOCI indexes into a repository: as a referrer of an image (v1), or as a new image that names its index by digest (v2),
 * as soci-snapshotter's soci/soci_index.go and soci/soci_convert.go write them.
 */
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf } from '../oci/digest.js';
import { mediaTypes } from '../oci/media-type.js';
import type { Platform } from '../oci/platform.js';
import { isBlobStatter, type CallOptions } from '../store/store.js';
import { pushManifest, type ManifestPlace } from './push-manifest.js';
import { sociIndexKey, sociLayerKey, sociTypes, ztocMediaType } from './soci-indexes.js';

/** A layer and its zTOC. */
export interface LayerZtoc {
  readonly layer: Descriptor;
  readonly bytes: Uint8Array;
  readonly spanBytes: number;
}

export interface SociPushOptions extends CallOptions {
  /** Who made it: goes into the annotations. */
  readonly buildTool: string;
}

const emptyConfig = Buffer.from('{}');
/** A blob is sent in pieces: the session keeps what arrived when one of them fails. */
const pieceBytes = 1 << 20;

const sortedPlatform = ({
  architecture,
  os,
  variant,
  osVersion,
  osFeatures,
}: Platform): Record<string, unknown> => ({
  architecture,
  os,
  ...(osVersion === undefined ? {} : { 'os.version': osVersion }),
  ...(osFeatures === undefined ? {} : { 'os.features': osFeatures }),
  ...(variant === undefined ? {} : { variant }),
});

const call = ({ signal }: CallOptions): CallOptions => (signal === undefined ? {} : { signal });

/** Send a blob unless it is there. */
async function putBlob(
  { store, repository }: ManifestPlace,
  bytes: Uint8Array,
  options: CallOptions,
): Promise<Descriptor> {
  const descriptor = { mediaType: mediaTypes.octetStream, digest: digestOf(bytes), size: bytes.length };
  if (isBlobStatter(store)) {
    try {
      return { ...(await store.statBlob(repository, descriptor.digest, call(options))), ...descriptor };
    } catch (error) {
      if (!isImgfsError(error, 'not-found')) throw error;
    }
  }
  const upload = await store.startUpload(repository, { ...call(options), size: bytes.length });
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes)
      await upload.write(bytes.subarray(at, at + pieceBytes), call(options));
    await upload.finish(descriptor.digest, call(options));
  } catch (error) {
    await upload.cancel().catch(() => undefined);
    throw error;
  }
  return descriptor;
}

async function putIndex(
  place: ManifestPlace,
  version: keyof typeof sociTypes,
  subject: Descriptor | undefined,
  ztocs: readonly LayerZtoc[],
  options: SociPushOptions,
): Promise<Descriptor> {
  if (ztocs.length === 0) {
    throw new ImgfsError('invalid', 'push SOCI index: no layer that it could tell about', {
      hint: 'SOCI knows gzip layers; smaller ones than --min-layer-size are left out',
    });
  }
  const config = await putBlob(place, emptyConfig, options);
  const layers: unknown[] = [];
  for (const { layer, bytes, spanBytes } of ztocs) {
    const { digest, size } = await putBlob(place, bytes, options);
    const annotations = {
      [sociLayerKey]: layer.digest,
      'com.amazon.soci.image-layer-mediaType': layer.mediaType,
      'com.amazon.soci.span-size': String(spanBytes),
    };
    layers.push({ mediaType: ztocMediaType, digest, size, annotations });
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: sociTypes[version], digest: config.digest, size: config.size },
    layers,
    ...(subject === undefined
      ? {}
      : { subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size } }),
    annotations: { 'com.amazon.soci.build-tool-identifier': options.buildTool },
  };
  // A store that keeps a list of its images lists a referrer, and no part of an image.
  const child = subject === undefined ? { child: true } : {};
  return pushManifest(place, Buffer.from(JSON.stringify(manifest)), { ...call(options), ...child });
}

/**
 * Put an index that names `subject`, an image manifest. @throws ImgfsError `invalid` without a zTOC; what the store
 * throws.
 */
export function pushSociReferrer(
  place: ManifestPlace,
  subject: Descriptor,
  ztocs: readonly LayerZtoc[],
  options: SociPushOptions,
): Promise<Descriptor> {
  return putIndex(place, 'v1', subject, ztocs, options);
}

/** What a new image is made from: the exact bytes of an image manifest, and the platform it is for. */
export interface SociBase {
  readonly manifest: Uint8Array;
  readonly platform: Platform;
}

/**
 * Put a new image under `tag`: an index of the image, which names its SOCI index by digest, and of that. The layers are
 * those of the image, and must be in the repository. @throws as `pushSociReferrer`.
 */
export async function pushSociImage(
  place: ManifestPlace,
  base: SociBase,
  tag: string,
  ztocs: readonly LayerZtoc[],
  options: SociPushOptions,
): Promise<Descriptor> {
  const soci = await putIndex(place, 'v2', undefined, ztocs, options);
  const parsed = JSON.parse(Buffer.from(base.manifest).toString('utf8')) as Record<
    string,
    Record<string, unknown>
  >;
  const annotated = {
    ...parsed,
    mediaType: mediaTypes.ociManifest,
    config: { ...parsed['config'], mediaType: mediaTypes.ociConfig },
    annotations: { ...parsed['annotations'], [sociIndexKey]: soci.digest },
  };
  const bytes = Buffer.from(JSON.stringify(annotated));
  const image = await pushManifest(place, bytes, { ...call(options), child: true });
  const platform = sortedPlatform(base.platform);
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [
      {
        mediaType: image.mediaType,
        digest: image.digest,
        size: image.size,
        annotations: annotated.annotations,
        platform,
      },
      {
        mediaType: soci.mediaType,
        artifactType: sociTypes.v2,
        digest: soci.digest,
        size: soci.size,
        annotations: { 'com.amazon.soci.image-manifest-digest': image.digest },
        platform,
      },
    ],
  };
  return pushManifest(place, Buffer.from(JSON.stringify(index)), { ...call(options), tags: [tag] });
}
