/** Bytes on their way into one chunk: grows as needed, so that a config of 2 KB does not cost 8 MiB. */

const firstBytes = 64 * 1024;

export class ChunkBuffer {
  #bytes: Buffer;
  #length = 0;
  readonly limit: number;

  /** @param limit most bytes it takes; @param expected size of the whole blob, when known */
  constructor(limit: number, expected: number | undefined) {
    this.limit = limit;
    this.#bytes = Buffer.allocUnsafe(Math.min(limit, Math.max(expected ?? firstBytes, 1)));
  }

  get length(): number {
    return this.#length;
  }

  get full(): boolean {
    return this.#length >= this.limit;
  }

  /** Begin anew in the same memory, once its bytes are sent. */
  clear(): void {
    this.#length = 0;
  }

  /** Copy what fits; gives the number of bytes taken. The caller may use its buffer again. */
  add(chunk: Uint8Array): number {
    const taken = Math.min(chunk.length, this.limit - this.#length);
    const needed = this.#length + taken;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(Math.max(this.#bytes.length * 2, needed), this.limit));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(taken === chunk.length ? chunk : chunk.subarray(0, taken), this.#length);
    this.#length = needed;
    return taken;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
