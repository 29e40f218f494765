/** Time for a hypervisor to take memory away that became free, for who measures what slows down meanwhile. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Linux offers what became free to a hypervisor after 2 s (mm/page_reporting.c); how long that takes it depends on how much it
 * is. Nothing is waited for where there is none.
 */
export async function letMemoryGo(ms: number): Promise<void> {
  if (existsSync('/sys/module/page_reporting')) await sleep(ms);
}
