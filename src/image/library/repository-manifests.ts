/** The manifests of one repository (distribution's `ManifestService`, regclient's `Manifest…` methods). */
import { isThere } from '../../errors/if-missing.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { Manifest } from '../../oci/manifest.js';
import { manifestKind } from '../../oci/media-type.js';
import { parsePlatform, type Platform } from '../../oci/platform.js';
import { selectManifest } from '../../oci/select-manifest.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { allManifests, type FoundManifest } from '../all-manifests.js';
import { accepted } from '../image.js';
import { pushManifest } from '../push-manifest.js';
import { assertPusher } from '../upload/uploads.js';
import { deleter } from './able.js';
import { targetNamed } from './image-name.js';
import { signalOf, type LibraryContext } from './library-context.js';

/** A manifest with its exact bytes, and what they say. */
export interface GotManifest {
  readonly descriptor: Descriptor;
  /** Verified against the digest. */
  readonly bytes: Uint8Array;
  /** A union by `kind`: image, index or artifact. */
  readonly manifest: Manifest;
}

/** Which manifest will do. */
export interface GetManifestOptions extends CallOptions {
  /** Media types that will do. An index that is not among them gives its child for the platform. Default: any. */
  readonly accept?: readonly string[];
  /** Of an index that is not accepted; default: as the library was opened. */
  readonly platform?: Platform | string;
}

/** Under which names, and what is known of it. */
export interface PutOptions extends CallOptions {
  /** Names for it, in one request where the store can. None: by digest only. */
  readonly tags?: readonly string[];
  /** The content must be this. */
  readonly expected?: Digest;
  /** A child of an index: a layout gives it no entry of its own. */
  readonly child?: boolean;
}

/** What may be left behind. */
export interface DeleteManifestOptions extends CallOptions {
  /** Refuse while other manifests refer to it, which would be left without a subject. */
  readonly checkReferrers?: boolean;
}

export class RepositoryManifests {
  readonly #context: LibraryContext;
  readonly #store: ImageStore;
  readonly #repository: string;

  constructor(context: LibraryContext, store: ImageStore, repository: string) {
    this.#context = context;
    this.#store = store;
    this.#repository = repository;
  }

  /** Digest, type and size of what a tag or digest names: one HEAD. @throws ImgfsError `not-found`, `name-invalid`. */
  async head(name: string, options: CallOptions = {}): Promise<Descriptor> {
    const target = targetNamed(this.#repository, name);
    return (await this.#context.images.tags.resolve(this.#store, target, options)).descriptor;
  }

  /** True when the repository has it. @throws ImgfsError when the store gave no answer. */
  async exists(name: string, options: CallOptions = {}): Promise<boolean> {
    return isThere(this.head(name, options));
  }

  /**
   * A manifest by tag or digest.
   * @throws ImgfsError `not-found`; `invalid-content` and `unsupported` for bytes that are refused; `unsupported` when
   *   it is of none of the accepted types.
   */
  async get(name: string, options: GetManifestOptions = {}): Promise<GotManifest> {
    return this.#load(await this.head(name, options), options);
  }

  /** The manifest or index that a tag names now. @throws as `get`. */
  getByTag(tag: string, options: GetManifestOptions = {}): Promise<GotManifest> {
    return this.get(tag, options);
  }

  /** The manifest of a digest: for ever the same, asked for once. @throws as `get`. */
  getByDigest(digest: Digest, options: GetManifestOptions = {}): Promise<GotManifest> {
    return this.get(digest, options);
  }

  async #load(descriptor: Descriptor, options: GetManifestOptions, depth = 0): Promise<GotManifest> {
    const { images } = this.#context;
    const image = images.at({ store: this.#store, repository: this.#repository, descriptor });
    const loaded = await image.loadTop(signalOf(options));
    const manifest = accepted(loaded);
    const { accept } = options;
    if (accept === undefined || accept.includes(manifest.mediaType) || accept.includes('*/*'))
      return { descriptor, bytes: loaded.bytes, manifest };
    if (manifest.kind === 'index' && depth < 3) {
      const wanted =
        typeof options.platform === 'string' ? parsePlatform(options.platform) : options.platform;
      const child =
        wanted === undefined
          ? (await image.leaf(signalOf(options))).descriptor
          : selectManifest(manifest, wanted);
      return this.#load(child, options, depth + 1);
    }
    throw new ImgfsError('unsupported', `get manifest ${descriptor.digest}: it is ${manifest.mediaType}`, {
      digest: descriptor.digest,
      hint: `accepted: ${accept.join(', ')}`,
    });
  }

  /**
   * Put a manifest: bytes as they are, or a document that is written as JSON. Checked first: every blob it names must
   * be in the repository.
   * @throws ImgfsError `invalid` when it is none or names what is missing; `digest-mismatch`; `read-only-store`.
   */
  async put(document: Uint8Array | object, options: PutOptions = {}): Promise<Descriptor> {
    const store = assertPusher(this.#store);
    const bytes = document instanceof Uint8Array ? document : Buffer.from(JSON.stringify(document));
    const put = await pushManifest({ store, repository: this.#repository }, bytes, options);
    for (const tag of options.tags ?? [])
      await this.#context.images.tags.note(store, { repository: this.#repository, tag }, put);
    return put;
  }

  /**
   * Delete a manifest with all its tags. Where the registry has no referrers API, the list of its subject is mended.
   * @throws ImgfsError `not-found`; `invalid` when something refers to it and `checkReferrers` is set; `unsupported`.
   */
  async delete(digest: Digest, options: DeleteManifestOptions = {}): Promise<void> {
    const store = deleter(this.#store);
    if (options.checkReferrers === true) await this.#refuseReferred(digest, options);
    await store.deleteManifest(this.#repository, digest, signalOf(options));
    await this.#context.images.tags.note(store, { repository: this.#repository, digest }, undefined);
  }

  async #refuseReferred(digest: Digest, options: CallOptions): Promise<void> {
    const descriptor = await this.head(digest, options);
    const image = this.#context.images.at({ store: this.#store, repository: this.#repository, descriptor });
    const [first] = await this.#context.images.related.referrers(image, options);
    if (first === undefined) return;
    throw new ImgfsError('invalid', `delete manifest ${digest}: ${first.digest} refers to it`, {
      digest,
      hint: 'delete what refers to it first',
    });
  }

  /** Every manifest that can be found: what tags name, children of indexes, referrers; each once, as it is found. */
  all(options: CallOptions = {}): AsyncIterable<FoundManifest> {
    return allManifests(this.#context.images, this.#store, this.#repository, options);
  }

  /** What kind of manifest a media type names. */
  kindOf(mediaType: string): ReturnType<typeof manifestKind> {
    return manifestKind(mediaType);
  }
}
