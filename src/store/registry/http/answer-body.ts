/**
 * The body of an answer: a queue between undici's parser and one consumer.
 *
 * undici's own stream would join queued chunks into new buffers; here each buffer that came from the socket is handed
 * on as it is. Above `highWaterBytes` the connection is paused, so that a slow consumer holds the server back.
 */
import type { ImgfsError } from '../../../errors/imgfs-error.js';
import { StallWatch, type StallLimit } from './stall-watch.js';

/** 16 reads of 64 KiB: the socket stays busy while the consumer writes to disk. */
const highWaterBytes = 1024 * 1024;
const lowWaterBytes = highWaterBytes / 4;

/** What the body may do to its connection. */
export interface BodyControl {
  pause(): void;
  resume(): void;
  /** Close the connection; `error` is what undici reports back. */
  abort(error: Error): void;
}

export class AnswerBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  /** Told when the consumer holds the connection up (true) and when it goes on (false). */
  onHold: ((held: boolean) => void) | undefined;
  /** Bytes that came from the network. */
  receivedBytes = 0;
  readonly #control: BodyControl;
  readonly #watch: StallWatch;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #paused = false;
  #ended = false;
  #settled: (() => void)[] = [];
  #error: ImgfsError | undefined;
  #wake: (() => void) | undefined;

  constructor(control: BodyControl, stall: StallLimit, onStall: (bytes: number) => ImgfsError) {
    this.#control = control;
    this.#watch = new StallWatch(stall, (bytes) => {
      const error = onStall(bytes);
      this.fail(error);
      this.#control.abort(error);
    });
    this.#watch.start();
  }

  /** Call `then` when nothing more will come from the network, at once when that is so already. */
  whenSettled(then: () => void): void {
    if (this.#ended) then();
    else this.#settled.push(then);
  }

  /** From the parser: the next bytes. */
  push(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.receivedBytes += chunk.length;
    this.#watch.add(chunk.length);
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes >= highWaterBytes && !this.#paused) {
      this.#paused = true;
      this.#watch.stop();
      this.#control.pause();
      this.onHold?.(true);
    }
    this.#wakeUp();
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
    if (this.#ended) return;
    this.#finish();
    this.#control.abort(new Error('body cancelled'));
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
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
    this.#control.resume();
  }

  #finish(): void {
    this.#ended = true;
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
