/**
 * One transfer of a range of a blob: asks the store, follows the body, goes on where it broke.
 *
 * Bytes are handed over in batches: while one batch is being written, the next gathers, and when that is full
 * the network waits. So memory is bounded, and a fast stream needs one system call for each MiB.
 */
import { ImgfsError, toImgfsError } from '../errors/imgfs-error.js';
import { isRetryable } from '../errors/errno.js';
import type { Body, FileTarget } from '../store/store.js';
import type { BlobSource } from './content.js';
import { ChunkBatch } from './chunk-batch.js';
import { fetchRequests, fetchResumes, fetchedBytes, receivedBytes } from './content-metrics.js';
import { abortError, checkSignal } from '../errors/aborted.js';
import { pause } from './waiting.js';

/** Resuming is free of harm while it gets on; a transfer that gets nowhere is tried twice. */
const maxResumes = 8;
/** Less than this is nowhere: a server that breaks more often than once in 64 KiB is broken. */
const progressBytes = 64 << 10;
const resumeDelayMs = 100;

/** Takes what arrives. */
export interface WindowSink {
  /** Size of the blob in bytes. */
  readonly size: number;
  /** The store gave wrong bytes before: it is to rely on nothing it remembers. */
  readonly fresh: boolean;
  /** A server that ignores the range sends everything: true to take it all, false to stop at the range's end. */
  readonly takesAll: boolean;
  /** Called once before the first request: make room. May move the window's end nearer. */
  prepare(window: FetchWindow): Promise<void>;
  /**
   * Keep bytes; resolves when they can be read, to true when the buffers are of no use any more. Calls for one window
   * do not overlap.
   */
  accept(
    window: FetchWindow,
    position: number,
    buffers: readonly Uint8Array[],
    bytes: number,
  ): Promise<boolean>;
  /**
   * Have the bytes from `window.position` up to its end brought into the file, by `receive`; resolves to the offset
   * reached, which may be where it began. Not together with `accept`.
   */
  receive?(window: FetchWindow, receive: (target: FileTarget) => Promise<number>): Promise<number>;
  /** Called once when nothing more will come. */
  ended(window: FetchWindow): void;
}

export class FetchWindow {
  readonly source: BlobSource;
  /** Where it starts and ends; a server that ignores the range widens both. */
  start: number;
  end: number;
  /** Everything before was handed to the sink. */
  position: number;
  /** Settles when nothing more will come; never rejects. */
  readonly finished: Promise<void>;
  /** Why it ended early. */
  error: ImgfsError | undefined;
  done = false;
  /** Readers that wait for bytes of it. */
  waiters = 0;
  /** Its bytes cannot be kept on disk: they go through memory. */
  throughMemory = false;
  readonly #sink: WindowSink;
  readonly #controller = new AbortController();

  constructor(sink: WindowSink, source: BlobSource, start: number, end: number) {
    this.#sink = sink;
    this.source = source;
    this.start = start;
    this.end = end;
    this.position = start;
    this.finished = this.#run();
  }

  /** Whether it is going to bring the byte at `position`. */
  covers(position: number): boolean {
    return !this.done && !this.cancelled && position >= this.start && position < this.end;
  }

