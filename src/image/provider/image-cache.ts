/**
 * Images by name in the cache, for builders and offline machines: the methods of linuxkit's cache provider. What has a
 * name here is whole, is never evicted, and is an image of a valid OCI layout that other tools read.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobReader } from '../../content/content.js';
import type { DiskCache } from '../../content/disk.js';
import type { PinProgress } from '../../content/pin-image.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { parseImageConfig } from '../../oci/image-config.js';
import type { ImageManifest } from '../../oci/manifest.js';
import { matchesPlatform } from '../../oci/match-platform.js';
import { mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import { hostPlatform, type Platform } from '../../oci/platform.js';
import { formatReference, parseReference, withDefaultTag, type Reference } from '../../oci/reference.js';
import { isAttestationManifest, selectManifest } from '../../oci/select-manifest.js';
import { LayoutStore } from '../../store/layout/layout-store.js';
import { createOfflineStore } from '../../store/offline-store.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { pushImage, type PushOptions, type PushResult } from '../copy/push-image.js';
import type { ImageSource } from '../library/image-source.js';
import { Registry } from '../library/registry.js';
import { mergeIndex } from '../merge-index.js';
import { readManifest } from '../read-manifest.js';
import { assertPusher } from '../upload/uploads.js';
import { missingFrom } from './image-walk.js';
import { spoolArchive } from './spool-archive.js';

/** What an image cache is made of. */
export interface ImageCacheOptions {
  /** Not closed by the image cache. */
  readonly cache: DiskCache;
  /** The registry of a reference; called when one is asked. */
  readonly openRegistry: (host: string) => Promise<ImageStore>;
  /** Default: the host's. */
  readonly platform?: Platform;
}

/** What a pull takes along. */
export interface PullOptions extends CallOptions {
  /** Ask the registry also when the cache has the whole image. */
  readonly always?: boolean;
  /** Children of an index to fetch; default all. */
  readonly platforms?: readonly Platform[];
  readonly onProgress?: (progress: PinProgress) => void;
}

/** Result of a pull. */
export interface PulledImage {
  /** The name in full. */
  readonly name: string;
  readonly descriptor: Descriptor;
  /** False when the cache had all of it and nobody was asked. */
  readonly asked: boolean;
}

/** Whether an image is in the cache. */
export interface CacheCheck {
  /** Everything that belongs to the platform is there and verified. */
  readonly complete: boolean;
  /** Undefined when the name is not known. */
  readonly descriptor?: Descriptor;
  readonly missing: readonly Descriptor[];
}

/** An image that an archive brought. */
export interface LoadedImage {
  readonly name: string;
  readonly descriptor: Descriptor;
}

export class ImageCache {
  readonly #cache: DiskCache;
  readonly #openRegistry: ImageCacheOptions['openRegistry'];
  readonly #platform: Platform;

  constructor(options: ImageCacheOptions) {
    this.#cache = options.cache;
    this.#openRegistry = options.openRegistry;
    this.#platform = options.platform ?? hostPlatform();
  }

