/**
 * The bound of the cache: what is on disk, in bytes, per kind of entry, and what goes first when room is needed.
 *
 * Every kind (complete blobs, partial blobs, and those that rooms above register: layer indexes, decoded layers)
 * has its own list in order of use. The victim is the entry used longest ago among the ends of these lists.
 * Entries are found by listing the folders in the background after the start; until that is done nothing is
 * evicted and nothing waits. Other processes add and remove entries too: the lists are compared with the disk
 * again while room is asked for, at most a tenth of the time; and, however late that comes, before more was promised
 * than the slack. So n processes that are held up at any instant, each with what the others added not seen yet, are
 * together over the bound by n times the slack (or n windows, where a window is more): 3 % of 10 GiB each.
 */
import { createLogger } from '../observe/log.js';
import { evictedBytes, evictions } from './content-metrics.js';
import type { ScannedEntry } from './scanned-entry.js';
import { KindList, type EvictableKind, type KindLedger, type KindUsage } from './kind-list.js';

const log = createLogger('content');

/** After making room, this share of the bound is free: 3 % of 10 GiB is 38 windows of 8 MiB. */
const slack = 0.03;
/** Comparing with the disk takes at most a tenth of the time. */
const rescanFactor = 10;
const rescanFloorMs = 100;
/** After no room could be made, reads go through memory for so long before it is tried again. */
const giveUpMs = 1000;
/** The first listing waits so long: a short command is over by then. */
const listDelayMs = 500;
/** …unless so much is about to be added. */
const listForBytes = 4 << 20;

/** Growth is looked at so often: at 300 MB/s of decoding, 30 MB over the bound. */
const keepWithinMs = 100;
/** …and, when all of it is in use, less and less often. */
const maxKeepRetryMs = 60_000;

/** File systems give whole blocks of 4 KiB. */
export const onDisk = (bytes: number): number => Math.ceil(bytes / 4096) * 4096;

type Scan = (folder: string, onPart: (part: readonly ScannedEntry[]) => void) => Promise<void>;

/** Room promised to a transfer before its bytes arrive. */
export interface Reservation {
  /** So many of the reserved bytes are on disk now, and counted there. */
  use(bytes: number): void;
  release(): void;
}

export class Ledger {
  readonly maxBytes: number;
  readonly #scan: Scan;
  readonly #lists: KindList[] = [];
  #reserved = 0;
  /** Promised since the last listing began: no other process that listed before has seen it, nor this one theirs. */
  #unlisted = 0;
  #scanning: Promise<void> | undefined;
  #scannedOnce = false;
  #nextScanMs = 0;
  #evicting: Promise<boolean> | undefined;
  #hopelessUntilMs = 0;
  #keptWithinMs = 0;
  #keepRetryMs = keepWithinMs;
  #keepTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #listTimer: NodeJS.Timeout | undefined;
  /** Called before entries are chosen: loads what must stay. */
  readonly #prepare: () => Promise<void>;

  constructor(maxBytes: number, scan: Scan, prepare: () => Promise<void>) {
    this.maxBytes = maxBytes;
    this.#scan = scan;
    this.#prepare = prepare;
  }

