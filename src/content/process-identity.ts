/**
 * Who a process is, over pid reuse and reboots: boot id, pid namespace, pid and start time (proc(5)).
 * Where there is no /proc the pid alone has to do.
 */
import { readFileSync, readlinkSync } from 'node:fs';

export interface ProcessIdentity {
  /** First 8 hex digits of the boot id: two boots of one machine do not share them by chance. */
  readonly boot: string;
  /** Inode of the pid namespace: a pid means nothing outside it. */
  readonly namespace: string;
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks from boot to start. */
  readonly startTicks: string;
}

function readOr(read: () => string, fallback: string): string {
  try {
    return read();
  } catch {
    return fallback;
  }
}

/** Start time of a live process; undefined when there is no such process. */
function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name is in parentheses and may hold anything: count fields behind the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie holds no files any more.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

let own: ProcessIdentity | undefined;

export function ownIdentity(): ProcessIdentity {
  own ??= {
    boot: readOr(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8), 'noboot'),
    namespace: readOr(() => readlinkSync('/proc/self/ns/pid').replace(/\D/gu, ''), '0'),
    pid: process.pid,
    startTicks: startTicksOf(process.pid) ?? '0',
  };
  return own;
}

/** `alive` and `dead` are certain; `unknown` where this process cannot see the other (container, machine). */
export function lifeOf(other: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
  const self = ownIdentity();
  if (other.boot !== self.boot || other.namespace !== self.namespace) return 'unknown';
  if (self.startTicks !== '0') return startTicksOf(other.pid) === other.startTicks ? 'alive' : 'dead';
  try {
    process.kill(other.pid, 0);
    return 'alive';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'dead' : 'alive';
  }
}
