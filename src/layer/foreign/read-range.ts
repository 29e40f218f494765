/** Ranges of a blob for reading an index from it: from the cache, or straight from the store when that proved wrong. */
import type { BlobReader, BlobSource } from '../../content/content.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import { readFromStore } from '../read/read-from-store.js';
import { foreignError } from './foreign-error.js';

/** Bytes `[start, end)` of the blob. @throws ImgfsError as `BlobReader.read`. */
export type ReadRange = (range: ByteRange, options?: CallOptions) => Promise<Uint8Array>;

/** Through the cache, in one request for all that is missing. */
export function cachedRange(blob: BlobReader): ReadRange {
  return async (range, options) => {
    const bytes = new Uint8Array(range.end - range.start);
    for (let at = 0; at < bytes.length;) {
      const exact = { ...options, exact: true };
      const got = await blob.read(bytes, at, bytes.length - at, range.start + at, exact);
      if (got === 0) throw foreignError('the blob ends before it');
      at += got;
    }
    return bytes;
  };
}

/** Past the cache. */
export function directRange(source: BlobSource): ReadRange {
  return (range, options) => readFromStore(source, range, options);
}
