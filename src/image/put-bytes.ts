/** A small blob that is at hand, into a repository: nothing is sent where it is there already. */
import { isThere } from '../errors/if-missing.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { isBlobStatter, type CallOptions } from '../store/store.js';
import type { PushStore } from './push-store.js';

/** Up to here a blob goes up in one request where it can: a session for it would be one more round trip. */
export const smallBlobBytes = 1024 * 1024;

/** Resolves to the digest. @throws ImgfsError what the store throws. */
export async function putBytes(
  store: PushStore,
  repository: string,
  bytes: Uint8Array,
  options: CallOptions = {},
): Promise<Digest> {
  const digest = digestOf(bytes);
  if (await hasBlob(store, repository, digest, options)) return digest;
  if (store.putBlob !== undefined && bytes.length <= smallBlobBytes) {
    await store.putBlob(repository, digest, bytes, options);
    return digest;
  }
  const upload = await store.startUpload(repository, { ...options, size: bytes.length });
  await upload.write(bytes, options);
  await upload.finish(digest, options);
  return digest;
}

async function hasBlob(
  store: PushStore,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Promise<boolean> {
  if (!isBlobStatter(store)) return false;
  return isThere(store.statBlob(repository, digest, options));
}
