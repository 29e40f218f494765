/** One open blob: a reader with its own place, on a blob that all readers share. */
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import type { ByteRange, CallOptions } from '../store/store.js';
import type { Backing, BlobReader, BlobSource, BlobStatus, OpenOptions, ReadOptions } from './content.js';
import { cachedBytes } from './content-metrics.js';
import type { Demand, LazyBlob } from './lazy-blob.js';
import { maxWindowBytes, ReadAhead } from './read-ahead.js';
import type { VerifiedRanges } from './verified-ranges.js';

/**
 * Windows of an explicit fill: a blob of 1 GiB takes 16 requests, and a transfer that breaks for good has cost
 * 3 seconds at 20 MB/s.
 */
const fillWindowBytes = 64 << 20;

type Verify = NonNullable<OpenOptions['verify']>;

/** How a reader gets at its blob, and at the next one when that has failed. */
export interface BlobLender {
  acquire(source: BlobSource): Promise<LazyBlob>;
  release(blob: LazyBlob): void;
  /** For strict readers of blobs that cannot be kept. */
  readonly verifiedRanges: VerifiedRanges;
}

export class DiskBlobReader implements BlobReader {
  readonly #lender: BlobLender;
  readonly #source: BlobSource;
  readonly #strict: boolean;
  /** The caller checks what it is given: a blob that failed is replaced by the next one under it. */
  readonly #isChecked: boolean;
  readonly #readAhead = new ReadAhead();
  #blob: LazyBlob;
  /** Bytes left through this reader before the whole was verified: if the blob fails, so does the reader. */
  #gaveUnverified = false;
  #replacing: Promise<void> | undefined;
  #closed = false;
  /** The disk was too full for the whole: not tried again by this reader. */
  #cannotKeep = false;

  constructor(lender: BlobLender, source: BlobSource, blob: LazyBlob, verify: Verify) {
    this.#lender = lender;
    this.#source = source;
    this.#blob = blob;
    this.#strict = verify === 'strict';
    this.#isChecked = verify === 'ranges';
  }

  get descriptor(): BlobSource['descriptor'] {
    return this.#source.descriptor;
  }

  get size(): number {
    return this.#source.descriptor.size;
  }

