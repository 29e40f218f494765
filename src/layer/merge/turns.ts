/** Lets others run while much is computed. */
import { ImgfsError } from '../../errors/imgfs-error.js';

/** Longest stretch of work: the event loop is promised 10 ms. */
const stretchMs = 4;
/** Steps between two looks at the clock; a step takes 0.1 to 2 µs. */
const stepsPerLook = 512;

export class Turns {
  private readonly signal: AbortSignal | undefined;
  private steps = 0;
  private until = performance.now() + stretchMs;

  constructor(signal?: AbortSignal) {
    this.signal = signal;
  }

  /** Count work done. True when it is time to `yield`. */
  step(count = 1): boolean {
    this.steps += count;
    if (this.steps < stepsPerLook) return false;
    this.steps = 0;
    return performance.now() >= this.until;
  }

  /** @throws ImgfsError `interrupted`. */
  async yield(): Promise<void> {
    await new Promise((resolve) => void setImmediate(resolve));
    if (this.signal?.aborted === true) throw new ImgfsError('interrupted', 'merge layers: interrupted');
    this.until = performance.now() + stretchMs;
  }
}
