/** What a request carries: bytes in memory, or bytes that are read when they are sent, as often as they are sent. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { ReadableBytes } from '../../store.js';

/** What one write to the socket takes: progress of a body being sent is seen in steps of this size. */
export const sliceBytes = 256 * 1024;

/** Bytes `[start, start + length)` of a source. */
export class SourceBody {
  readonly length: number;
  readonly #source: ReadableBytes;
  readonly #start: number;

  constructor(source: ReadableBytes, start: number, length: number) {
    this.#source = source;
    this.#start = start;
    this.length = length;
  }

  /** As of a Uint8Array. */
  subarray(begin: number, end = this.length): SourceBody {
    const from = Math.min(begin, this.length);
    return new SourceBody(this.#source, this.#start + from, Math.min(end, this.length) - from);
  }

  /**
   * All bytes, each slice in one of two buffers that take turns. undici asks for the next slice when the socket has
   * drained, and a slice is above a socket's high-water mark: the one before is with the kernel then.
   */
  async *slices(): AsyncGenerator<Uint8Array> {
    const buffers = [0, 1].map(() => Buffer.allocUnsafeSlow(Math.min(sliceBytes, Math.max(this.length, 1))));
    for (let at = 0, turn = 0; at < this.length; turn += 1) {
      const buffer = buffers[turn % 2] as Buffer;
      const slice = buffer.subarray(0, Math.min(buffer.length, this.length - at));
      const length = await this.#source.read(slice, this.#start + at);
      if (length < slice.length) {
        const text = `send bytes: the source ends at ${this.#start + at + length}, not ${this.#start + this.length}`;
        throw new ImgfsError('integrity', text, { hint: 'something cut the file while it was sent' });
      }
      at += length;
      yield slice;
    }
  }
}

export type RequestBody = Uint8Array | SourceBody;

/** The bytes of a body, in slices. */
export async function* slicesOf(body: RequestBody): AsyncGenerator<Uint8Array> {
  if (body instanceof SourceBody) return yield* body.slices();
  for (let start = 0; start < body.length; start += sliceBytes)
    yield body.subarray(start, start + sliceBytes);
}
