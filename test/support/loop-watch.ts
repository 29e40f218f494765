/**
 * Preloaded into a daemon by the bench (`NODE_OPTIONS=--import …`): how long its event loop was held up, written to
 * `$IMGFS_LOOP_FILE.<pid>` as lines of JSON, one for each `reportMs`.
 *
 * Where all processors are busy a thread is held up without doing anything: the kernel lets others run first. So what the
 * thread itself used of a processor in one turn is told as well, where Linux counts it (`schedstat`).
 */
import { appendFileSync, openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface LoopReport {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The longest time that the loop was held up. */
  readonly longestMs: number;
  /** The most that the thread ran between two ticks of 2 ms, which is one turn when that took longer; null: not known. */
  readonly longestRunMs: number | null;
}

/** Short, so that little of what came before a moment is in the report that spans it. */
export const reportMs = 50;

const file = process.env['IMGFS_LOOP_FILE'];
/** The timer that the histogram is made of; its own length is in every value. */
const resolutionMs = 2;

/** Milliseconds that this thread ran, so far; undefined where nobody counts. */
function runClock(): () => number {
  const into = Buffer.alloc(128);
  try {
    const fd = openSync('/proc/thread-self/schedstat', 'r');
    return () => Number.parseInt(into.toString('latin1', 0, readSync(fd, into, 0, into.length, 0)), 10) / 1e6;
  } catch {
    return () => Number.NaN;
  }
}

/** Of reports in such a file: all but those of which an ordinary one began before the process was ready. */
export function reportsSince(text: string, readyAt: number): LoopReport[] {
  const reports = text.split('\n').filter(Boolean);
  return reports.map((line) => JSON.parse(line) as LoopReport).filter(({ at }) => at > readyAt + reportMs);
}

// `NODE_OPTIONS` reach threads as well: those of a daemon hash and list without pausing, which is what they are for.
if (file !== undefined && isMainThread) {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  const clock = runClock();
  let before = clock();
  let longestRunMs = 0;
  setInterval(() => {
    const now = clock();
    longestRunMs = Math.max(longestRunMs, now - before);
    before = now;
  }, resolutionMs).unref();
  setInterval(() => {
    const longestMs = Math.max(0, histogram.max / 1e6 - resolutionMs);
    const report: LoopReport = { at: Date.now(), longestMs, longestRunMs };
    appendFileSync(`${file}.${process.pid}`, `${JSON.stringify(report)}\n`);
    histogram.reset();
    longestRunMs = 0;
  }, reportMs).unref();
}
