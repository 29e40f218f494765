/** `blobs/<algorithm>/<hex>` of an OCI image layout. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { digestAlgorithm, digestHex, type Digest } from '../../oci/digest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import { clipRange, fileBody } from '../file-body.js';
import { fileError } from '../file-error.js';
import { openRegularFile, readSmallFile, type SafeOpenOptions } from '../safe-open.js';
import type { Body, FetchOptions } from '../store.js';

const missingHint = 'the layout is incomplete: copy the image into it again, or fetch it from where it came';

export class BlobDirectory {
  private readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Path of a blob. A digest is branded only after its characters were checked, so it cannot lead elsewhere. */
  path(digest: Digest): string {
    return join(this.root, 'blobs', digestAlgorithm(digest), digestHex(digest));
  }

  /** @throws ImgfsError `not-found` when the blob is not there. */
  async stat(digest: Digest): Promise<Descriptor> {
    const path = this.path(digest);
    const stats = await stat(path).catch((error: unknown) => {
      throw fileError(error, 'stat blob', path, { missing: 'not-found', digest, hint: missingHint });
    });
    return { mediaType: mediaTypes.octetStream, digest, size: stats.size };
  }

  /** When the blob came. @throws ImgfsError `not-found`. */
  async date(digest: Digest): Promise<Date> {
    const path = this.path(digest);
    const stats = await stat(path).catch((error: unknown) => {
      throw fileError(error, 'stat blob', path, { missing: 'not-found', digest, hint: missingHint });
    });
    return stats.mtime;
  }

  /** True when the blob is there; of the given size, when one is given. */
  async has(digest: Digest, size?: number): Promise<boolean> {
    try {
      const found = await this.stat(digest);
      return size === undefined || found.size === size;
    } catch (error) {
      if (error instanceof ImgfsError && error.code === 'not-found') return false;
      throw error;
    }
  }

  /** The whole of a blob that may be a manifest, unverified. @throws ImgfsError `not-found`, `too-large`. */
  async readManifest(digest: Digest): Promise<Uint8Array> {
    const options = { ...this.options('read manifest', digest), maxBytes: maxManifestBytes };
    return (await readSmallFile(this.path(digest), options)).bytes;
  }

  /**
   * Stream a blob or a range of it.
   * @throws ImgfsError `not-found`; `integrity` when the file has not the size of the descriptor; `denied` for a link
   *   out of the layout.
   */
  async fetch({ digest, size }: Descriptor, options: FetchOptions = {}): Promise<Body> {
    const path = this.path(digest);
    const range = clipRange(options.range, size);
    const opened = await openRegularFile(path, this.options('fetch blob', digest));
    if (opened.size !== size) {
      await opened.handle.close();
      throw new ImgfsError(
        'integrity',
        `fetch blob ${digest}: the file has ${opened.size} of ${size} bytes`,
        {
          path,
          digest,
          hint: 'the blob is damaged: remove the file and copy the image again',
        },
      );
    }
    const { handle } = opened;
    return fileBody({ handle, path, offset: 0, size, release: () => handle.close() }, range, options);
  }

  private options(operation: string, digest: Digest): SafeOpenOptions {
    return { operation, within: [this.root], missing: 'not-found', digest };
  }
}
