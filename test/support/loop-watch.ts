/**
 * Preloaded into a daemon by the bench (`NODE_OPTIONS=--import …`): each time that its event loop was held up, written to
 * `$IMGFS_LOOP_FILE.<pid>` as a line of JSON.
 *
 * Where all processors are busy a thread is held up without doing anything: the kernel lets others run first. So what the
 * thread itself used of a processor meanwhile is told as well, where Linux counts it (`schedstat`).
 *
 * A timer measures itself: `monitorEventLoopDelay` forgets the turn during which it is reset, which is each one that is
 * longer than the time between two reports.
 */
import { appendFileSync, openSync, readSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

export interface HeldUp {
  /** When it began, in milliseconds since the epoch. */
  readonly from: number;
  /** How much later than it should the timer came. */
  readonly heldMs: number;
  /**
   * What the thread ran from one tick to the next, which is one turn when that took longer; null: not known. Linux counts it
   * when it stops the thread or at a tick of its own clock: a value may be 4 ms too high or too low.
   */
  readonly ranMs: number | null;
  /**
   * What a hypervisor took from all processors meanwhile or up to 50 ms before, in steps of 10 ms; null: not known. Nothing
   * of this machine runs then, whatever its priority.
   */
  readonly stolenMs: number | null;
}

/** As short as setInterval can be without being always late. */
const tickMs = 2;
/** Not told below: a timer of Node is up to 1 ms late by itself. */
const leastMs = 1.5;
/** The file is written seldom, since that takes time of the loop as well. */
const writeMs = 50;

const file = process.env['IMGFS_LOOP_FILE'];

/** Milliseconds that this thread ran, so far; NaN where nobody counts. */
function runClock(): () => number {
  const into = Buffer.alloc(128);
  try {
    const fd = openSync('/proc/thread-self/schedstat', 'r');
    return () => Number.parseInt(into.toString('latin1', 0, readSync(fd, into, 0, into.length, 0)), 10) / 1e6;
  } catch {
    return () => Number.NaN;
  }
}

/** Milliseconds that a hypervisor took from all processors (proc(5), "steal", in hundredths of a second); NaN where nobody counts. */
function stolenClock(): () => number {
  const into = Buffer.alloc(128);
  try {
    const fd = openSync('/proc/stat', 'r');
    return () =>
      Number(
        /^cpu +(?:\d+ ){7}(\d+)/.exec(into.toString('latin1', 0, readSync(fd, into, 0, into.length, 0)))?.[1],
      ) * 10;
  } catch {
    return () => Number.NaN;
  }
}

/** What such a file tells of the time after `readyAt`, in milliseconds since the epoch. */
export function heldUpSince(text: string, readyAt: number): HeldUp[] {
  const lines = text.split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as HeldUp).filter(({ from }) => from >= readyAt);
}

// `NODE_OPTIONS` reach threads as well: those of a daemon hash and list without pausing, which is what they are for.
if (file !== undefined && isMainThread) {
  const clock = runClock();
  const stolen = stolenClock();
  let ranBefore = clock();
  let stolenBefore = stolen();
  let before = performance.now();
  let waiting: HeldUp[] = [];
  setInterval(() => {
    const now = performance.now();
    const ran = clock();
    const heldMs = now - before - tickMs;
    if (heldMs >= leastMs)
      waiting.push({
        from: performance.timeOrigin + before,
        heldMs,
        ranMs: ran - ranBefore,
        stolenMs: stolen() - stolenBefore,
      });
    before = now;
    ranBefore = ran;
  }, tickMs).unref();
  setInterval(() => {
    stolenBefore = stolen();
    if (waiting.length === 0) return;
    appendFileSync(`${file}.${process.pid}`, waiting.map((turn) => `${JSON.stringify(turn)}\n`).join(''));
    waiting = [];
  }, writeMs).unref();
}
