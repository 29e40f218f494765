/** From where to where an image is copied. */
import type { Descriptor } from '../../oci/descriptor.js';
import type { ImageStore } from '../../store/store.js';
import type { PushStore } from '../push-store.js';

/** The image to copy, and where it is. */
export interface CopySource {
  readonly store: ImageStore;
  readonly repository: string;
  readonly descriptor: Descriptor;
}

/** The repository to copy to. */
export interface CopyDestination {
  readonly store: PushStore;
  readonly repository: string;
}
