/** Waiting that a caller can give up. */
import { abortError, untilAborted } from '../errors/aborted.js';

/** Resolves after `ms`, or rejects when the signal fires. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(abortError(signal));
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Work that several callers wait for: each may give up alone; when the last one has, the work is told to stop.
 */
export class SharedWork<T> {
  readonly #controller = new AbortController();
  readonly #promise: Promise<T>;
  #waiting = 0;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#promise = work(this.#controller.signal);
    // Nobody may be waiting when it fails.
    this.#promise.catch(() => undefined);
  }

  /** True when everybody gave up: a newcomer must start anew. */
  get abandoned(): boolean {
    return this.#controller.signal.aborted;
  }

  async wait(signal: AbortSignal | undefined): Promise<T> {
    this.#waiting += 1;
    try {
      return await untilAborted(this.#promise, signal);
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#controller.abort();
    }
  }

  /** Settles when the work has, however it ended. */
  async settled(): Promise<void> {
    await this.#promise.catch(() => undefined);
  }
}
