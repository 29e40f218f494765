/**
 * Which process a request comes from. The kernel names the thread; close(2) may be called by another thread than
 * open(2), and by a child that inherited the descriptor, whose close means nothing.
 */
import { readFile } from 'node:fs/promises';

/** Process of a thread; the number itself where it cannot be told (another namespace, no /proc, already gone). */
export async function processOf(thread: number): Promise<number> {
  if (thread <= 0) return 0;
  try {
    const match = /^Tgid:\s+(\d+)$/mu.exec(await readFile(`/proc/${thread}/status`, 'latin1'));
    return match === null ? thread : Number(match[1]);
  } catch {
    return 0;
  }
}

/** True unless the two are certainly different processes. */
export function isSameProcess(a: number, b: number): boolean {
  return a === 0 || b === 0 || a === b;
}
