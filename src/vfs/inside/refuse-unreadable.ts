/** Layers that cannot be looked into, told before anything is fetched. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isTreeLayer, layerCompression } from '../../oci/media-type.js';

/** True for a layer whose media type says that it is a tar archive, of a container image or of an artifact. */
export function isArchive({ mediaType }: Descriptor): boolean {
  return isTreeLayer(mediaType) || layerCompression(mediaType) !== 'unknown';
}

/** True for a layer that ocicrypt made unreadable (ocicrypt's spec/encryption.md). */
export function isEncrypted({ mediaType }: Descriptor): boolean {
  return mediaType.endsWith('+encrypted');
}

/** @throws ImgfsError `unsupported` for encrypted layers and for those that are no archives. */
export function refuseUnreadable(descriptor: Descriptor): void {
  const { mediaType, digest } = descriptor;
  if (isEncrypted(descriptor)) {
    throw new ImgfsError('unsupported', `read layer: ${digest} is encrypted`, {
      digest,
      hint: 'decrypt the image first (skopeo copy --decryption-key); the blob can be read as it is stored',
    });
  }
  if (isArchive(descriptor)) return;
  throw new ImgfsError(
    'unsupported',
    `read layer: ${digest} is no archive but ${JSON.stringify(mediaType)}`,
    {
      digest,
      hint: 'the blob can be read as it is stored',
    },
  );
}
