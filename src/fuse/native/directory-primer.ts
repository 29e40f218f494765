/**
 * Lists directories that are looked into by name, so that the addon answers there from then on. Programs that open
 * what they know by name (ld.so, Python's import, a build) never list a directory, and would ask JavaScript for each
 * name, and for each name that is absent.
 */
import { LRUCache } from 'lru-cache';
import type { Caller, Inode } from '../../vfs/file-system.js';
import type { AddonSession } from './addon-fuse.js';
import type { DirectoryLister } from './directory-lister.js';

/**
 * A lookup through JavaScript takes about 90 µs, an entry of a listing 2 µs: eight lookups have cost as much as a
 * listing of 360 entries, and whoever asks eight names will ask more.
 */
const lookupsBefore = 8;

/** A listing that could not be made, or that the addon dropped for lack of room, is not tried again before that. */
const againAfterMs = 60_000;

/** Directories that are counted at a time. */
const maxCounted = 4096;

interface Counted {
  lookups: number;
  /** When it was tried last, in milliseconds since the epoch. */
  triedAt: number;
}

export class DirectoryPrimer {
  readonly #lister: DirectoryLister;
  readonly #counted = new LRUCache<number, Counted>({ max: maxCounted });

  constructor(lister: DirectoryLister) {
    this.#lister = lister;
  }

  /** A name of this directory was looked up through JavaScript. Never throws, never waits. */
  note(session: AddonSession, directory: number, caller: Caller): void {
    let counted = this.#counted.get(directory);
    if (counted === undefined) this.#counted.set(directory, (counted = { lookups: 0, triedAt: 0 }));
    counted.lookups += 1;
    if (counted.lookups < lookupsBefore || Date.now() - counted.triedAt < againAfterMs) return;
    counted.lookups = 0;
    counted.triedAt = Date.now();
    // What fails here fails again, and is told, when somebody asks for it.
    this.#lister.list(session, directory as Inode, caller).catch(() => undefined);
  }
}
