/** One repository of a store: the handle from which everything in it is reached. Making one costs nothing. */
import type { Descriptor } from '../../oci/descriptor.js';
import { parsePlatform, type Platform } from '../../oci/platform.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { attachArtifact, type NewArtifact } from '../attach-artifact.js';
import { filterReferrers, type FindReferrersOptions } from '../filter-referrers.js';
import type { Image } from '../image.js';
import type { Signatures } from '../signatures/signatures.js';
import { referrersFinder } from './able.js';
import { ImageDestination } from './image-destination.js';
import { targetNamed } from './image-name.js';
import { ImageSource } from './image-source.js';
import { signalOf, type LibraryContext } from './library-context.js';
import { RepositoryBlobs } from './repository-blobs.js';
import { RepositoryManifests } from './repository-manifests.js';
import { RepositoryTags, type NameListOptions } from './repository-tags.js';

/** How an image is opened. */
export interface OpenImageOptions extends CallOptions {
  /** Which child of an index; default: as the library was opened. */
  readonly platform?: Platform | string;
}

/** Which referrers of a name. */
export interface RepositoryReferrersOptions extends FindReferrersOptions {
  /** Of this child of an index, not of the index. */
  readonly platform?: Platform | string;
  /** The repository that is asked, where referrers are kept apart from their subjects. */
  readonly from?: Repository;
}

export class Repository {
  /** Name in its store: `library/alpine`; `''` for the root of a local store. */
  readonly name: string;
  readonly store: ImageStore;
  readonly tags: RepositoryTags;
  readonly manifests: RepositoryManifests;
  readonly blobs: RepositoryBlobs;
  /** Signatures of its images, apart from everything else. */
  readonly signatures: Signatures;
  readonly #context: LibraryContext;

  constructor(context: LibraryContext, store: ImageStore, name: string) {
    this.#context = context;
    this.store = store;
    this.name = name;
    this.tags = new RepositoryTags(context, store, name);
    this.manifests = new RepositoryManifests(context, store, name);
    this.blobs = new RepositoryBlobs(context, store, name);
    this.signatures = context.signatures;
  }

  /** Every tag as an image, one HEAD each, as they are taken. @throws as `RepositoryTags.list`. */
  async *images(options: NameListOptions = {}): AsyncGenerator<Image, void> {
    for await (const tag of this.tags.list(options)) yield await this.image(tag, signalOf(options));
  }

  /**
   * The image that a tag or digest (`v1`, `sha256:…`, `v1@sha256:…`) names, bound to its digest.
   * @throws ImgfsError `not-found`; with a platform also when the index has none for it.
   */
  async image(name: string, options: OpenImageOptions = {}): Promise<Image> {
    const image = await this.#context.images.open(
      this.store,
      targetNamed(this.name, name),
      signalOf(options),
    );
    if (options.platform === undefined) return image;
    const wanted = typeof options.platform === 'string' ? parsePlatform(options.platform) : options.platform;
    return image.forPlatform(wanted).leaf(signalOf(options));
  }

  /** An image to read from, with everything one does with an image. @throws as `image`. */
  async source(name: string, options: OpenImageOptions = {}): Promise<ImageSource> {
    return new ImageSource(this, await this.image(name, options), name, this.#context);
  }

  /** A name to write an image to. @throws ImgfsError `read-only-store`. */
  destination(tag: string): ImageDestination {
    return new ImageDestination(this, tag);
  }

  /**
   * What refers to a manifest, each once: by artifact type, by annotations, sorted by one. With `platform`, to that child
   * of an index; with `from`, as another repository knows it.
   * @throws ImgfsError `unsupported` for stores that cannot tell; `not-found`, also when the index has no such platform.
   */
  async *referrers(name: string, options: RepositoryReferrersOptions = {}): AsyncGenerator<Descriptor, void> {
    const { platform, from = this, ...find } = options;
    const { digest } =
      platform === undefined
        ? await this.manifests.head(name, signalOf(options))
        : (await this.image(name, { platform, ...signalOf(options) })).descriptor;
    yield* filterReferrers(referrersFinder(from.store).referrers(from.name, digest, find), find);
  }

  /**
   * Push an artifact that refers to an image: an SBOM, a report, anything.
   * @throws ImgfsError `not-found`, `read-only-store`, and what the store throws.
   */
  async attach(name: string, artifact: NewArtifact, options: CallOptions = {}): Promise<Descriptor> {
    return attachArtifact(await this.image(name, options), artifact, options);
  }
}
