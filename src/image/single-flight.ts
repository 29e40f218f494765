/** One piece of work for many callers: whoever asks while it is under way waits for the same answer. */
import { untilAborted } from '../errors/aborted.js';
import { ImgfsError } from '../errors/imgfs-error.js';

interface Flight<Value> {
  readonly result: Promise<Value>;
  readonly controller: AbortController;
  waiters: number;
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
