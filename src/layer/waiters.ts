/** Those who wait for something to change. */
import { ImgfsError } from '../errors/imgfs-error.js';

export class Waiters {
  private readonly waiting = new Set<() => void>();

  /** Resolves at the next `wake`. @throws ImgfsError `interrupted`. */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.waiting.delete(done);
        signal?.removeEventListener('abort', stop);
        resolve();
      };
      const stop = (): void => {
        this.waiting.delete(done);
        reject(new ImgfsError('interrupted', 'wait for layer: interrupted'));
      };
      if (signal?.aborted === true) {
        stop();
        return;
      }
      signal?.addEventListener('abort', stop, { once: true });
      this.waiting.add(done);
    });
  }

  wake(): void {
    const waiting = [...this.waiting];
    for (const done of waiting) done();
  }
}
