/** Manifests straight from a store, verified: for work that passes them on and keeps nothing. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestAlgorithm, digestOf } from '../oci/digest.js';
import { maxManifestBytes } from '../oci/parse-manifest.js';
import type { CallOptions, ImageStore } from '../store/store.js';

/** @throws ImgfsError `integrity`, `too-large`, and what the store throws. */
export async function readManifest(
  store: ImageStore,
  repository: string,
  descriptor: Descriptor,
  options: CallOptions = {},
): Promise<Uint8Array> {
  const { digest } = descriptor;
  const body = await store.fetch(repository, descriptor, options);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body.chunks) {
    length += chunk.length;
    if (length > maxManifestBytes) {
      body.cancel();
      throw new ImgfsError('too-large', `read manifest ${digest}: more than ${maxManifestBytes} bytes`, {
        digest,
      });
    }
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (digestOf(bytes, digestAlgorithm(digest)) === digest) return bytes;
  throw new ImgfsError('integrity', `read manifest ${digest}: ${store.id} gave other bytes`, {
    digest,
    hint: 'the registry or a proxy before it changed the manifest',
  });
}
