/** Finds and reads the index that an image brings for one of its layers. */
import type { BlobReader, ContentCache } from '../../content/content.js';
import { isImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../../store/store.js';
import type { LayerSource } from '../layer-source.js';
import type { DecodeLimits } from '../pass/limits.js';
import type { Binding } from './binding.js';
import { loadEstargz } from './estargz.js';
import { foreignError } from './foreign-error.js';
import type { ForeignIndex } from './foreign-index.js';
import { cachedRange, directRange, type ReadRange } from './read-range.js';
import { loadSoci } from './soci.js';
import { loadZstdChunked } from './zstd-chunked.js';

export interface LoadParts {
  readonly source: LayerSource;
  readonly binding: Binding;
  readonly cache: ContentCache;
  readonly blob: BlobReader;
  readonly limits: DecodeLimits;
}

/** A zTOC has 32 KiB for each span of 4 MiB and some 200 bytes for each file: this is a layer of 10 GiB. */
const maxZtocBytes = 128 << 20;
/** Packed tables of contents beside an image. */
const maxExternalBytes = 128 << 20;

async function externalToc(
  { source, cache }: LoadParts,
  options?: CallOptions,
): Promise<Uint8Array | undefined> {
  const found = await source.externalToc?.(options);
  return found === undefined ? undefined : cache.readAll(found, { ...options, maxBytes: maxExternalBytes });
}

async function loadWith(parts: LoadParts, read: ReadRange, options?: CallOptions): Promise<ForeignIndex> {
  const { binding, blob, limits } = parts;
  const common = { blobBytes: blob.size, limits, read };
  if (binding.kind === 'zstd-chunked') return loadZstdChunked({ ...common, ...binding }, options);
  if (binding.kind === 'estargz') {
    const external = (call?: CallOptions): Promise<Uint8Array | undefined> => externalToc(parts, call);
    return loadEstargz({ ...common, digest: binding.digest, external }, options);
  }
  const ztoc = await binding.indexes.ztoc(parts.source, options);
  if (ztoc === undefined) throw foreignError('the image has none for this layer');
  const bytes = await parts.cache.readAll(ztoc, { ...options, maxBytes: maxZtocBytes });
  return loadSoci({ blobBytes: blob.size, limits, ztoc: bytes }, options);
}

/**
 * The index, checked against what binds it. What the cache has may be damaged: a mismatch is looked at once more with
 * bytes from the store.
 * @throws ImgfsError `invalid-content` when there is none that can be used; what the store throws.
 */
export async function loadForeign(parts: LoadParts, options?: CallOptions): Promise<ForeignIndex> {
  const isWhole = parts.blob.status().verified;
  try {
    return await loadWith(parts, cachedRange(parts.blob), options);
  } catch (error) {
    if (isWhole || !isImgfsError(error, 'invalid-content')) throw error;
    return loadWith(parts, directRange(parts.source), options);
  }
}
