/**
 * Asks the kernel to run this thread first, as whoever reads a mount waits for it. Measured on two processors with three
 * busy loops of other sessions and four hashing threads of this process beside a thread that works 30 % of its time
 * (Linux 6.18, two rounds of 4 s each): a timer of 2 ms was at most 83 and 88 ms late without any of this, 16 and 19 ms with
 * a lower nice value for the thread alone and its session, 6 and 8 ms with a slice of 1 ms besides.
 */
import { writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { loadAddon } from './load-addon.js';

interface ThreadAddon {
  /** Returns errno, or 0. */
  prefer(nice: number, sliceUs: number): number;
}

/** As far above ordinary ones as a thread of one in ten is below the top: -20 would leave nothing for more urgent things. */
const preferredNice = -10;

/**
 * What the thread asks for at a time, in microseconds; who asks for less waits less (EEVDF, Linux 6.12). Ordinary
 * threads get 3 ms, and one turn of the event loop takes 0.1 to 4.
 */
const sliceUs = 1_000;

const ordinaryNice = 0;

/** What was granted: `nice` is that of the thread now; undefined where the addon is missing or the kernel refused. */
export interface ThreadPreference {
  readonly nice: number | undefined;
}

/**
 * Prefer the thread that calls. Its threads and children stay ordinary. Without the right to a lower nice value it only asks for
 * short slices. A process that was started with another nice value keeps that: somebody chose it.
 * @param ownSession the process leads a session of its own: Linux schedules sessions against each other before it looks
 *   at threads (sched(7), "The autogroup feature"), so the session is preferred as well.
 */
export function preferThisThread(ownSession: boolean): ThreadPreference {
  const addon = loadAddon().addon as { readonly thread?: Partial<ThreadAddon> } | undefined;
  const prefer = addon?.thread?.prefer?.bind(addon.thread);
  if (prefer === undefined) return { nice: undefined };
  const found = getPriority();
  if (found !== ordinaryNice) return { nice: prefer(found, sliceUs) === 0 ? found : undefined };
  if (prefer(preferredNice, sliceUs) !== 0)
    return { nice: prefer(ordinaryNice, sliceUs) === 0 ? ordinaryNice : undefined };
  if (ownSession) preferSession();
  return { nice: preferredNice };
}

function preferSession(): void {
  try {
    writeFileSync('/proc/self/autogroup', String(preferredNice));
  } catch {
    // Kernels without it, and those where control groups decide: the thread's own nice value is all there is.
  }
}
