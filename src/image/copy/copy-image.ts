/**
 * Whole images from one store to another: config and layers, then the manifest; children, then their index; the tag
 * last. At no moment does a tag name an image that is not whole.
 *
 * What the destination has is skipped, what another of its repositories has is mounted, the rest is sent in parallel.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, type Digest } from '../../oci/digest.js';
import { referencedBlobs } from '../../oci/manifest.js';
import { isForeignLayer, manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { isReferrersFinder, type CallOptions } from '../../store/store.js';
import { readManifest } from '../read-manifest.js';
import { BlobCopier } from './blob-copier.js';
import type { CopyDestination, CopySource } from './copy-ends.js';
import type { BlobOutcome, CopyEvent } from './copy-event.js';

export type { CopyDestination, CopyEvent, CopySource };

/** Children of children of an index: deeper nesting is nobody's. */
const maxDepth = 4;

/** What comes along, and under which names. */
export interface CopyOptions extends CallOptions {
  /** Tags of the image at the destination; none: it is there by its digest only. */
  readonly tags?: readonly string[];
  /** Artifacts that refer to the image come along, and what refers to those. */
  readonly referrers?: boolean;
  /** Blobs sent at the same time. Default 3: one is read, one sent, one asked about. */
  readonly parallel?: number;
  readonly onEvent?: (event: CopyEvent) => void;
}

/** What a copy did. */
export interface CopyResult {
  readonly descriptor: Descriptor;
  readonly manifests: number;
  readonly blobs: Readonly<Record<BlobOutcome, number>>;
  /** Bytes that went over. */
  readonly sentBytes: number;
}

/** @throws ImgfsError what either store throws; `integrity` when the source gives other bytes than its digests say. */
export async function copyImage(
  source: CopySource,
  destination: CopyDestination,
  options: CopyOptions = {},
): Promise<CopyResult> {
  const copy = new ImageCopy(source, destination, options);
  try {
    const descriptor = await copy.manifest(source.descriptor, 0, options.tags ?? [], false);
    if (options.referrers === true) await copy.referrers(descriptor.digest, 0);
    return copy.result(descriptor);
  } finally {
    copy.stop();
  }
}

class ImageCopy {
  readonly #source: CopySource;
  readonly #destination: CopyDestination;
  readonly #options: CopyOptions;
  readonly #stop = new AbortController();
  readonly #call: { readonly signal: AbortSignal };
  readonly #blobs: BlobCopier;
  readonly #done = new Set<Digest>();
  #manifests = 0;

  constructor(source: CopySource, destination: CopyDestination, options: CopyOptions) {
    this.#source = source;
    this.#destination = destination;
    this.#options = options;
    const { signal } = options;
    // One failure ends all transfers of the copy.
    this.#call = {
      signal: signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]),
    };
    this.#blobs = new BlobCopier(source, destination, {
      ...this.#call,
      parallel: options.parallel ?? 3,
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
  }

  stop(): void {
    this.#stop.abort(new ImgfsError('interrupted', 'the copy has ended'));
  }

  result(descriptor: Descriptor): CopyResult {
    return { descriptor, manifests: this.#manifests, ...this.#blobs.result() };
  }

  /** One manifest with everything below it. */
  async manifest(
    descriptor: Descriptor,
    depth: number,
    tags: readonly string[],
    child: boolean,
  ): Promise<Descriptor> {
    const { digest } = descriptor;
    if (depth > maxDepth)
      throw new ImgfsError('invalid-content', `copy ${digest}: indexes nested too deep`, { digest });
    const isThere = tags.length === 0 && (await this.#hasImage(descriptor));
    if (isThere) return descriptor;
    const bytes = await readManifest(this.#source.store, this.#source.repository, descriptor, this.#call);
    const manifest = parseManifest(bytes, descriptor.mediaType);
    if (manifest.kind === 'index') {
      for (const each of manifest.manifests) await this.#child(each, depth + 1);
    } else {
      const blobs = referencedBlobs(manifest).filter(({ mediaType }) => !isForeignLayer(mediaType));
      await this.#blobs.copyAll(blobs);
    }
    const put = await this.#destination.store.putManifest(
      this.#destination.repository,
      bytes,
      manifest.mediaType,
      { ...this.#call, tags, child, algorithm: digestAlgorithm(digest) },
    );
    if (put.digest !== digest)
      throw new ImgfsError('integrity', `copy ${digest}: the destination has it as ${put.digest}`, {
        digest,
      });
    this.#done.add(digest);
    this.#manifests += 1;
    this.#options.onEvent?.({ kind: 'manifest', digest, mediaType: manifest.mediaType });
    return { ...descriptor, mediaType: manifest.mediaType, size: bytes.length };
  }

  async #child(descriptor: Descriptor, depth: number): Promise<void> {
    if (this.#done.has(descriptor.digest)) return;
    // An index may name anything: what is no manifest is a blob.
    if (manifestKind(descriptor.mediaType) === undefined) return this.#blobs.copyAll([descriptor]);
    await this.manifest(descriptor, depth, [], true);
  }

  /** A registry has a manifest only with its blobs. Of a layout and of an index that is not certain. */
  async #hasImage(descriptor: Descriptor): Promise<boolean> {
    const { store, repository } = this.#destination;
    if (store.transport !== 'docker' || manifestKind(descriptor.mediaType) !== 'image') return false;
    try {
      const { descriptor: there } = await store.resolve(
        { repository, digest: descriptor.digest },
        this.#call,
      );
      return there.digest === descriptor.digest;
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return false;
      throw error;
    }
  }

  /** What refers to a manifest, and what refers to that. */
  async referrers(subject: Digest, depth: number): Promise<void> {
    const { store, repository } = this.#source;
    if (!isReferrersFinder(store) || depth > maxDepth) return;
    for await (const referrer of store.referrers(repository, subject, this.#call)) {
      if (this.#done.has(referrer.digest)) continue;
      await this.manifest(referrer, 0, [], false);
      await this.referrers(referrer.digest, depth + 1);
    }
  }
}
