/**
 * One image of one store, bound to a digest: whatever happens to the tag it was found by, it stays the same.
 *
 * Everything is lazy. What is in memory is answered by the `peek…` methods without a wait.
 */
import type { BlobSource } from '../content/content.js';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { ImageConfig } from '../oci/image-config.js';
import type { ArtifactManifest, ImageIndex, ImageManifest, Manifest } from '../oci/manifest.js';
import { manifestKind, mediaTypes } from '../oci/media-type.js';
import type { Platform } from '../oci/platform.js';
import { selectManifest } from '../oci/select-manifest.js';
import type { CallOptions, ImageStore } from '../store/store.js';
import type { LoadedManifest, ManifestLoader } from './manifest-loader.js';

/** Where an image is, and what it was found by. */
export interface ImageLocation {
  readonly store: ImageStore;
  readonly repository: string;
  /** What the name stands for: a manifest or an index. */
  readonly descriptor: Descriptor;
  /** The tag it was found by, if any. */
  readonly tag?: string;
  /** The index it is a child of, if it was reached through one. */
  readonly parent?: Image;
}

/** The manifest that has layers or blobs, and its descriptor. */
export interface ChosenManifest {
  readonly descriptor: Descriptor;
  readonly manifest: ImageManifest | ArtifactManifest;
}

/** An index in an index in an index: deeper nesting is nobody's, and each level costs a request. */
const maxIndexDepth = 3;

export class Image {
  readonly store: ImageStore;
  readonly repository: string;
  readonly descriptor: Descriptor;
  readonly tag: string | undefined;
  readonly parent: Image | undefined;
  readonly #loader: ManifestLoader;
  readonly #platform: Platform;

  constructor(location: ImageLocation, loader: ManifestLoader, platform: Platform) {
    this.store = location.store;
    this.repository = location.repository;
    this.descriptor = location.descriptor;
    this.tag = location.tag;
    this.parent = location.parent;
    this.#loader = loader;
    this.#platform = platform;
  }

  /** True when the name stands for an index. */
  get isIndex(): boolean {
    return manifestKind(this.descriptor.mediaType) === 'index';
  }

  /** `docker.io/library/alpine:3.20`: how the image is called in its store. */
  get reference(): string {
    const separator = this.repository === '' || this.host === '' ? '' : '/';
    const name = `${this.host}${separator}${this.repository}`;
    return this.tag === undefined ? `${name}@${this.descriptor.digest}` : `${name}:${this.tag}`;
  }

