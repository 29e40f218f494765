/**
 * The body of an answer: a queue between undici's parser (or the connection, for a body that was tapped) and one consumer.
 *
 * undici's own stream would join queued chunks into new buffers; here each buffer that came from the socket is handed
 * on as it is. Above `highWaterBytes` the connection is paused, so that a slow consumer holds the server back.
 */
import type { ImgfsError } from '../../../errors/imgfs-error.js';
import { StallWatch, type StallLimit } from './stall-watch.js';
import type { ReceiveTarget, TappedBody } from './tapped-body.js';

/** 16 reads of 64 KiB: the socket stays busy while the consumer writes to disk. */
const highWaterBytes = 1024 * 1024;
const lowWaterBytes = highWaterBytes / 4;

/** A tapped body that nobody has begun by then is read into the queue, as any other: its connection must not rest. */
const beginMs = 100;

/** What the body may do to its connection. */
export interface BodyControl {
  pause(): void;
  resume(): void;
  /** Close the connection; `error` is what undici reports back. */
  abort(error: Error): void;
}

/** Who hears of what comes, and how slow it may be. */
export interface BodyWatch extends StallLimit {
  /** The error for so few bytes in one window. */
  onStall(bytes: number): ImgfsError;
  onBytes(bytes: number): void;
}

export class AnswerBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  /** Told when the consumer holds the connection up (true) and when it goes on (false). */
  onHold: ((held: boolean) => void) | undefined;
  readonly #control: BodyControl;
  readonly #tapped: TappedBody | undefined;
  readonly #onBytes: (bytes: number) => void;
  readonly #watch: StallWatch;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #beginTimer: NodeJS.Timeout | undefined;
  #paused = false;
  #ended = false;
  #settled: (() => void)[] = [];
  #error: ImgfsError | undefined;
  #wake: (() => void) | undefined;

  /** `tapped`: the bytes come from there, and the parser tells of nothing but the end. */
  constructor(control: BodyControl, watch: BodyWatch, tapped?: TappedBody) {
    this.#control = control;
    this.#tapped = tapped;
    this.#onBytes = (bytes) => watch.onBytes(bytes);
    this.#watch = new StallWatch(watch, (bytes) => {
      const error = watch.onStall(bytes);
      this.fail(error);
      this.#abort(error);
    });
    // A tapped body is not read before it is known which way it is to go.
    if (tapped === undefined) this.#watch.start();
    else this.#beginTimer = setTimeout(() => this.#begin(), beginMs);
  }

  /** Call `then` when nothing more will come from the network, at once when that is so already. */
  whenSettled(then: () => void): void {
    if (this.#ended) then();
    else this.#settled.push(then);
  }

  /** From the parser: the next bytes. */
  fromParser(chunk: Uint8Array): void {
    if (this.#tapped === undefined) this.push(chunk);
  }

  /** The next bytes. */
  push(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#note(chunk.length);
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes >= highWaterBytes && !this.#paused) {
      this.#paused = true;
      this.#watch.stop();
      (this.#tapped ?? this.#control).pause();
      this.onHold?.(true);
    }
    this.#wakeUp();
  }

  #note(bytes: number): void {
    this.#onBytes(bytes);
    this.#watch.add(bytes);
  }

  /** Whether `receive` can do anything. */
  get canReceive(): boolean {
    return !this.#ended && this.#tapped?.canReceive === true;
  }

  /**
   * Have all that comes written to a file, without JavaScript. Resolves to how many bytes are in it; what is left, or why
   * there is no more, comes by `next`.
   */
  async receive(target: ReceiveTarget): Promise<number> {
    if (this.#tapped === undefined || !this.canReceive) return 0;
    clearTimeout(this.#beginTimer);
    this.#watch.start();
    let known = 0;
    const onWritten = (bytes: number): void => {
      this.#note(bytes - known);
      known = bytes;
      target.onWritten(bytes);
    };
    return this.#tapped.receive({ ...target, onWritten }, (chunk) => this.push(chunk));
  }

  /** Before the first chunk. */
  #begin(): void {
    if (this.#ended || this.#tapped?.isFresh !== true) return;
    clearTimeout(this.#beginTimer);
    this.#watch.start();
    this.#tapped.begin((chunk) => this.push(chunk));
  }

  /** From the parser: the body is whole. */
  end(): void {
    this.#finish();
  }

  /** The body will not be whole. What is queued is still handed out first: it can be kept. */
  fail(error: ImgfsError): void {
    if (this.#ended) return;
    this.#error = error;
    this.#finish();
  }

  /** The consumer wants no more. Closes the connection unless the body is whole already. */
  cancel(): void {
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    // A tapped body that failed here, not at the connection, still holds it.
    if (this.#ended && this.#tapped?.isOver !== false) return;
    if (!this.#ended) this.#finish();
    this.#abort(new Error('body cancelled'));
  }

  #abort(error: Error): void {
    this.#tapped?.cancel();
    this.#control.abort(error);
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#begin();
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#paused && this.#queuedBytes <= lowWaterBytes) this.#unpause();
        return { done: false, value: chunk };
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Leaving a `for await` early ends up here. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #unpause(): void {
    this.#paused = false;
    if (this.#ended) return;
    this.#watch.start();
    this.onHold?.(false);
    (this.#tapped ?? this.#control).resume();
  }

  #finish(): void {
    this.#ended = true;
    clearTimeout(this.#beginTimer);
    this.#watch.stop();
    this.#wakeUp();
    const waiting = this.#settled;
    this.#settled = [];
    for (const then of waiting) then();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
