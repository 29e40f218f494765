/** Descriptors as the image-spec writes them (descriptor.md, image-index.md), for files of our own. */
import type { Descriptor } from '../oci/descriptor.js';

/** The object to hand to `JSON.stringify`. `data` and `urls` are left out: the blob itself is at hand. */
export function descriptorJson(descriptor: Descriptor): Record<string, unknown> {
  const { mediaType, digest, size, annotations, artifactType, platform } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(platform === undefined
      ? {}
      : {
          platform: {
            architecture: platform.architecture,
            os: platform.os,
            ...(platform.osVersion === undefined ? {} : { 'os.version': platform.osVersion }),
            ...(platform.osFeatures === undefined ? {} : { 'os.features': platform.osFeatures }),
            ...(platform.variant === undefined ? {} : { variant: platform.variant }),
          },
        }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}