  get cancelled(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Stop. What arrived is kept. */
  cancel(): void {
    this.#controller.abort();
  }

  async #run(): Promise<void> {
    try {
      // The constructor's caller gets to see the window first.
      await Promise.resolve();
      await this.#sink.prepare(this);
      await this.#transferAll();
    } catch (error) {
      this.error = this.#controller.signal.aborted
        ? abortError(this.#controller.signal)
        : toImgfsError(error);
    } finally {
      this.done = true;
      this.#sink.ended(this);
    }
  }

  async #transferAll(): Promise<void> {
    let fruitless = 0;
    for (let attempt = 0; this.position < this.end; attempt += 1) {
      const before = this.position;
      try {
        await this.#transfer();
      } catch (error) {
        checkSignal(this.#controller.signal);
        fruitless = this.position - before >= progressBytes ? 0 : fruitless + 1;
        if (fruitless > 1 || attempt >= maxResumes || !isRetryable(error, true)) throw error;
        fetchResumes.add();
        await pause(resumeDelayMs, this.#controller.signal);
      }
    }
  }

  async #transfer(): Promise<void> {
    const { signal } = this.#controller;
    checkSignal(signal);
    fetchRequests.add();
    const { store, repository, descriptor } = this.source;
    const whole = this.position === 0 && this.end === this.#sink.size;
    const range = whole ? {} : { range: { start: this.position, end: this.end } };
    const { fresh } = this.#sink;
    const body = await store.fetch(repository, descriptor, { signal, fresh, ...range });
    const onAbort = (): void => body.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      checkSignal(signal);
      this.#checkBody(body);
      await this.#drain(body);
    } catch (error) {
      body.cancel();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #error(code: 'protocol' | 'integrity', cause: string, hint: string): ImgfsError {
    const { store, descriptor } = this.source;
    return new ImgfsError(code, `fetch blob ${descriptor.digest} from ${store.id}: ${cause}`, {
      operation: 'fetch blob',
      digest: descriptor.digest,
      hint,
    });
  }

  #checkBody(body: Body): void {
    const { size } = this.#sink;
    const promised = body.totalSize ?? (body.end !== undefined && body.end > size ? body.end : size);
    if (promised !== size) {
      throw this.#error(
        'integrity',
        `the descriptor says ${size} bytes, the server says ${promised}`,
        'the manifest or the server is wrong: compare the descriptor with the blob in the registry',
      );
    }
    if (body.start > this.position) {
      throw this.#error(
        'protocol',
        `asked for bytes from ${this.position}, the answer starts at ${body.start}`,
        'a proxy or the registry handles ranges wrongly',
      );
    }
    // A server that sends everything from the beginning sends it once: take it all, also what nobody asked for.
    if (body.start < this.position && body.start < this.start) this.start = body.start;
    if (body.start === 0 && this.position > 0 && this.#sink.takesAll) this.end = size;
  }

  async #drain(body: Body): Promise<void> {
    const { signal } = this.#controller;
    const received = await this.#receive(body);
    const batch = new ChunkBatch(received, async (position, chunks, bytes) => {
      const used = await this.#sink.accept(this, position, chunks, bytes);
      this.position = Math.max(this.position, position + bytes);
      if (used && body.release !== undefined) for (const chunk of chunks) body.release(chunk);
    });
    let arrived = received;
    try {
      for await (const chunk of body.chunks) {
        checkSignal(signal);
        if (chunk.length === 0) continue;
        arrived += chunk.length;
        fetchedBytes.add(chunk.length);
        if (arrived > this.#sink.size) throw this.#tooLong();
        const room = this.end - (arrived - chunk.length);
        if (room > 0) await batch.add(room < chunk.length ? chunk.subarray(0, room) : chunk);
        // At the exact end, wait for the body's own end: cancelling it would cost the connection.
        if (arrived > this.end || (arrived === this.end && (body.end ?? this.end) > this.end)) {
          body.cancel();
          break;
        }
      }
    } finally {
      // Also when the body broke: what arrived is kept.
      await batch.end();
    }
    if (arrived < this.end) {
      throw this.#error(
        'protocol',
        `the body ended at byte ${arrived} instead of ${this.end}`,
        'try again; when it repeats, the registry or a proxy truncates',
      );
    }
  }

  /** The part of the body that goes to the file by itself: all of it, in the best case. Returns its end. */
  async #receive(body: Body): Promise<number> {
    const { receive } = body;
    const isExact = body.start === this.position && body.end !== undefined && body.end <= this.end;
    if (receive === undefined || this.#sink.receive === undefined || !isExact) return body.start;
    const before = this.position;
    const reached = await this.#sink.receive(this, receive);
    fetchedBytes.add(reached - before);
    receivedBytes.add(reached - before);
    this.position = Math.max(this.position, reached);
    return reached;
  }

  #tooLong(): ImgfsError {
    return this.#error(
      'integrity',
      `the body is longer than the ${this.#sink.size} bytes of the descriptor`,
      'the manifest or the server is wrong: compare the descriptor with the blob in the registry',
    );
  }
}
