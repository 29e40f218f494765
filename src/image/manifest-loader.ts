/** Manifests and configs in memory: verified bytes and what they say, in one bounded table. */
import { LRUCache } from 'lru-cache';
import type { BlobSource, ContentCache } from '../content/content.js';
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import { maxConfigBytes, parseImageConfig, type ImageConfig } from '../oci/image-config.js';
import type { Manifest } from '../oci/manifest.js';
import type { Descriptor } from '../oci/descriptor.js';
import { maxManifestBytes, parseManifest } from '../oci/parse-manifest.js';
import type { CallOptions } from '../store/store.js';
import { SingleFlight } from './single-flight.js';

/** A manifest whose bytes matched their digest. */
export interface LoadedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  /** What the bytes say; undefined when they are refused, with the reason in `refused`. */
  readonly manifest: Manifest | undefined;
  /** `invalid-content` or `unsupported`: the bytes can be read, nothing can be derived from them. */
  readonly refused: ImgfsError | undefined;
}

type Loaded = LoadedManifest | { readonly config: ImageConfig; readonly bytes: Uint8Array };

/** A parsed manifest weighs about three times its bytes: 16 MiB of bytes are some 64 MB when full. */
const maxBytesInMemory = 16 * 1024 * 1024;

/** Loads manifests and configs through the cache, each once at a time. */
export class ManifestLoader {
  readonly #content: ContentCache;
  readonly #loaded = new LRUCache<string, Loaded>({
    maxSize: maxBytesInMemory,
    maxEntrySize: maxBytesInMemory,
    sizeCalculation: (loaded) => loaded.bytes.byteLength + 512,
  });
  readonly #flights = new SingleFlight<Loaded>();

  constructor(content: ContentCache) {
    this.#content = content;
  }

  /** The manifest if it is in memory. */
  peek(descriptor: Descriptor): LoadedManifest | undefined {
    const loaded = this.#loaded.get(keyOf('manifest', descriptor));
    return loaded !== undefined && 'descriptor' in loaded ? loaded : undefined;
  }

  /** The config if it is in memory. */
  peekConfig(descriptor: Descriptor): ImageConfig | undefined {
    const loaded = this.#loaded.get(keyOf('config', descriptor));
    return loaded !== undefined && 'config' in loaded ? loaded.config : undefined;
  }

  /**
   * The manifest, read if need be. A document that is refused is not an error here: its bytes are still good.
   * @throws ImgfsError `too-large`, `integrity`, and what the store throws.
   */
  async load(source: BlobSource, options: CallOptions = {}): Promise<LoadedManifest> {
    const known = this.peek(source.descriptor);
    if (known !== undefined) return known;
    const loaded = await this.#read('manifest', source, options, (bytes) => interpret(source, bytes));
    return loaded as LoadedManifest;
  }

  /** The image config. @throws as `load`, and `invalid-content`. */
  async loadConfig(source: BlobSource, options: CallOptions = {}): Promise<ImageConfig> {
    const known = this.peekConfig(source.descriptor);
    if (known !== undefined) return known;
    const loaded = await this.#read('config', source, options, (bytes) => ({
      config: parseImageConfig(bytes),
      bytes,
    }));
    return (loaded as { config: ImageConfig }).config;
  }

  #read(
    kind: 'manifest' | 'config',
    source: BlobSource,
    options: CallOptions,
    parse: (bytes: Uint8Array) => Loaded,
  ): Promise<Loaded> {
    const key = keyOf(kind, source.descriptor);
    return this.#flights.run(`${source.store.id}\0${key}`, options.signal, async (signal) => {
      const maxBytes = kind === 'manifest' ? maxManifestBytes : maxConfigBytes;
      const bytes = await this.#content.readAll(source, { maxBytes, signal });
      const loaded = parse(bytes);
      this.#loaded.set(key, loaded);
      return loaded;
    });
  }
}

function keyOf(kind: 'manifest' | 'config', descriptor: Descriptor): string {
  return `${kind} ${descriptor.mediaType} ${descriptor.digest}`;
}

function interpret(source: BlobSource, bytes: Uint8Array): LoadedManifest {
  const { descriptor, repository, store } = source;
  try {
    const manifest = parseManifest(bytes, descriptor.mediaType);
    return { descriptor, bytes, manifest, refused: undefined };
  } catch (error) {
    if (!isImgfsError(error)) throw error;
    const refused = new ImgfsError(error.code, error.message, {
      ...error.context,
      reference: `${store.id}/${repository}`,
      digest: descriptor.digest,
      cause: error.cause,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    return { descriptor, bytes, manifest: undefined, refused };
  }
}
