/** A range of a blob straight from its store, for when the cached copy proved wrong. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { ByteRange, CallOptions } from '../../store/store.js';

/**
 * Bytes `[range.start, range.end)`; unverified, like everything that comes out of a store.
 * @throws ImgfsError as `ImageStore.fetch`; `protocol` when the body is short.
 */
export async function readFromStore(
  source: BlobSource,
  range: ByteRange,
  options?: CallOptions,
): Promise<Uint8Array> {
  const { store, repository, descriptor } = source;
  const body = await store.fetch(repository, descriptor, { ...options, range });
  const bytes = new Uint8Array(range.end - range.start);
  let at = body.start;
  let filled = 0;
  try {
    for await (const chunk of body.chunks) {
      // A server may ignore the range and send everything.
      const from = Math.max(0, range.start - at);
      const part = chunk.subarray(from, Math.max(from, range.end - at));
      bytes.set(part, filled);
      filled += part.length;
      at += chunk.length;
      if (filled === bytes.length) break;
    }
  } finally {
    body.cancel();
  }
  if (filled === bytes.length) return bytes;
  throw new ImgfsError('protocol', `fetch blob: ${filled} bytes instead of ${bytes.length}`, {
    digest: descriptor.digest,
  });
}
