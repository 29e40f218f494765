/** Takes entries into a table without holding up the thread. */
import type { EntryTable } from '../index/entry-table.js';
import { decodeEntry } from '../tar/entry-record.js';
import type { Turns } from '../turns.js';

/** A record takes about as long as this many steps of `Turns`. */
const stepsPerEntry = 4;

/** `records` are as in `tar/entry-record.ts`. @throws ImgfsError `too-large`, `interrupted`. */
export async function appendEntries(table: EntryTable, records: Uint8Array, turns: Turns): Promise<void> {
  for (let at = 0; at < records.length;) {
    const { entry, next } = decodeEntry(records, at);
    table.append(entry);
    at = next;
    if (turns.step(stepsPerEntry)) await turns.yield();
  }
}
