/** A reader of bytes that are in memory and verified: a descriptor's `data`, or a manifest the disk had no room for. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { BlobReader, BlobStatus } from './content.js';

export class MemoryBlobReader implements BlobReader {
  readonly descriptor: Descriptor;
  readonly #bytes: Uint8Array;

  constructor(descriptor: Descriptor, bytes: Uint8Array) {
    this.descriptor = descriptor;
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    if (position < 0 || offset < 0 || length < 0 || offset + length > buffer.length) {
      const { digest } = this.descriptor;
      return Promise.reject(new ImgfsError('invalid', 'read blob: range outside the buffer', { digest }));
    }
    const part = this.#bytes.subarray(position, position + length);
    buffer.set(part, offset);
    return Promise.resolve(part.length);
  }

  fill(): Promise<void> {
    return Promise.reject(
      new ImgfsError('cache-full', 'fill blob: it is in memory only', { digest: this.descriptor.digest }),
    );
  }

  backing(): undefined {
    return undefined;
  }

  status(): BlobStatus {
    return { state: 'complete', presentBytes: this.size, size: this.size, verified: true };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
