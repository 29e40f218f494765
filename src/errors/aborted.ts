/** Waiting that a caller can give up: what an AbortSignal means, in one place. */
import { ImgfsError } from './imgfs-error.js';

/** The error for a signal that has fired: a deadline reads as `timeout`, all else as `interrupted`. */
export function abortError(signal: AbortSignal): ImgfsError {
  const reason: unknown = signal.reason;
  if (reason instanceof ImgfsError) return reason;
  const timedOut = reason instanceof Error && reason.name === 'TimeoutError';
  return timedOut
    ? new ImgfsError('timeout', 'the deadline of the operation passed', { cause: reason })
    : new ImgfsError('interrupted', 'the caller gave up', { cause: reason });
}

/** @throws ImgfsError `interrupted` or `timeout` when the signal has fired. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal);
}

/**
 * The promise, or the signal's error if that comes first. The promise itself goes on: others may wait for it as well.
 * @param errorOf what a signal that has fired becomes.
 * @throws ImgfsError of `errorOf`, and what the promise rejects with.
 */
export function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  errorOf: (signal: AbortSignal) => ImgfsError = abortError,
): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(errorOf(signal));
  }
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(errorOf(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
