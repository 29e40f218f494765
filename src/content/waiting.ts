/** Waiting that a caller can give up. */
import { ImgfsError } from '../errors/imgfs-error.js';

/** The error for a signal that has fired: a deadline reads as `timeout`, all else as `interrupted`. */
export function abortError(signal: AbortSignal): ImgfsError {
  const reason: unknown = signal.reason;
  if (reason instanceof ImgfsError) return reason;
  const timedOut = reason instanceof Error && reason.name === 'TimeoutError';
  return timedOut
    ? new ImgfsError('timeout', 'the deadline passed', { cause: reason })
    : new ImgfsError('interrupted', 'the caller gave up', { cause: reason });
}

/** @throws ImgfsError `interrupted` or `timeout` when the signal has fired. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

/** The promise, or the signal's error if that comes first. The promise itself goes on. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(abortError(signal));
  }
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

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
      return await unlessAborted(this.#promise, signal);
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
