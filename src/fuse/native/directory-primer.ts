/**
 * Lists directories that are looked into by name, so that the addon answers there from then on. Programs that open
 * what they know by name (ld.so, Python's import, a build) never list a directory, and would ask JavaScript for each
 * name, and for each name that is absent.
 */
import { LRUCache } from 'lru-cache';
import type { Caller, DirectoryEntry, FileSystem, Inode } from '../../vfs/file-system.js';
import type { AddonSession } from './addon-fuse.js';
import { EntryPacker } from './packed-entry.js';

/**
 * A lookup through JavaScript takes about 90 µs, an entry of a listing 2 µs: eight lookups have cost as much as a
 * listing of 360 entries, and whoever asks eight names will ask more.
 */
const lookupsBefore = 8;

/** Longer directories are left alone: 4096 entries are 8 ms of JavaScript, in 16 turns. */
const maxEntries = 4096;
const entriesPerPage = 256;

/** A listing that could not be made, or that the addon dropped for lack of room, is not tried again before that. */
const againAfterMs = 60_000;

/** Directories that are counted at a time. */
const maxCounted = 4096;

interface Counted {
  lookups: number;
  /** When it was tried last, in milliseconds since the epoch. */
  triedAt: number;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

export class DirectoryPrimer {
  readonly #fileSystem: FileSystem;
  readonly #timeoutMs: number;
  readonly #counted = new LRUCache<number, Counted>({ max: maxCounted });

  constructor(fileSystem: FileSystem, timeoutMs: number) {
    this.#fileSystem = fileSystem;
    this.#timeoutMs = timeoutMs;
  }

  /** A name of this directory was looked up through JavaScript. Never throws, never waits. */
  note(session: AddonSession, directory: number, caller: Caller): void {
    let counted = this.#counted.get(directory);
    if (counted === undefined) this.#counted.set(directory, (counted = { lookups: 0, triedAt: 0 }));
    counted.lookups += 1;
    if (counted.lookups < lookupsBefore || Date.now() - counted.triedAt < againAfterMs) return;
    counted.lookups = 0;
    counted.triedAt = Date.now();
    const { uid, gid, pid } = caller;
    const signal = AbortSignal.timeout(this.#timeoutMs);
    // What fails here fails again, and is told, when somebody asks for it.
    this.#list(session, directory as Inode, { uid, gid, pid, signal }).catch(() => undefined);
  }

  async #list(session: AddonSession, directory: Inode, caller: Caller): Promise<void> {
    // What is not at hand might ask a registry for its tags.
    if (this.#fileSystem.listsAtOnce?.(directory) !== true) return;
    const { handle, keepCache, complete } = await this.#fileSystem.opendir(caller, directory);
    const entries: DirectoryEntry[] = [];
    let taken = false;
    try {
      if (!keepCache || complete !== true) return;
      for (let cookie = 0n; ;) {
        const options = { limit: entriesPerPage, plus: true };
        const page = await this.#fileSystem.readdir(caller, directory, handle, cookie, options);
        entries.push(...page.entries);
        if (page.end || page.entries.length === 0) break;
        if (entries.length + entriesPerPage > maxEntries) return;
        cookie = page.entries.at(-1)?.next ?? 0n;
        // What is at hand is answered in the same turn: others want theirs.
        await nextTurn();
      }
      const packed = new EntryPacker(entries.length * 128);
      for (const entry of entries) packed.add(entry);
      taken = session.putListing(directory, packed.bytes, packed.length);
    } finally {
      if (!taken) this.#giveBack(entries);
      await this.#fileSystem.releasedir(handle);
    }
  }

  #giveBack(entries: readonly DirectoryEntry[]): void {
    for (const { entry } of entries) {
      if (entry !== undefined) this.#fileSystem.forget(entry.attributes.inode, 1);
    }
  }
}
