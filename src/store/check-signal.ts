/** Stores that answer from disk end too soon for a signal to matter while they work; before, it must. */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { CallOptions } from './store.js';

/** @throws ImgfsError `interrupted` when the caller has given up already. */
export function checkSignal(options: CallOptions | undefined, operation: string): void {
  if (options?.signal?.aborted !== true) return;
  throw new ImgfsError('interrupted', `${operation}: given up`, { cause: options.signal.reason });
}
