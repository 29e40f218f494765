/** Everything one mount or command needs to get from names to images, put together once. */
import type { ContentCache } from '../content/content.js';
import { hostPlatform, type Platform } from '../oci/platform.js';
import type { CallOptions, ImageStore, Target } from '../store/store.js';
import { Image, type ImageLocation } from './image.js';
import { ManifestLoader } from './manifest-loader.js';
import { NameFinder } from './name-finder.js';
import { RelatedFinder } from './referrers.js';
import { TagResolver } from './tag-resolver.js';

/** How names become images. */
export interface ImagesOptions {
  readonly content: ContentCache;
  /** Which child of an index is *the* image. Default: the host's. */
  readonly platform?: Platform;
  /** How long a tag is believed, in milliseconds. Default 60 s. */
  readonly tagTtlMs?: number;
  /**
   * How long a true "not found" is believed, in milliseconds. Default 5 s: who pushes and looks again waits no
   * longer, and a tool that tries a missing name in a loop costs one request in that time.
   */
  readonly negativeTtlMs?: number;
  /** Repositories from the configuration, by store id. */
  readonly configured?: ReadonlyMap<string, readonly string[]>;
  /** See `NameFinderOptions.neverAssumed`. */
  readonly neverAssumed?: (component: string) => boolean;
  readonly now?: () => number;
}

export const defaultTagTtlMs = 60_000;
export const defaultNegativeTtlMs = 5_000;

/** Names to images over one cache; remembers what was resolved. */
export class Images {
  readonly tags: TagResolver;
  readonly names: NameFinder;
  readonly loader: ManifestLoader;
  readonly related: RelatedFinder;
  readonly tagTtlMs: number;
  readonly negativeTtlMs: number;
  readonly #platform: Platform;

  constructor(options: ImagesOptions) {
    const { content, configured, neverAssumed, now } = options;
    this.tagTtlMs = options.tagTtlMs ?? defaultTagTtlMs;
    this.negativeTtlMs = options.negativeTtlMs ?? defaultNegativeTtlMs;
    this.#platform = options.platform ?? hostPlatform();
    const clock = now === undefined ? {} : { now };
    this.tags = new TagResolver({
      content,
      tagTtlMs: this.tagTtlMs,
      negativeTtlMs: this.negativeTtlMs,
      ...clock,
    });
    this.names = new NameFinder({
      content,
      tags: this.tags,
      negativeTtlMs: this.negativeTtlMs,
      ...(configured === undefined ? {} : { configured }),
      ...(neverAssumed === undefined ? {} : { neverAssumed }),
      ...clock,
    });
    this.loader = new ManifestLoader(content);
    this.related = new RelatedFinder(this.tags, this.tagTtlMs, now);
  }

  /** An image whose descriptor is known. Costs nothing. */
  at(location: ImageLocation): Image {
    return new Image(location, this.loader, this.#platform);
  }

  /** Resolve a name and open the image. @throws ImgfsError as `TagResolver.resolve`. */
  async open(store: ImageStore, target: Target, options: CallOptions = {}): Promise<Image> {
    const { descriptor } = await this.tags.resolve(store, target, options);
    const tag = target.digest === undefined && target.tag !== undefined ? { tag: target.tag } : {};
    return this.at({ store, repository: target.repository, descriptor, ...tag });
  }
}