  /** The registry's host, or for other stores their id. */
  get host(): string {
    return this.store.transport === 'docker' ? this.store.id.replace(/^docker:\/\//, '') : this.store.id;
  }

  /** Where a blob or manifest of this image is had from. */
  source(descriptor: Descriptor): BlobSource {
    return { store: this.store, repository: this.repository, descriptor };
  }

  /** A child of this index, as an image. */
  child(descriptor: Descriptor): Image {
    const { store, repository } = this;
    return new Image({ store, repository, descriptor, parent: this }, this.#loader, this.#platform);
  }

  /** Another manifest of the same repository: a referrer, an attestation. */
  sibling(descriptor: Descriptor): Image {
    const { store, repository } = this;
    return new Image({ store, repository, descriptor }, this.#loader, this.#platform);
  }

  /** The same image, of which another platform is chosen. Costs nothing. */
  forPlatform(platform: Platform): Image {
    const { store, repository, descriptor, tag, parent } = this;
    const names = { ...(tag === undefined ? {} : { tag }), ...(parent === undefined ? {} : { parent }) };
    return new Image({ store, repository, descriptor, ...names }, this.#loader, platform);
  }

  /** The manifest or index that the name stands for, if it is in memory. */
  peekTop(): LoadedManifest | undefined {
    return this.#loader.peek(this.descriptor);
  }

  /** @throws ImgfsError what the store or the cache throws; refused documents are returned, not thrown. */
  loadTop(options: CallOptions = {}): Promise<LoadedManifest> {
    return this.#loader.load(this.source(this.descriptor), options);
  }

  /** The index, when the name stands for one. @throws as `loadTop`, and why the document is refused. */
  async index(options: CallOptions = {}): Promise<ImageIndex | undefined> {
    if (!this.isIndex) return undefined;
    const manifest = accepted(await this.loadTop(options));
    return manifest.kind === 'index' ? manifest : undefined;
  }

  /**
   * The image itself, or the child for the chosen platform when this is an index. Costs no request beyond the
   * index, unless indexes are nested.
   * @throws ImgfsError `not-found` when the index has nothing for the platform; as `index`.
   */
  async leaf(options: CallOptions = {}, depth = 0): Promise<Image> {
    if (!this.isIndex) return this;
    const index = await this.index(options);
    if (index === undefined) return this;
    if (depth < maxIndexDepth)
      return this.child(selectManifest(index, this.#platform)).leaf(options, depth + 1);
    throw new ImgfsError(
      'invalid-content',
      `choose a platform of ${this.reference}: indexes nested too deep`,
      {
        digest: this.descriptor.digest,
      },
    );
  }

  /** The image manifest's exact bytes and meaning. @throws as `leaf`. */
  async loadChosen(options: CallOptions = {}): Promise<LoadedManifest> {
    return (await this.leaf(options)).loadTop(options);
  }

  /** The manifest with layers or blobs. @throws as `loadChosen`, and why the document is refused. */
  async chosen(options: CallOptions = {}): Promise<ChosenManifest> {
    const loaded = await this.loadChosen(options);
    const manifest = accepted(loaded);
    if (manifest.kind !== 'index') return { descriptor: loaded.descriptor, manifest };
    throw new ImgfsError('invalid-content', 'an index where an image manifest was announced', {
      digest: loaded.descriptor.digest,
      reference: this.reference,
    });
  }

  /** What `leaf` gives, if every index on the way is in memory and has something for the platform. */
  peekLeaf(depth = 0): Image | undefined {
    if (!this.isIndex) return this;
    const manifest = this.peekTop()?.manifest;
    if (manifest?.kind !== 'index' || depth >= maxIndexDepth) return undefined;
    try {
      return this.child(selectManifest(manifest, this.#platform)).peekLeaf(depth + 1);
    } catch {
      return undefined;
    }
  }

  /** The image manifest, if every step to it is in memory. */
  peekChosen(): ChosenManifest | undefined {
    const leaf = this.peekLeaf();
    const manifest = leaf?.peekTop()?.manifest;
    if (leaf === undefined || manifest === undefined || manifest.kind === 'index') return undefined;
    return { descriptor: leaf.descriptor, manifest };
  }

  /**
   * The image config; undefined for artifacts, whose config is something else or missing.
   * @throws ImgfsError as `chosen`, and `invalid-content` when it cannot be read.
   */
  async config(options: CallOptions = {}): Promise<ImageConfig | undefined> {
    const { manifest } = await this.chosen(options);
    if (manifest.kind !== 'image' || !isImageConfig(manifest.config)) return undefined;
    return this.#loader.loadConfig(this.source(manifest.config), options);
  }

  /** When the image was made, in milliseconds since the epoch, if that is known without a request. */
  peekCreated(): number | undefined {
    const chosen = this.peekChosen();
    const annotated =
      chosen?.manifest.annotations[createdAnnotation] ?? this.descriptor.annotations?.[createdAnnotation];
    const config =
      chosen?.manifest.kind === 'image' ? this.#loader.peekConfig(chosen.manifest.config) : undefined;
    const time = Date.parse(annotated ?? config?.created ?? '');
    return Number.isFinite(time) ? time : undefined;
  }
}

const createdAnnotation = 'org.opencontainers.image.created';

/** True for the config of a container image; artifacts put their own documents in its place. */
export function isImageConfig(descriptor: Descriptor): boolean {
  return descriptor.mediaType === mediaTypes.ociConfig || descriptor.mediaType === mediaTypes.dockerConfig;
}

/** The document, or the reason why it is refused, thrown. */
export function accepted(loaded: LoadedManifest): Manifest {
  if (loaded.manifest !== undefined) return loaded.manifest;
  throw loaded.refused ?? new ImgfsError('internal', 'a manifest neither accepted nor refused');
}
