/** A blob too large for one piece of work on the JavaScript thread, whole in memory and verified. */
import { isImgfsError } from '../errors/imgfs-error.js';
import { digestAlgorithm } from '../oci/digest.js';
import type { BlobSource, ContentCache, ReadAllOptions } from './content.js';
import type { HelperPool } from './helper-pool.js';
import { receiveRange } from './receive-range.js';
import { mismatch } from './small-blobs.js';

/** One read from the file, or one message to a helper thread. */
const sliceBytes = 1 << 20;

/** @throws as `ContentCache.readAll`. */
export async function readLarge(
  cache: ContentCache,
  pool: HelperPool,
  source: BlobSource,
  options: ReadAllOptions,
): Promise<Uint8Array> {
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const reader = await cache.open(source, { ...signal, verify: 'strict' });
  try {
    await reader.fill({ start: 0, end: reader.size }, signal);
    const bytes = Buffer.allocUnsafeSlow(reader.size);
    for (let at = 0; at < bytes.length; at += sliceBytes) {
      await reader.read(bytes, at, Math.min(sliceBytes, bytes.length - at), at, signal);
    }
    return bytes;
  } catch (error) {
    if (!isImgfsError(error, 'cache-full')) throw error;
  } finally {
    await reader.close();
  }
  return receiveVerified(pool, source, options.signal ?? new AbortController().signal);
}

/** The disk has no room: through memory, whose bound is the caller's. */
async function receiveVerified(
  pool: HelperPool,
  source: BlobSource,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const bytes = await receiveRange(source, { start: 0, end: source.descriptor.size }, signal);
  const digester = pool.digester(digestAlgorithm(source.descriptor.digest));
  for (let at = 0; at < bytes.length; at += sliceBytes)
    await digester.feed(bytes.subarray(at, at + sliceBytes));
  if ((await digester.finish()) === source.descriptor.digest) return bytes;
  throw mismatch(source.descriptor, bytes, source.store.id);
}
