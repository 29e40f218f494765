/** An index that came with the image and cannot be used. */
import { ImgfsError } from '../../errors/imgfs-error.js';

/** `invalid-content`: what it says is not so, or not understood. The layer is then indexed by a pass of our own. */
export function foreignError(reason: string): ImgfsError {
  return new ImgfsError('invalid-content', `read foreign index: ${reason}`, {
    hint: 'the layer is gone through once instead, which needs all of it',
  });
}
