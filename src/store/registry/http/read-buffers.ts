/**
 * Buffers that sockets read into, and that come back when their bytes are of no more use.
 *
 * A buffer made anew for each 64 KiB costs more than the network: V8 counts it against its heap and marks all of that
 * every few dozen MiB. Of 1 GiB over loopback, 1.2 of 4.3 s of processor time were that.
 *
 * One buffer holds several reads in a row. It is used again only when exactly the bytes that were read into it have
 * been given back; whoever keeps a piece, or does not care to give it back, leaves it to the garbage collector.
 */

/** Two reads of a busy connection at least, and small against what one transfer has queued (1 MiB). */
export const readBufferBytes = 256 << 10;
/** Eight connections with a batch of 1 MiB in the queue, and one being written. */
const maxFreeBytes = 8 << 20;

interface Lease {
  readonly whole: Uint8Array;
  filledBytes: number;
  releasedBytes: number;
  /** Nothing more will be read into it. */
  sealed: boolean;
}

export class ReadBuffers {
  readonly #free: Uint8Array[] = [];
  readonly #leases = new WeakMap<ArrayBufferLike, Lease>();

  /** An empty buffer of `readBufferBytes`. */
  take(): Uint8Array {
    // `allocUnsafeSlow`: a buffer of its own, not part of Node's pool.
    const whole = this.#free.pop() ?? Buffer.allocUnsafeSlow(readBufferBytes);
    this.#leases.set(whole.buffer, { whole, filledBytes: 0, releasedBytes: 0, sealed: false });
    return whole;
  }

  /** `bytes` more of a buffer were handed out. */
  filled(buffer: Uint8Array, bytes: number): void {
    const lease = this.#leases.get(buffer.buffer);
    if (lease !== undefined) lease.filledBytes += bytes;
  }

  /** Nothing more will be read into it. */
  seal(buffer: Uint8Array): void {
    const lease = this.#leases.get(buffer.buffer);
    if (lease === undefined) return;
    lease.sealed = true;
    this.#reuse(lease);
  }

  /** Nobody will look at these bytes again. Call once for each piece, of whatever buffer. */
  release(chunk: Uint8Array): void {
    const lease = this.#leases.get(chunk.buffer);
    if (lease === undefined) return;
    lease.releasedBytes += chunk.length;
    this.#reuse(lease);
  }

  #reuse({ whole, sealed, filledBytes, releasedBytes }: Lease): void {
    if (!sealed || releasedBytes !== filledBytes) return;
    this.#leases.delete(whole.buffer);
    if (this.#free.length * readBufferBytes < maxFreeBytes) this.#free.push(whole);
  }
}

/** Those of this process. */
export const readBuffers = new ReadBuffers();
