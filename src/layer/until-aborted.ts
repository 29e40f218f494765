/** Waits that can be given up. */
import { ImgfsError } from '../errors/imgfs-error.js';

/**
 * The promise, or the abort, whichever is first: work that others wait for as well goes on.
 * @throws ImgfsError `interrupted`, and what the promise rejects with.
 */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const interrupted = (): ImgfsError => new ImgfsError('interrupted', 'read layer: interrupted');
  if (signal.aborted) throw interrupted();
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(interrupted());
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
