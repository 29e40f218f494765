/** A blob that its store lacks, though a manifest names it. */
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { Digest } from '../oci/digest.js';

/**
 * The error to tell of a layer: its names exist whether or not the store has the blob, so `not-found`, which would end as
 * ENOENT of a file that is listed, becomes `protocol`. Any other error is left as it is.
 */
export function missingBlob(error: unknown, digest: Digest): unknown {
  if (!isImgfsError(error, 'not-found')) return error;
  return new ImgfsError('protocol', `read layer: the store lacks ${digest}, which the manifest names`, {
    ...error.context,
    digest,
    cause: error,
    hint: 'push the image again, or read it from another store; what was read before stays readable',
  });
}
