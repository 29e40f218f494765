/**
 * A small blob in one request (distribution-spec end-4b), where the registry takes it. docker-registry answers 202 and a
 * session instead, and forgets the body: it is sent again with the commit, and the registry is not asked that way again.
 */
import { isImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import type { Descriptor } from '../../../oci/descriptor.js';
import { digestAlgorithm, type Digest } from '../../../oci/digest.js';
import type { CallOptions } from '../../store.js';
import type { RegistryClient } from '../client.js';
import { UploadSession } from './session.js';

export class BlobPutter {
  readonly #client: RegistryClient;
  /** The registry takes no blob with a POST. */
  #declined = false;

  constructor(client: RegistryClient) {
    this.#client = client;
  }

  /**
   * All of a blob.
   * @throws ImgfsError `digest-mismatch` when the registry computed another digest; what opening and committing throw.
   */
  async put(
    repository: string,
    digest: Digest,
    bytes: Uint8Array,
    options: CallOptions,
  ): Promise<Descriptor> {
    const algorithm = digestAlgorithm(digest);
    if (this.#declined) {
      const session = await UploadSession.start(this.#client, repository, algorithm, options);
      return session.commit(digest, bytes, options);
    }
    const session = await UploadSession.prepare(this.#client, repository, algorithm);
    try {
      const descriptor = await session.post(digest, bytes, options);
      if (descriptor !== undefined) return descriptor;
      this.#declined = true;
    } catch (thrown) {
      const error = toImgfsError(thrown);
      const { status = 0 } = error.context;
      // Who may not push at all hears it now; anything else that is said of the request may be about its form.
      const isAboutForm = status >= 400 && status < 500 && ![401, 403, 429].includes(status);
      if (!isAboutForm || isImgfsError(error, 'interrupted')) throw error;
      this.#declined = true;
      await session.open(options);
    }
    return session.commit(digest, bytes, options);
  }
}
