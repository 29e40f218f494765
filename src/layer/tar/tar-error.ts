/** How a malformed archive is reported: always with the place. */
import { ImgfsError } from '../../errors/imgfs-error.js';

/** An `invalid-content` error for the archive at byte `offset` of its decoded form. */
export function tarError(reason: string, offset: number): ImgfsError {
  return new ImgfsError('invalid-content', `read tar: ${reason} (at byte ${offset})`, {
    hint: 'the layer is damaged or was made by a faulty tool; its blob can still be read as it is stored',
  });
}
