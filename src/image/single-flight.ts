/** One piece of work for many callers: whoever asks while it is under way waits for the same answer. */
import { ImgfsError } from '../errors/imgfs-error.js';

interface Flight<Value> {
  readonly result: Promise<Value>;
  readonly controller: AbortController;
  waiters: number;
}

/** Rejects with `interrupted` as soon as `signal` fires; the promise itself goes on. */
export function untilAborted<Value>(
  promise: Promise<Value>,
  signal: AbortSignal | undefined,
): Promise<Value> {
  if (signal === undefined) return promise;
  return new Promise<Value>((resolve, reject) => {
    const abort = (): void => reject(abortError(signal));
    if (signal.aborted) {
      promise.catch(() => undefined);
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** The reason of an aborted signal as an ImgfsError: `interrupted` unless the reason is one already. */
export function abortError(signal: AbortSignal): ImgfsError {
  const reason: unknown = signal.reason;
  if (reason instanceof ImgfsError) return reason;
  const timedOut = reason instanceof Error && reason.name === 'TimeoutError';
  return timedOut
    ? new ImgfsError('timeout', 'the deadline of the operation passed', { cause: reason })
    : new ImgfsError('interrupted', 'the caller gave up', { cause: reason });
}

/** Work keyed by name. The work is cancelled only when nobody waits for it any more. */
export class SingleFlight<Value> {
  readonly #flights = new Map<string, Flight<Value>>();

  run(
    key: string,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<Value>,
  ): Promise<Value> {
    const known = this.#flights.get(key);
    const flight = known ?? this.#start(key, work);
    flight.waiters += 1;
    return untilAborted(flight.result, signal).finally(() => {
      flight.waiters -= 1;
      if (flight.waiters === 0) this.#abandon(key, flight);
    });
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<Value>): Flight<Value> {
    const controller = new AbortController();
    const result = work(controller.signal);
    const flight: Flight<Value> = { result, controller, waiters: 0 };
    this.#flights.set(key, flight);
    const settled = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    result.then(settled, settled);
    return flight;
  }

  #abandon(key: string, flight: Flight<Value>): void {
    if (this.#flights.get(key) !== flight) return;
    this.#flights.delete(key);
    flight.controller.abort(new ImgfsError('interrupted', 'nobody waits for it any more'));
  }
}