  read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    options?: ReadOptions,
  ): Promise<number> {
    const blob = this.#blob;
    const end = Math.min(position + length, this.size);
    if (this.#closed || position < 0 || offset < 0 || length < 0 || offset + length > buffer.length) {
      return Promise.reject(this.#badCall());
    }
    if (position >= end) return Promise.resolve(0);
    if (blob.complete || (!this.#strict && blob.has(position, end))) {
      if (options?.exact !== true) this.#goOn(blob, position, end, options);
      cachedBytes.add(end - position);
      return this.#present(blob, buffer, offset, end - position, position, options);
    }
    return this.#fetchAndRead(buffer, offset, end - position, position, options);
  }

  #badCall(): ImgfsError {
    return this.#closed
      ? new ImgfsError('bad-handle', 'read blob: the reader is closed', { digest: this.descriptor.digest })
      : new ImgfsError('invalid', 'read blob: range outside the buffer', { digest: this.descriptor.digest });
  }

  async #present(
    blob: LazyBlob,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    options?: ReadOptions,
  ): Promise<number> {
    if (!blob.complete) this.#gaveUnverified = true;
    const count = await blob.pread(buffer, offset, length, position);
    // A regular file gives less only where it ends, which the slow way knows how to tell.
    if (count === length) return count;
    return this.#fetchAndRead(buffer, offset, length, position, options);
  }

  async #fetchAndRead(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    options?: ReadOptions,
  ): Promise<number> {
    if (this.#strict && !(await this.#fillStrictly(options))) {
      const { verifiedRanges } = this.#lender;
      const end = position + length;
      return verifiedRanges.read(this.#source, buffer, offset, end, position, options?.signal);
    }
    return this.#retrying(async (blob) => {
      const isExact = options?.exact === true;
      const demand = { ...this.#demand(options), ...(isExact ? { windowBytes: () => 0 } : {}) };
      if (!isExact) this.#goOn(blob, position, position + length, options);
      const count = await blob.read(buffer, offset, length, position, demand);
      if (!blob.complete) this.#gaveUnverified = true;
      return count;
    });
  }

  /** Have the whole, verified, on disk; false when the disk cannot take it. */
  async #fillStrictly(options?: CallOptions): Promise<boolean> {
    if (this.#cannotKeep && !this.#blob.complete) return false;
    try {
      await this.fill({ start: 0, end: this.size }, options);
      return true;
    } catch (error) {
      if (!isImgfsError(error, 'cache-full')) throw error;
      this.#cannotKeep = true;
      return false;
    }
  }

  /** Note a read, and fetch ahead if reading goes on. */
  #goOn(blob: LazyBlob, position: number, end: number, options?: ReadOptions): void {
    if (blob.complete) return;
    if (!this.#readAhead.note(position, end, options?.toTheEnd)) blob.abandon(this.#readAhead);
    else if (!this.#strict) blob.prefetch(this.#readAhead, this.#source);
  }

  #demand(options?: CallOptions): Demand {
    return {
      source: this.#source,
      signal: options?.signal,
      windowBytes: () => this.#readAhead.nextWindow(),
      isOver: () => this.#closed,
    };
  }

  #fillDemand(start: number, end: number, options?: CallOptions): Demand {
    return {
      source: this.#source,
      signal: options?.signal,
      windowBytes: (position) => (position < start ? 0 : Math.min(fillWindowBytes, end - position)),
      isOver: () => this.#closed,
    };
  }

  /** Run on the blob; when it turns out to be dead and nothing unchecked of it was given out, on the next one. */
  async #retrying<T>(work: (blob: LazyBlob) => Promise<T>): Promise<T> {
    for (;;) {
      const blob = this.#blob;
      try {
        return await work(blob);
      } catch (error) {
        const isBound = this.#gaveUnverified && !this.#isChecked;
        if (blob.dead === undefined || isBound || this.#closed) throw error;
        await this.#replace(blob);
      }
    }
  }

  /** @throws ImgfsError `integrity` when the store gave wrong bytes twice. */
  async #replace(dead: LazyBlob): Promise<void> {
    this.#replacing ??= (async () => {
      const next = await this.#lender.acquire(this.#source);
      this.#lender.release(dead);
      this.#blob = next;
      if (this.#closed) this.#lender.release(next);
    })().finally(() => {
      this.#replacing = undefined;
    });
    await this.#replacing;
  }

  async fill(range: ByteRange, options?: ReadOptions): Promise<void> {
    const start = Math.max(0, range.start);
    const end = Math.min(range.end, this.size);
    if (this.#closed) throw this.#badCall();
    await this.#retrying(async (blob) => {
      if (blob.complete) return;
      if (this.#strict) await blob.fillAll(this.#fillDemand(0, this.size, options));
      else if (end - start > maxWindowBytes)
        await blob.fill(start, end, this.#fillDemand(start, end, options));
      else {
        // A driver that reads what is there by itself: it asks as a reader does.
        const isExact = options?.exact === true;
        if (!isExact) this.#goOn(blob, start, end, options);
        const demand = this.#demand(options);
        // One window for all that is missing, so that a jump costs no more than what was asked for.
        const windowBytes = (at: number): number => Math.max(isExact ? 0 : demand.windowBytes(at), end - at);
        await blob.fill(start, end, { ...demand, windowBytes });
      }
    });
  }

  backing(): Backing | undefined {
    const blob = this.#blob;
    if (this.#closed || (this.#strict && !blob.complete)) return undefined;
    const backing = blob.backing();
    // From now on bytes may be read that this reader does not see.
    if (backing !== undefined && !blob.complete) this.#gaveUnverified = true;
    return backing;
  }

  status(): BlobStatus {
    return this.#blob.status();
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#blob.abandon(this.#readAhead);
      if (this.#replacing === undefined) this.#lender.release(this.#blob);
    }
    return Promise.resolve();
  }
}