  /**
   * What a name stands for in the cache; a digest wins over a tag. Undefined when it is not there. Asks no registry.
   * @throws ImgfsError `name-invalid`.
   */
  async findDescriptor(reference: string): Promise<Descriptor | undefined> {
    const name = withDefaultTag(parseReference(reference));
    if (name.digest !== undefined) return this.#byDigest(name.digest);
    const full = formatReference(name);
    return (await this.#cache.pins()).find((pin) => pin.name === full)?.descriptor;
  }

  async #byDigest(digest: Digest): Promise<Descriptor | undefined> {
    const pinned = (await this.#cache.pins()).find(({ descriptor }) => descriptor.digest === digest);
    if (pinned !== undefined) return pinned.descriptor;
    const { state, size } = await this.#cache.status(digest);
    if (state !== 'complete' || size === undefined || size > maxManifestBytes) return undefined;
    const bytes = await this.#read({ mediaType: '', digest, size });
    try {
      return { mediaType: parseManifest(bytes).mediaType, digest, size };
    } catch (error) {
      // A blob that is no manifest is no image.
      if (isImgfsError(error, 'invalid-content')) return undefined;
      throw error;
    }
  }

  /**
   * Fetch what is missing of an image, and keep it under its name.
   * @throws ImgfsError `not-found`, `cache-full`, and what the registry's store throws.
   */
  async imagePull(reference: string, options: PullOptions = {}): Promise<PulledImage> {
    const { always, platforms, onProgress, signal } = options;
    const call: CallOptions = signal === undefined ? {} : { signal };
    const name = withDefaultTag(parseReference(reference));
    const full = formatReference(name);
    const include = includePlatforms(platforms);
    const known = always === true ? undefined : await this.findDescriptor(reference);
    if (known !== undefined && (await this.#missing(known, include)).length === 0) {
      await this.descriptorWrite(full, known, include);
      return { name: full, descriptor: known, asked: false };
    }
    const store = await this.#openRegistry(name.registry);
    const { descriptor } = await store.resolve(targetOf(name), call);
    await this.#cache.pin(
      { store, repository: name.repository, descriptor },
      { name: full, include, ...call, ...(onProgress === undefined ? {} : { onProgress }) },
    );
    return { name: full, descriptor, asked: true };
  }

  /** Whether all blobs for a platform are in the cache, and which are not. Asks no registry. */
  async imageInCache(reference: string, platform: Platform = this.#platform): Promise<CacheCheck> {
    const descriptor = await this.findDescriptor(reference);
    if (descriptor === undefined) return { complete: false, missing: [] };
    const missing = await this.#missing(descriptor, includePlatforms([platform]));
    return { complete: missing.length === 0, descriptor, missing };
  }

  /** Whether a registry has an image, for a platform. @throws ImgfsError when the registry gave no answer. */
  async imageInRegistry(reference: string, platform?: Platform, options: CallOptions = {}): Promise<boolean> {
    const name = withDefaultTag(parseReference(reference));
    const store = await this.#openRegistry(name.registry);
    try {
      const { descriptor } = await store.resolve(targetOf(name), options);
      if (platform === undefined) return true;
      const bytes = await readManifest(store, name.repository, descriptor, options);
      const manifest = parseManifest(bytes, descriptor.mediaType);
      if (manifest.kind === 'index') return selectManifest(manifest, platform).digest.length > 0;
      return manifest.kind !== 'image' || (await isFor(platform, store, name.repository, manifest, options));
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return false;
      throw error;
    }
  }

  /**
   * Write an index of images that are in the cache under a name. An index that the name has already is merged: a child
   * for the same platform is replaced, attestations of what went go too.
   * @throws ImgfsError `not-found` when an image is not in the cache.
   */
  async indexWrite(reference: string, ...children: readonly Descriptor[]): Promise<Descriptor> {
    for (const child of children) {
      const { state } = await this.#cache.status(child.digest);
      if (state !== 'complete')
        throw new ImgfsError('not-found', `write index ${reference}: ${child.digest} is not in the cache`, {
          digest: child.digest,
          hint: 'pull or load it first',
        });
    }
    const current = await this.findDescriptor(reference);
    const before =
      current === undefined ? undefined : parseManifest(await this.#read(current), current.mediaType);
    const merged = mergeIndex(before?.kind === 'index' ? before : undefined, children);
    await this.#cache.put(merged.descriptor, merged.bytes);
    await this.descriptorWrite(reference, merged.descriptor);
    return merged.descriptor;
  }

  /**
   * Take the images of an archive (OCI or docker, plain or compressed) that comes as a stream.
   * @throws ImgfsError `invalid-content` when it is none.
   */
  async imageLoad(
    archive: AsyncIterable<Uint8Array>,
    options: CallOptions & { readonly name?: string } = {},
  ): Promise<readonly LoadedImage[]> {
    const directory = join(this.#cache.directory, 'spool');
    await mkdir(directory, { recursive: true });
    const spooled = await spoolArchive(archive, directory, options);
    try {
      const loaded: LoadedImage[] = [];
      for (const { descriptor, names } of await spooled.store.images()) {
        const given = names.map(({ repository, tag }) => (repository === '' ? tag : `${repository}:${tag}`));
        const wanted = options.name === undefined ? given : [this.#fullName(options.name)];
        for (const name of wanted.length === 0 ? [descriptor.digest] : wanted) {
          const source = { store: spooled.store, repository: '', descriptor };
          await this.#cache.pin(source, {
            name,
            ...(options.signal === undefined ? {} : { signal: options.signal }),
          });
          loaded.push({ name, descriptor });
        }
      }
      return loaded;
    } finally {
      await spooled.close();
    }
  }

  /**
   * Give a manifest or index of the cache a name; whatever had the name loses it.
   * @param include which children of an index must be there; default: those that are.
   * @throws ImgfsError `not-found` when the cache lacks a part of it.
   */
  async descriptorWrite(
    reference: string,
    descriptor: Descriptor,
    include?: (child: Descriptor) => boolean,
  ): Promise<void> {
    const present = new Set<Digest>();
    const missing = await this.#missing(descriptor, (child) => {
      present.add(child.digest);
      return include?.(child) ?? true;
    });
    const absent = new Set<Digest>(missing.map(({ digest }) => digest));
    const needed = missing.filter(({ digest }) => include !== undefined || !present.has(digest));
    const [first] = needed;
    if (first !== undefined)
      throw new ImgfsError('not-found', `name ${reference}: the cache lacks ${first.digest}`, {
        digest: first.digest,
        hint: 'pull the image first',
      });
    const source = { store: this.#local(), repository: '', descriptor };
    await this.#cache.pin(source, {
      name: this.#fullName(reference),
      include: (child) => !absent.has(child.digest) && (include?.(child) ?? true),
    });
  }

  /**
   * Push an image of the cache, under its own name or another one. What the registry has under that name already is
   * left alone, or merged by platform, or with `override` replaced.
   * @throws ImgfsError `not-found` when the cache does not have it; as `pushImage`.
   */
  async push(
    reference: string,
    options: Omit<PushOptions, 'tag'> & { readonly remote?: string } = {},
  ): Promise<PushResult> {
    const { remote, ...push } = options;
    const descriptor = await this.#known(reference);
    const name = withDefaultTag(parseReference(remote ?? reference));
    const store = assertPusher(await this.#openRegistry(name.registry));
    const source = { store: this.store(), repository: '', descriptor };
    return pushImage(source, { store, repository: name.repository }, { ...push, tag: name.tag ?? 'latest' });
  }

  /**
   * An image of the cache as a source to read from.
   * @param known what it is, for a manifest of the cache that has no name of its own; default: what the name stands for.
   * @throws ImgfsError `not-found`.
   */
  async newSource(
    reference: string,
    platform: Platform = this.#platform,
    known?: Descriptor,
  ): Promise<ImageSource> {
    const descriptor = known ?? (await this.#known(reference));
    const registry = new Registry(this.store(), { content: this.#cache, platform });
    return registry.repository('').source(descriptor.digest);
  }

  /** Any blob of the cache by its digest. Close it. @throws ImgfsError `not-found` when it is not there whole. */
  async getContent(digest: Digest): Promise<BlobReader> {
    const { state, size } = await this.#cache.status(digest);
    if (state !== 'complete' || size === undefined)
      throw new ImgfsError('not-found', `get content ${digest}: not in the cache`, { digest });
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    return this.#cache.open({ store: this.#local(), repository: '', descriptor });
  }

  /** The cache as a store: the named images of its layout. Read-only; names are written with the methods above. */
  store(): LayoutStore {
    return new LayoutStore(this.#cache.directory, { readOnly: true, platform: this.#platform });
  }

  /** Stands for the cache where a source of bytes is needed: it never has more than the cache. */
  #local(): ImageStore {
    return createOfflineStore('oci', `oci:${this.#cache.directory}`);
  }

  #fullName(reference: string): string {
    return formatReference(withDefaultTag(parseReference(reference)));
  }

  async #known(reference: string): Promise<Descriptor> {
    const descriptor = await this.findDescriptor(reference);
    if (descriptor !== undefined) return descriptor;
    throw new ImgfsError('not-found', `${reference}: not in the cache`, {
      reference,
      hint: 'imgfs pull fetches it; imgfs cache ls shows what is there',
    });
  }

  #missing(descriptor: Descriptor, include: (child: Descriptor) => boolean): Promise<readonly Descriptor[]> {
    return missingFrom(this.#cache, this.#local(), descriptor, include);
  }

  #read(descriptor: Descriptor): Promise<Uint8Array> {
    const source = { store: this.#local(), repository: '', descriptor };
    return this.#cache.readAll(source, { maxBytes: maxManifestBytes });
  }
}

/** What the config of a single image says: its manifest says nothing of a platform. */
async function isFor(
  wanted: Platform,
  store: ImageStore,
  repository: string,
  { config }: ImageManifest,
  options: CallOptions,
): Promise<boolean> {
  if (config.mediaType !== mediaTypes.ociConfig && config.mediaType !== mediaTypes.dockerConfig) return true;
  const { platform } = parseImageConfig(await readManifest(store, repository, config, options));
  return platform === undefined || matchesPlatform(wanted, platform);
}

function targetOf({ repository, tag, digest }: Reference) {
  return digest === undefined ? { repository, tag: tag ?? 'latest' } : { repository, digest };
}

/** Children for these platforms, without attestations; all children when none is named. */
function includePlatforms(platforms: readonly Platform[] | undefined): (child: Descriptor) => boolean {
  if (platforms === undefined || platforms.length === 0) return () => true;
  return (child) =>
    isAttestationManifest(child)
      ? false
      : child.platform === undefined ||
        platforms.some((wanted) => matchesPlatform(wanted, child.platform as Platform));
}
