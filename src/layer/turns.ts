/**
 * Lets others run while much is computed. All who compute share one budget: however many passes and merges are under
 * way, one turn of the event loop is held up once.
 */
import { ImgfsError } from '../errors/imgfs-error.js';

/**
 * Longest stretch of work: the event loop is promised 10 ms, and others have a turn as well. With 3 ms a whole turn took up
 * to 10.3 while layers were merged and old garbage was collected, with 2 up to 10.4 once jobs of the mount had as much.
 */
const stretchMs = 1;
/**
 * Steps between two looks at the clock. A step takes 0.1 to 2 µs, and 10 before V8 has optimized it: with 512 the first
 * stretches of a process took 8 ms.
 */
const stepsPerLook = 64;

/** When the stretch under way ends; long ago when nobody computes. */
let until = 0;
const waiting: (() => void)[] = [];

/** Runs once for each turn of the event loop: what is queued from here on waits for the next one. */
function startStretch(): void {
  until = performance.now() + stretchMs;
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(startStretch);
}

function nextStretch(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(startStretch);
  });
}

export class Turns {
  private readonly signal: AbortSignal | undefined;
  private steps = 0;

  constructor(signal?: AbortSignal) {
    this.signal = signal;
  }

  /** Count work done. True when it is time to `yield`. */
  step(count = 1): boolean {
    this.steps += count;
    if (this.steps < stepsPerLook) return false;
    this.steps = 0;
    return performance.now() >= until;
  }

  /** @throws ImgfsError `interrupted`. */
  async yield(): Promise<void> {
    await nextStretch();
    if (this.signal?.aborted === true) throw new ImgfsError('interrupted', 'read layers: interrupted');
  }

  /** Bytes copied count like steps: 1 MiB takes 0.1 to 0.5 ms. */
  async copied(bytes: number): Promise<void> {
    if (this.step(bytes / 2048)) await this.yield();
  }
}
