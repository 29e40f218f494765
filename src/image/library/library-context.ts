/** What the classes of the library share: one cache, one memory of names, one spool of uploads. */
import type { ContentCache } from '../../content/content.js';
import type { Platform } from '../../oci/platform.js';
import type { RegistriesD } from '../../store/lookaside/registries-d.js';
import { Images } from '../images.js';
import { Signatures } from '../signatures/signatures.js';
import { Uploads } from '../upload/uploads.js';

/** How a library over stores is put together. */
export interface LibraryOptions {
  /** Where what was read is kept; not closed by the library. */
  readonly content: ContentCache;
  /** Which child of an index is *the* image. Default: the host's. */
  readonly platform?: Platform;
  /** How long a tag is believed, in milliseconds. Default 0: each call asks. */
  readonly tagTtlMs?: number;
  /** Where simple signing keeps signatures (registries.d); without it none are looked for there. */
  readonly registriesD?: RegistriesD;
}

export interface LibraryContext {
  readonly content: ContentCache;
  readonly images: Images;
  readonly uploads: Uploads;
  readonly signatures: Signatures;
}

/** A true "not found" is not remembered: who asks a library twice has a reason to. */
export function createLibraryContext(options: LibraryOptions): LibraryContext {
  const { content, platform, tagTtlMs, registriesD } = options;
  const images = new Images({
    content,
    tagTtlMs: tagTtlMs ?? 0,
    negativeTtlMs: 0,
    ...(platform === undefined ? {} : { platform }),
  });
  return {
    content,
    images,
    signatures: new Signatures({
      content,
      related: images.related,
      ...(registriesD === undefined ? {} : { registriesD }),
    }),
    uploads: new Uploads({ cacheDirectory: content.directory }),
  };
}

/** A call's signal alone, for calls that take fewer options. */
export function signalOf({ signal }: { readonly signal?: AbortSignal }): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** The first `limit` of a stream; all of it without one. */
export async function* atMost<Item>(
  items: AsyncIterable<Item>,
  limit: number | undefined,
): AsyncGenerator<Item, void> {
  if (limit === undefined) {
    yield* items;
    return;
  }
  if (limit <= 0) return;
  let count = 0;
  for await (const item of items) {
    yield item;
    count += 1;
    if (count >= limit) return;
  }
}
