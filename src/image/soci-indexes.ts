/**
 * SOCI indexes of an image: artifacts whose blobs are zTOCs, one for each large gzip layer.
 *
 * v2: the image manifest names the index by digest, in an annotation. v1: the index names the image as its subject and is
 * found among the referrers, where anybody who may push can put one. soci-snapshotter's soci/soci_index.go.
 */
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { BlobSource } from '../content/content.js';
import type { LayerIndexes } from '../layer/layer-source.js';
import type { Descriptor } from '../oci/descriptor.js';
import { isDigest, type Digest } from '../oci/digest.js';
import { isReferrersFinder, type CallOptions } from '../store/store.js';
import type { ChosenManifest, Image } from './image.js';

/** Artifact types of the two versions; the config of the index manifest has them as its media type. */
export const sociTypes = {
  v1: 'application/vnd.amazon.soci.index.v1+json',
  v2: 'application/vnd.amazon.soci.index.v2+json',
} as const;
/** In the image manifest: digest of its v2 index. */
export const sociIndexKey = 'com.amazon.soci.index-digest';
/** In a descriptor of the index: digest of the layer that the zTOC is of. */
export const sociLayerKey = 'com.amazon.soci.image-layer-digest';
export const ztocMediaType = 'application/octet-stream';

/** Referrers that are looked at for an index: more is abuse. */
const maxReferrers = 1000;

export class SociIndexes implements LayerIndexes {
  readonly key: string;
  readonly isBound: boolean;
  readonly #image: Image;
  readonly #subject: Digest;
  readonly #digest: Digest | undefined;
  #ztocs: Promise<ReadonlyMap<string, Descriptor>> | undefined;

  constructor(image: Image, { descriptor, manifest }: ChosenManifest) {
    const named = manifest.annotations?.[sociIndexKey];
    this.#image = image;
    this.#subject = descriptor.digest;
    this.#digest = named !== undefined && isDigest(named) ? named : undefined;
    this.isBound = this.#digest !== undefined;
    this.key = this.#digest ?? `referrers ${image.store.id} ${image.repository} ${descriptor.digest}`;
  }

  async ztoc({ descriptor }: BlobSource, options: CallOptions = {}): Promise<BlobSource | undefined> {
    this.#ztocs ??= this.#load(options).catch((error: unknown) => {
      this.#ztocs = undefined;
      throw error;
    });
    const found = (await this.#ztocs).get(descriptor.digest);
    return found === undefined ? undefined : this.#image.source(found);
  }

  async #load(options: CallOptions): Promise<ReadonlyMap<string, Descriptor>> {
    const descriptor = await this.#find(options);
    if (descriptor === undefined) return new Map();
    const { manifest } = await this.#image.sibling(descriptor).chosen(options);
    const type = manifest.kind === 'image' ? manifest.config.mediaType : manifest.artifactType;
    const isVersion1 = this.#digest === undefined;
    if (type !== sociTypes.v1 && (isVersion1 || type !== sociTypes.v2))
      throw notAnIndex(descriptor, 'its type is not known');
    if (isVersion1 && manifest.subject?.digest !== this.#subject)
      throw notAnIndex(descriptor, 'it is of another image');
    const blobs = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    return new Map(
      blobs.flatMap((blob): [string, Descriptor][] => {
        const layer = blob.annotations?.[sociLayerKey];
        return layer === undefined || blob.mediaType !== ztocMediaType ? [] : [[layer, blob]];
      }),
    );
  }

  async #find(options: CallOptions): Promise<Descriptor | undefined> {
    const { store, repository } = this.#image;
    if (this.#digest !== undefined) {
      return (await store.resolve({ repository, digest: this.#digest }, options)).descriptor;
    }
    if (!isReferrersFinder(store)) return undefined;
    let seen = 0;
    try {
      for await (const found of store.referrers(repository, this.#subject, {
        ...options,
        artifactType: sociTypes.v1,
      })) {
        if (found.artifactType === sociTypes.v1) return found;
        seen += 1;
        if (seen >= maxReferrers) break;
      }
    } catch (error) {
      if (!isImgfsError(error, 'not-found') && !isImgfsError(error, 'unsupported')) throw error;
    }
    return undefined;
  }
}

function notAnIndex({ digest }: Descriptor, reason: string): ImgfsError {
  return new ImgfsError('invalid-content', `read SOCI index ${digest}: ${reason}`, { digest });
}
