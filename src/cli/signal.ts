/** SIGINT and SIGTERM as an AbortSignal. */
import { ImgfsError } from '../errors/imgfs-error.js';

/** Exit status of a process ended by a signal, as shells report it: 128 + SIGINT (2). */
export const interruptedExit = 130;

/** Aborts at the first SIGINT or SIGTERM, ends the process at the second. */
export function signalOfProcess(): AbortSignal {
  const abort = new AbortController();
  const stop = (): void => {
    if (abort.signal.aborted) process.exit(interruptedExit);
    abort.abort(new ImgfsError('interrupted', 'stopped by a signal'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return abort.signal;
}
