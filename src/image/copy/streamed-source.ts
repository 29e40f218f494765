/** A body on its way, as bytes that can be read again: in order from the stream, elsewhere by asking for it anew. */
import type { Body, ReadableBytes } from '../../store/store.js';

export class StreamedSource implements ReadableBytes {
  readonly #open: (position: number) => Promise<Body>;
  #body: Body;
  #chunks: AsyncIterator<Uint8Array>;
  /** The chunk under way, and where in the blob what is left of it begins. */
  #chunk: Uint8Array | undefined;
  #used = 0;
  #at: number;

  /** @param open the blob from a position on; the answer may begin before it */
  constructor(body: Body, open: (position: number) => Promise<Body>) {
    this.#open = open;
    this.#body = body;
    this.#chunks = body.chunks[Symbol.asyncIterator]();
    this.#at = body.start;
  }

  /** @throws what the body throws, and what asking anew does. */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    if (position < this.#at) await this.#begin(position);
    let length = 0;
    while (length < buffer.length && (await this.#hasMore())) {
      const chunk = this.#chunk as Uint8Array;
      // What lies before the position was not asked for.
      const skipped = Math.min(chunk.length - this.#used, Math.max(0, position - this.#at));
      const from = this.#used + skipped;
      const taken = Math.min(chunk.length - from, buffer.length - length);
      buffer.set(chunk.subarray(from, from + taken), length);
      this.#advance(skipped + taken);
      length += taken;
    }
    return length;
  }

  /** True when there is nothing behind what was read last. */
  async isAtEnd(): Promise<boolean> {
    return !(await this.#hasMore());
  }

  close(): void {
    this.#body.cancel();
  }

  async #begin(position: number): Promise<void> {
    this.#body.cancel();
    this.#chunk = undefined;
    this.#body = await this.#open(position);
    this.#chunks = this.#body.chunks[Symbol.asyncIterator]();
    this.#at = this.#body.start;
  }

  async #hasMore(): Promise<boolean> {
    while (this.#chunk === undefined) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return false;
      if (value.length === 0) continue;
      this.#chunk = value;
      this.#used = 0;
    }
    return true;
  }

  #advance(bytes: number): void {
    this.#at += bytes;
    this.#used += bytes;
    const chunk = this.#chunk;
    if (chunk === undefined || this.#used < chunk.length) return;
    this.#chunk = undefined;
    this.#body.release?.(chunk);
  }
}
