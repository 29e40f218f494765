/** Waits that can be given up. */
import { untilAborted as untilSignal } from '../errors/aborted.js';
import { ImgfsError } from '../errors/imgfs-error.js';

const interrupted = (): ImgfsError => new ImgfsError('interrupted', 'read layer: interrupted');

/**
 * The promise, or the abort, whichever is first: work that others wait for as well goes on.
 * @throws ImgfsError `interrupted`, also when a deadline aborted it, and what the promise rejects with.
 */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return untilSignal(promise, signal, interrupted);
}
