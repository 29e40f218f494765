/** An image with everything below it, as the members of an archive. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { referencedBlobs, type ImageIndex, type Manifest } from '../../oci/manifest.js';
import { isForeignLayer, isTreeLayer, manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { hostPlatform, type Platform } from '../../oci/platform.js';
import { isAttestationManifest, selectManifest } from '../../oci/select-manifest.js';
import type { ArchivedImage, LoadableImage } from '../../store/archive/write/plan-images.js';
import type { MemberBlob } from '../../store/archive/write/tar-plan.js';
import type { ImageName } from '../../store/image-name.js';
import type { Body, ByteRange, CallOptions } from '../../store/store.js';

/** Children of children of an index: deeper nesting is nobody's. */
const maxDepth = 4;

/** Where the parts of an image come from. */
export interface ImageParts {
  /** Verified bytes. */
  readManifest(descriptor: Descriptor, options: CallOptions): Promise<Uint8Array>;
  openBlob(descriptor: Descriptor, range: ByteRange, options: CallOptions): Promise<Body>;
}

export interface CollectOptions extends CallOptions {
  /** What an engine would load of an index; default: this machine's. */
  readonly platform?: Platform;
  /** Leave out children of an index that the store does not have: layouts may have some platforms only. */
  readonly sparse?: boolean;
}

/**
 * Read the manifests of an image; blobs are named, not read.
 * @throws ImgfsError `invalid-content` for indexes nested too deep or malformed, and what reading throws.
 */
export async function collectImage(
  descriptor: Descriptor,
  names: readonly ImageName[],
  parts: ImageParts,
  options: CollectOptions = {},
): Promise<ArchivedImage> {
  const collector = new Collector(parts, options);
  const root = await collector.manifest(descriptor, 0);
  const loadable = collector.loadable(root);
  return {
    descriptor,
    names,
    manifests: collector.manifests,
    blobs: [...collector.blobs.values()],
    ...(loadable === undefined ? {} : { loadable }),
  };
}

class Collector {
  readonly manifests: { digest: Digest; bytes: Uint8Array }[] = [];
  readonly blobs = new Map<Digest, MemberBlob>();
  readonly #parsed = new Map<Digest, Manifest>();
  readonly #parts: ImageParts;
  readonly #options: CollectOptions;

  constructor(parts: ImageParts, options: CollectOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  async manifest(descriptor: Descriptor, depth: number): Promise<Manifest> {
    const { digest, mediaType } = descriptor;
    const known = this.#parsed.get(digest);
    if (known !== undefined) return known;
    if (depth > maxDepth) {
      throw new ImgfsError('invalid-content', `archive ${digest}: indexes nested too deep`, { digest });
    }
    const bytes = await this.#parts.readManifest(descriptor, this.#options);
    const manifest = parseManifest(bytes, mediaType);
    this.#parsed.set(digest, manifest);
    this.manifests.push({ digest, bytes });
    for (const child of manifest.kind === 'index' ? manifest.manifests : []) {
      // An index may name anything: what is no manifest is a blob.
      if (manifestKind(child.mediaType) === undefined) this.#blob(child);
      else await this.#child(child, depth + 1);
    }
    for (const blob of referencedBlobs(manifest)) if (!isForeignLayer(blob.mediaType)) this.#blob(blob);
    return manifest;
  }

  async #child(descriptor: Descriptor, depth: number): Promise<void> {
    try {
      await this.manifest(descriptor, depth);
    } catch (error) {
      if (this.#options.sparse !== true || !isImgfsError(error, 'not-found')) throw error;
    }
  }

  #blob(descriptor: Descriptor): void {
    const { digest, size } = descriptor;
    this.blobs.set(digest, {
      digest,
      size,
      open: (range, options) => this.#parts.openBlob(descriptor, range, options),
    });
  }

  loadable(manifest: Manifest, depth = 0): LoadableImage | undefined {
    if (manifest.kind === 'index') {
      const child = depth > maxDepth ? undefined : this.#chosen(manifest);
      return child === undefined ? undefined : this.loadable(child, depth + 1);
    }
    if (manifest.kind !== 'image' || !manifest.layers.every(({ mediaType }) => isTreeLayer(mediaType)))
      return undefined;
    return { config: manifest.config.digest, layers: manifest.layers.map(({ digest }) => digest) };
  }

  /** The platform asked for; where the index has no such, its first image. */
  #chosen(index: ImageIndex): Manifest | undefined {
    const images = index.manifests.filter(
      (child) => this.#parsed.has(child.digest) && !isAttestationManifest(child),
    );
    const [first] = images;
    if (first === undefined) return undefined;
    try {
      return this.#parsed.get(
        selectManifest({ ...index, manifests: images }, this.#options.platform ?? hostPlatform()).digest,
      );
    } catch (error) {
      if (error instanceof ImgfsError && error.code === 'not-found') return this.#parsed.get(first.digest);
      throw error;
    }
  }
}
