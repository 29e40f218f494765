/** One line of progress on a terminal, for anything longer than a second; nothing otherwise. */
import type { Output } from './output.js';

/** What takes less needs no progress. */
const quietMs = 1_000;

/** A person reads ten lines a second at most. */
const redrawMs = 100;

export interface Progress {
  update(text: string): void;
  /** Clear the line. Call once, also after a failure. */
  done(): void;
}

/** Progress of the work called `title`. */
export function createProgress(title: string, out: Output): Progress {
  const startedAt = Date.now();
  let drawnAt = 0;
  return {
    update: (text) => {
      const now = Date.now();
      if (!out.interactive || now - startedAt < quietMs || now - drawnAt < redrawMs) return;
      drawnAt = now;
      const line = `${title}: ${out.printable(text)}`;
      process.stderr.write(`\r\u001b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    },
    done: () => {
      if (drawnAt > 0) process.stderr.write('\r\u001b[K');
    },
  };
}
