/** A limit in time for work that takes no AbortSignal. */
import { untilAborted as untilSignal } from '../../../errors/aborted.js';
import { ImgfsError } from '../../../errors/imgfs-error.js';

/**
 * The outcome of `work`, or a `timeout` error when it takes longer than `limitMs`. The work itself goes on and its
 * outcome is dropped: use only for what cannot be cancelled and harms nobody when it ends late.
 */
export async function withDeadline<T>(work: Promise<T>, limitMs: number, operation: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ImgfsError('timeout', `${operation}: no answer within ${limitMs} ms`, { operation }));
    }, limitMs);
    timer.unref();
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

const interrupted = (signal: AbortSignal): ImgfsError =>
  new ImgfsError('interrupted', 'interrupted while waiting', { cause: signal.reason });

/**
 * The outcome of `work`, or an `interrupted` error as soon as the signal fires. For work that is shared with others
 * and must not stop because one of them lost interest.
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return untilSignal(work, signal, interrupted);
}
