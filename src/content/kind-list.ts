/**
 * The entries of one kind on disk, in order of use, with their bytes.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { ScannedEntry } from './scanned-entry.js';

/** A kind of entry under the common bound. Keys are file or folder names inside `folder`. */
export interface EvictableKind {
  readonly name: string;
  /** Folder whose entries these are. */
  readonly folder: string;
  /** Entries count as used so much later than they were, in milliseconds: dear to make, small to keep. */
  readonly bonusMs?: number;
  /** Whether a name in the folder is an entry at all. */
  accepts(key: string): boolean;
  /**
   * Remove it from disk. False when it must stay: pinned, in use, or owned by another process. A number when it stays
   * but got smaller by so many bytes.
   */
  evict(key: string): Promise<boolean | number>;
}

interface Entry {
  bytes: number;
  usedMs: number;
  /** Number of the last comparison with the disk that saw it. */
  seen: number;
  /** This process is writing it: what a listing saw of it was true a moment ago at best. */
  readonly owned?: boolean;
}

export interface KindUsage {
  readonly entries: number;
  readonly bytes: number;
}

/** What a kind tells the ledger. */
export interface KindLedger {
  /** The entry is on disk with so many bytes, and used now. */
  set(key: string, bytes: number): void;
  /**
   * As `set`, for what this process is writing: until the next `set` or `delete` no listing changes it. A listing may
   * have looked before the bytes were there, or before they moved on; and on some file systems a folder has no blocks.
   * Room for it was reserved: nothing is evicted on account of it.
   */
  own(key: string, bytes: number): void;
  /** The entry grew by so many bytes. */
  grow(key: string, bytes: number): void;
  /** The entry was used. */
  touch(key: string): void;
  /** The entry is gone. */
  delete(key: string): void;
  usage(): KindUsage;
}

/** Keys looked at in one go: 0.2 ms. */
const sliceKeys = 1000;
/** Victims taken from the end of the list at a time. */
const queueKeys = 512;

export class KindList implements KindLedger {
  readonly kind: EvictableKind;
  readonly entries: LRUCache<string, Entry>;
  bytes = 0;
  #round = 0;
  readonly #onGrow: () => void;
  /** Entries that went while the disk is being compared: the listing may have seen them before. */
  #goneMeanwhile: Set<string> | undefined;

  constructor(kind: EvictableKind, onGrow: () => void = () => undefined) {
    this.kind = kind;
    this.#onGrow = onGrow;
    // Unbounded by itself: the ledger's bound is over all kinds, and removing is asynchronous.
    this.entries = new LRUCache({ maxSize: Number.MAX_SAFE_INTEGER, sizeCalculation: () => 1 });
  }

  set(key: string, bytes: number): void {
    const before = this.bytes;
    this.#set(key, bytes, false);
    if (this.bytes > before) this.#onGrow();
  }

  own(key: string, bytes: number): void {
    this.#set(key, bytes, true);
  }

  #set(key: string, bytes: number, owned: boolean): void {
    const before = this.entries.peek(key)?.bytes ?? 0;
    this.bytes += bytes - before;
    this.entries.set(key, { bytes, usedMs: Date.now(), seen: this.#round, owned });
  }

  grow(key: string, bytes: number): void {
    const entry = this.entries.get(key);
    if (entry === undefined) this.set(key, bytes);
    else {
      entry.bytes += bytes;
      entry.usedMs = Date.now();
      this.bytes += bytes;
    }
    this.#onGrow();
  }

  #shrink(key: string, byBytes: number): void {
    const entry = this.entries.peek(key);
    if (entry === undefined) return;
    this.bytes -= Math.min(entry.bytes, byBytes);
    entry.bytes = Math.max(0, entry.bytes - byBytes);
  }

  touch(key: string): void {
    const entry = this.entries.get(key);
    if (entry !== undefined) entry.usedMs = Date.now();
  }

  delete(key: string): void {
    this.bytes -= this.entries.peek(key)?.bytes ?? 0;
    this.entries.delete(key);
    this.#goneMeanwhile?.add(key);
  }

  usage(): KindUsage {
    return { entries: this.entries.size, bytes: this.bytes };
  }

  /** Begin to compare with the disk: entries come in pieces, the one used longest ago first. */
  compare(): { take(part: readonly ScannedEntry[]): void; end(): Promise<void> } {
    const startedMs = Date.now();
    const round = (this.#round += 1);
    const knownBefore = round === 1 ? [...this.entries.rkeys()] : [];
    const gone = (this.#goneMeanwhile = new Set<string>());
    return {
      take: (part) => {
        for (const { name, bytes, usedMs } of part) {
          if (!this.kind.accepts(name)) continue;
          const entry = this.entries.peek(name);
          if (entry === undefined) {
            if (gone.has(name)) continue;
            this.entries.set(name, { bytes, usedMs, seen: round });
            this.bytes += bytes;
            continue;
          }
          entry.seen = round;
          // Used since the listing began: what we know is newer.
          if (entry.owned === true || entry.usedMs >= startedMs) continue;
          this.bytes += bytes - entry.bytes;
          entry.bytes = bytes;
        }
      },
      end: async () => {
        // Entries of this process were there before the disk was listed, and are the newest all the same.
        for (const key of knownBefore) this.entries.get(key);
        this.#goneMeanwhile = undefined;
        await this.#sweep(round, startedMs);
      },
    };
  }

  /** Forget entries that a comparison did not find, unless they were made since it began. */
  async #sweep(round: number, startedMs: number): Promise<void> {
    const isGone = (key: string): boolean => {
      const entry = this.entries.peek(key);
      const isKept = entry === undefined || entry.owned === true || entry.usedMs >= startedMs;
      return !isKept && entry.seen !== round;
    };
    const gone: string[] = [];
    let looked = 0;
    for (const key of this.entries.keys()) {
      if (isGone(key)) gone.push(key);
      if ((looked += 1) % sliceKeys === 0) await nextTurn();
    }
    // It may have been made anew in a turn between.
    for (const key of gone) if (isGone(key)) this.delete(key);
  }

  /** The entries as victims, the one used longest ago first. An entry that may not go is passed over. */
  queue(): { readonly headMs: number; evictHead(): Promise<number | undefined> } {
    const passed = new Set<string>();
    const keys: string[] = [];
    let exhausted = false;
    const head = (): string | undefined => {
      if (keys.length === 0 && !exhausted) {
        for (const key of this.entries.rkeys()) {
          if (!passed.has(key)) keys.push(key);
          if (keys.length >= queueKeys) break;
        }
        keys.reverse();
        exhausted = keys.length === 0;
      }
      return keys.at(-1);
    };
    const usedMs = (key: string): number => (this.entries.peek(key)?.usedMs ?? 0) + (this.kind.bonusMs ?? 0);
    return {
      /** Infinity when there are no more. */
      get headMs() {
        const key = head();
        return key === undefined ? Infinity : usedMs(key);
      },
      /** Bytes freed; undefined when it stays. */
      evictHead: async () => {
        const key = head();
        if (key === undefined) return undefined;
        keys.pop();
        passed.add(key);
        const bytes = this.entries.peek(key)?.bytes;
        const gone = bytes === undefined ? false : await this.kind.evict(key).catch(() => false);
        if (bytes === undefined || gone === false || gone === 0) return undefined;
        if (gone === true) this.delete(key);
        else {
          this.#shrink(key, gone);
          // There may be more to give.
          keys.push(key);
        }
        return gone === true ? bytes : gone;
      },
    };
  }
}
