/**
 * Asks the kernel to run this thread first, as whoever reads a mount waits for it. Measured on two processors with three
 * busy loops of other sessions and four hashing threads of this process beside a thread that works 30 % of its time
 * (Linux 6.18, two rounds of 4 s each): a timer of 2 ms was at most 83 and 88 ms late without any of this, 16 and 19 ms with
 * a lower nice value for the thread alone and its session, 6 and 8 ms with a slice of 1 ms besides.
 *
 * JavaScript waits for other threads as well: for locks that threads of libuv's pool hold, and at each collection of garbage
 * for those of V8 to come to a stop. Where they are ordinary ones and were put off in that moment, the preferred thread
 * waits as long as they do: 4 to 11 ms were seen for each, with neither a processor used nor asked for. So they are preferred
 * as well. While the addon computes on them they are ordinary and have a longer slice than this one
 * (native/src/ordinary-work.h).
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { loadAddon } from './load-addon.js';

interface ThreadAddon {
  /** `thread` as in /proc/self/task, 0: the calling one. Returns errno, or 0. */
  prefer(thread: number, nice: number, sliceUs: number): number;
}

/**
 * Of the thread, of those that it waits for, and of the session. At -20 for the thread alone it had to let others run less
 * often, but Linux shares what a session has between processors by the weight of its threads there: beside two busy
 * loops of another session the rest of this process was put off, and the thread was held up 20 and 40 ms instead of 12 and 25.
 */
const preferredNice = -10;

/**
 * What the thread asks for at a time, in microseconds; who asks for less waits less (EEVDF, Linux 6.12). Ordinary
 * threads get 0.7 ms for each doubling of the processors and 0.7 more, and one turn of the event loop takes 0.1 to 4.
 */
const sliceUs = 1_000;

const ordinaryNice = 0;
const self = 0;

/** What was granted: `nice` is that of the thread now; undefined where the addon is missing or the kernel refused. */
export interface ThreadPreference {
  readonly nice: number | undefined;
}

/**
 * Prefer the thread that calls and those that the process has by now, which are Node's. Threads and children that come later
 * are ordinary. Without the right to a lower nice value it only asks for short slices. A process that was started with
 * another nice value keeps that: somebody chose it.
 * @param ownSession the process leads a session of its own: Linux schedules sessions against each other before it looks
 *   at threads (sched(7), "The autogroup feature"), so the session is preferred as well.
 */
export function preferThisThread(ownSession: boolean): ThreadPreference {
  const addon = loadAddon().addon as { readonly thread?: Partial<ThreadAddon> } | undefined;
  const prefer = addon?.thread?.prefer?.bind(addon.thread);
  if (prefer === undefined) return { nice: undefined };
  const found = getPriority();
  if (found !== ordinaryNice) return { nice: prefer(self, found, sliceUs) === 0 ? found : undefined };
  if (prefer(self, preferredNice, sliceUs) !== 0)
    return { nice: prefer(self, ordinaryNice, sliceUs) === 0 ? ordinaryNice : undefined };
  for (const thread of otherThreads()) prefer(thread, preferredNice, sliceUs);
  if (ownSession) preferSession();
  return { nice: preferredNice };
}

/** Threads of V8 and of libuv's pool: both are there since Node has loaded what calls this. */
function otherThreads(): number[] {
  try {
    return readdirSync('/proc/self/task')
      .map(Number)
      .filter((thread) => thread !== process.pid);
  } catch {
    return [];
  }
}

function preferSession(): void {
  try {
    writeFileSync('/proc/self/autogroup', String(preferredNice));
  } catch {
    // Kernels without it, and those where control groups decide: the thread's own nice value is all there is.
  }
}