  /** Put a kind of entry under the bound. */
  register(kind: EvictableKind): KindLedger {
    const list = new KindList(kind, () => this.#keepWithin());
    this.#lists.push(list);
    if (this.#scannedOnce) this.#nextScanMs = 0;
    return list;
  }

  /** Bytes on disk, as far as known. */
  get bytes(): number {
    return this.#lists.reduce((sum, list) => sum + list.bytes, 0);
  }

  get scanned(): boolean {
    return this.#scannedOnce;
  }

  usage(): Record<string, KindUsage> {
    return Object.fromEntries(this.#lists.map((list) => [list.kind.name, list.usage()]));
  }

  /** The cache is being closed: a listing that breaks off is no news. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#listTimer);
    clearTimeout(this.#keepTimer);
  }

  /** Resolves when no listing and no eviction is under way. */
  async settled(): Promise<void> {
    await this.#scanning;
    await this.#evicting?.catch(() => undefined);
  }

  /** Have the cache listed once, in a moment. Nobody waits for it. */
  listInBackground(): void {
    this.#listTimer ??= setTimeout(() => void this.rescan(), listDelayMs).unref();
  }

  /** Compare with the disk. Single flight; never fails. */
  rescan(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    clearTimeout(this.#listTimer);
    this.#scanning ??= this.#rescan().finally(() => {
      this.#scanning = undefined;
    });
    return this.#scanning;
  }

  async #rescan(): Promise<void> {
    const startedMs = Date.now();
    const listed = this.#unlisted;
    try {
      for (const list of this.#lists) {
        const comparison = list.compare();
        await this.#scan(list.kind.folder, (part) => comparison.take(part));
        await comparison.end();
      }
      this.#scannedOnce = true;
    } catch (error) {
      if (!this.#closed) log.warn('cache listing failed', { error: String(error) });
    }
    // Also after a listing that failed: the next one is not going to be better at once.
    this.#unlisted -= listed;
    const now = Date.now();
    this.#nextScanMs = now + Math.max(rescanFloorMs, rescanFactor * (now - startedMs));
    this.#keepWithin();
  }

  /**
   * Promise room for bytes that are about to arrive; evicts if need be. Undefined when no room can be made: the
   * caller reads through memory.
   */
  async reserve(neededBytes: number): Promise<Reservation | undefined> {
    const bytes = onDisk(neededBytes);
    if (!this.#scannedOnce) this.#listSoon(bytes);
    else if (Date.now() >= this.#nextScanMs || this.#isUnlisted(bytes, slack / 2)) {
      const scan = this.rescan();
      // As short as its folder, and worth waiting for only when the bound is near.
      if (this.bytes + this.#reserved + bytes > this.maxBytes * 0.9) await scan;
    }
    do {
      // Seldom: a listing in time was enough, or one began when half of it was promised.
      while (this.#isUnlisted(bytes)) await this.rescan();
      if (!(await this.makeRoom(bytes))) return undefined;
      // Others may have been promised the same room while this one waited for its turn.
    } while (!this.#fits(bytes) || this.#isUnlisted(bytes));
    let left = bytes;
    this.#reserved += bytes;
    this.#unlisted += bytes;
    return {
      use: (used) => {
        const part = Math.min(used, left);
        left -= part;
        this.#reserved -= part;
      },
      release: () => {
        this.#reserved -= left;
        left = 0;
      },
    };
  }

  /**
   * List the cache for the first time: soon, so that a command that ends at once does without; at once for every
   * 4 MiB on average, so that a thousand such commands do not outgrow the bound.
   */
  #listSoon(bytes: number): void {
    if (Math.random() < bytes / listForBytes) void this.rescan();
    else this.listInBackground();
  }

  /** So much more would be too much without looking what other processes did meanwhile. */
  #isUnlisted(bytes: number, share = slack): boolean {
    return !this.#closed && this.#unlisted > 0 && this.#unlisted + bytes > this.maxBytes * share;
  }

  #fits(bytes: number): boolean {
    return this.bytes + this.#reserved + bytes <= this.maxBytes;
  }

  /** Evict until `bytes` more fit under the bound. False when they cannot. */
  async makeRoom(bytes: number): Promise<boolean> {
    if (this.#fits(bytes)) return true;
    if (bytes > this.maxBytes || Date.now() < this.#hopelessUntilMs) return false;
    while (this.#evicting !== undefined) await this.#evicting;
    if (this.#fits(bytes)) return true;
    const wanted = Math.max(0, this.maxBytes * (1 - slack) - bytes - this.#reserved);
    this.#evicting = this.evictTo(wanted).then(
      () => this.#fits(bytes),
      () => false,
    );
    try {
      const made = await this.#evicting;
      if (!made) this.#hopelessUntilMs = Date.now() + giveUpMs;
      return made;
    } finally {
      this.#evicting = undefined;
    }
  }

  /** Something grew without asking for room: what was used longest ago goes, in the background. */
  #keepWithin(): void {
    if (this.#closed || this.#fits(0)) return;
    if (!this.#scannedOnce) {
      this.listInBackground();
      return;
    }
    if (this.#evicting !== undefined || Date.now() < this.#keptWithinMs + keepWithinMs) {
      this.#keepWithinSoon(keepWithinMs);
      return;
    }
    this.#keptWithinMs = Date.now();
    this.#evicting = this.evictTo(Math.max(0, this.maxBytes * (1 - slack) - this.#reserved))
      .then(
        () => this.#fits(0),
        () => false,
      )
      .finally(() => {
        this.#evicting = undefined;
        // What was in use may be free later.
        this.#keepRetryMs = this.#fits(0) ? keepWithinMs : Math.min(maxKeepRetryMs, this.#keepRetryMs * 2);
        if (!this.#fits(0)) this.#keepWithinSoon(this.#keepRetryMs);
      });
  }

  #keepWithinSoon(delayMs: number): void {
    if (this.#closed) return;
    this.#keepTimer ??= setTimeout(() => {
      this.#keepTimer = undefined;
      this.#keepWithin();
    }, delayMs).unref();
  }

  /** Free room on the disk itself, whatever the bound says: for ENOSPC. Returns bytes freed. */
  async free(bytes: number): Promise<number> {
    const before = this.bytes;
    await this.evictTo(Math.max(0, before - bytes));
    return before - this.bytes;
  }

  /** Evict, the entry used longest ago first, until at most `target` bytes are left. */
  async evictTo(target: number): Promise<{ readonly entries: number; readonly bytes: number }> {
    await this.#prepare();
    if (!this.#scannedOnce) await this.rescan();
    const queues = this.#lists.map((list) => list.queue());
    const gone = { entries: 0, bytes: 0 };
    while (this.bytes > target) {
      let oldest: (typeof queues)[number] | undefined;
      for (const queue of queues) {
        if (queue.headMs < (oldest?.headMs ?? Infinity)) oldest = queue;
      }
      if (oldest === undefined) break;
      const bytes = await oldest.evictHead();
      if (bytes === undefined) continue;
      gone.entries += 1;
      gone.bytes += bytes;
    }
    evictions.add(gone.entries);
    evictedBytes.add(gone.bytes);
    if (gone.entries > 0) log.info('cache entries evicted', gone);
    return gone;
  }
}
