/**
 * Ends a transfer that is too slow: fewer than `minBytesPerSecond × window` bytes in any sliding window of network
 * time. A pause because of our own consumer stops the clock.
 */

export interface StallLimit {
  readonly windowMs: number;
  readonly minBytesPerSecond: number;
}

/** Parts of the window: a stall is seen at most one part late, and a transfer costs a timer each part. */
const parts = 4;

export class StallWatch {
  readonly #limit: StallLimit;
  readonly #onStall: (bytes: number) => void;
  /** Bytes of the parts of the window, the running one last. */
  #counts: number[] = [0];
  #timer: NodeJS.Timeout | undefined;

  constructor(limit: StallLimit, onStall: (bytes: number) => void) {
    this.#limit = limit;
    this.#onStall = onStall;
  }

  /** Start or go on. A new window begins: what came before a pause does not count. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#counts = [0];
    this.#timer = setInterval(() => this.#tick(), this.#limit.windowMs / parts);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  add(bytes: number): void {
    const last = this.#counts.length - 1;
    this.#counts[last] = (this.#counts[last] ?? 0) + bytes;
  }

  #tick(): void {
    if (this.#counts.length >= parts) {
      const bytes = this.#counts.reduce((sum, count) => sum + count, 0);
      if (bytes < (this.#limit.minBytesPerSecond * this.#limit.windowMs) / 1000) {
        this.stop();
        this.#onStall(bytes);
        return;
      }
      this.#counts.shift();
    }
    this.#counts.push(0);
  }
}
