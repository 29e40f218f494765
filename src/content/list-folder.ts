/**
 * Lists a folder of the cache, which may hold 100,000 entries, without holding the event loop up. By the addon, on a thread
 * that is there already: a helper thread takes 5 ms of the loop to start and 12 to end (30 MB of heap are unmapped then).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { folderAddon } from '../addon/folder-addon.js';
import type { HelperPool } from './helper-pool.js';
import { partEntries, unpackEntries, type ScannedEntry } from './scanned-entry.js';

/** The entry used longest ago comes first, in pieces with turns of the event loop in between. */
export async function listFolder(
  helpers: HelperPool,
  folder: string,
  onPart: (part: readonly ScannedEntry[]) => void,
): Promise<void> {
  const addon = folderAddon();
  if (addon === undefined) return helpers.scan(folder, onPart);
  const listing = await addon.list(folder);
  const total = addon.count(listing);
  for (let from = 0; from < total; from += partEntries) {
    onPart(unpackEntries(addon.part(listing, from, partEntries)));
    await nextTurn();
  }
}
