/** Whether a layer decodes to what its image's config says. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Layer } from '../layer/layer.js';
import { createDigester, digestAlgorithm, type Digest } from '../oci/digest.js';
import type { CallOptions } from '../store/store.js';

/** Decoded at once: hashing it takes 1 to 3 ms. */
const pieceBytes = 1 << 20;

/**
 * Decode a whole layer and compare its digest with `diffId`. What a tree serves is bound by the digest in the manifest;
 * this tells of configs that contradict it, whose images container runtimes refuse to unpack.
 * @throws ImgfsError `integrity` when it differs, also when the config has none; as `Layer.readDecoded`.
 */
export async function checkDiffId(
  layer: Layer,
  diffId: Digest | undefined,
  options?: CallOptions,
): Promise<void> {
  const { digest } = layer.descriptor;
  const digester = createDigester(diffId === undefined ? 'sha256' : digestAlgorithm(diffId));
  const piece = new Uint8Array(pieceBytes);
  for (let at = 0; ;) {
    const length = await layer.readDecoded(piece, at, options);
    digester.update(piece.subarray(0, length));
    at += length;
    if (length < piece.length) break;
  }
  const found = digester.digest();
  if (found === diffId) return;
  throw new ImgfsError(
    'integrity',
    `check layer ${digest}: it decodes to ${found}, and the config says ${diffId ?? 'nothing of it'}`,
    {
      digest,
      hint: 'its bytes are those that the manifest names; the config is wrong, and runtimes will not unpack the image',
    },
  );
}
