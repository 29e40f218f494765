/**
 * Gathers chunks of a stream and hands them on in batches, one at a time.
 *
 * A batch takes what arrives in one turn of the event loop, and what arrives while the batch before is being
 * written; when that is too much the stream waits. A slow stream is handed on chunk by chunk without delay, a fast
 * one in few system calls: each one wakes another thread, which in a virtual machine takes 50 to 90 µs of this one.
 */
import { toImgfsError } from '../errors/imgfs-error.js';

/** 16 chunks of 64 KiB: 1 ms of a 1 GB/s stream, so that a system call of 20 µs is 2 % of it. */
const batchBytes = 1 << 20;
/** A body may be chopped into tiny chunks: their number is bounded as well (IOV_MAX). */
const batchChunks = 1024;

/** A stream is fast from here on: a whole batch comes in 16 ms. */
const fastBytesPerMs = (64 << 20) / 1000;
/** And its batches are gathered that long: 300 MB/s fill them, and whoever waits for bytes hardly waits longer. */
const gatherMs = 3;

export type WriteBatch = (position: number, chunks: readonly Uint8Array[], bytes: number) => Promise<void>;

export class ChunkBatch {
  readonly #write: WriteBatch;
  #position: number;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #running: Promise<void> | undefined;
  #step: Promise<void> = Promise.resolve();
  #flush: (() => void) | undefined;
  #failure: Error | undefined;
  /** When the last batch was handed on, and what it held. */
  #lastAt = performance.now();
  #lastBytes = 0;

  /** `position`: offset of the first chunk to come. */
  constructor(position: number, write: WriteBatch) {
    this.#position = position;
    this.#write = write;
  }

  /** Take a chunk; a promise means: wait before bringing the next. @throws what `write` threw. */
  add(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#running ??= this.#run();
    if (!this.#isFull()) return undefined;
    this.#flush?.();
    return this.#room();
  }

  /** Hand on what is left; resolves when all is written. @throws what `write` threw. */
  async end(): Promise<void> {
    this.#flush?.();
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #isFull(): boolean {
    return this.#bytes >= batchBytes || this.#chunks.length >= batchChunks;
  }

  async #room(): Promise<void> {
    while (this.#isFull() && this.#failure === undefined) await this.#step;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #run(): Promise<void> {
    while (this.#chunks.length > 0 && this.#failure === undefined) {
      this.#step = this.#gatherAndWrite();
      await this.#step;
    }
    this.#running = undefined;
  }

  /** Wait for more, as long as that is worthwhile. */
  async #gather(): Promise<void> {
    const isFast = this.#lastBytes >= fastBytesPerMs * (performance.now() - this.#lastAt);
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#flush = resolve;
      if (isFast && this.#lastBytes > 0) timer = setTimeout(resolve, gatherMs);
      else setImmediate(resolve);
    });
    clearTimeout(timer);
    this.#flush = undefined;
  }

  async #gatherAndWrite(): Promise<void> {
    if (!this.#isFull()) await this.#gather();
    this.#lastAt = performance.now();
    this.#lastBytes = this.#bytes;
    const chunks = this.#chunks;
    const bytes = this.#bytes;
    this.#chunks = [];
    this.#bytes = 0;
    try {
      await this.#write(this.#position, chunks, bytes);
      this.#position += bytes;
    } catch (error) {
      this.#failure = toImgfsError(error);
    }
  }
}
