/**
 * The transfers of one blob that are under way, and the readers that wait for their bytes.
 *
 * Windows do not overlap: a new one ends where the next begins, or where bytes are present. Readers of a byte that
 * is on its way wait for the window that brings it.
 */
import type { BlobSource } from './content.js';
import type { Extents } from './extents.js';
import { FetchWindow, type WindowSink } from './fetch-window.js';
import type { ReadAhead } from './read-ahead.js';
import { untilAborted } from '../errors/aborted.js';

/** A window begins and ends at blocks of the file system where it can: half a block on disk is a whole one. */
const blockBytes = 4096;
/** A window that has less to go than this is cheaper to finish than to cancel with its connection. */
const worthCancellingBytes = 1 << 20;

interface Waiter {
  readonly position: number;
  readonly until: number;
  readonly wake: () => void;
}

export class Transfers {
  readonly #sink: WindowSink;
  /** What is there or being written. */
  readonly #claimed: Extents;
  /** What may be read. */
  readonly #visible: Extents;
  readonly #connections: number;
  readonly #windows = new Set<FetchWindow>();
  readonly #owners = new Map<FetchWindow, ReadAhead>();
  readonly #waiters = new Set<Waiter>();

  constructor(sink: WindowSink, claimed: Extents, visible: Extents, connections: number) {
    this.#sink = sink;
    this.#claimed = claimed;
    this.#visible = visible;
    this.#connections = connections;
  }

  /** The window that is going to bring the byte at `position`. */
  bringing(position: number): FetchWindow | undefined {
    for (const window of this.#windows) if (window.covers(position)) return window;
    return undefined;
  }

  /** Start a window at `position`, which nobody brings, of about `bytes`. */
  start(position: number, bytes: number, source: BlobSource): FetchWindow {
    const floor = position - (position % blockBytes);
    const start = this.#isFree(floor, position) ? floor : position;
    const wanted = Math.min(this.#sink.size, Math.ceil((position + bytes) / blockBytes) * blockBytes);
    let end = Math.min(wanted, this.#claimed.missingUntil(position));
    for (const other of this.#windows) {
      if (!other.done && !other.cancelled && other.start > position) end = Math.min(end, other.start);
    }
    const window = new FetchWindow(this.#sink, source, start, end);
    this.#windows.add(window);
    return window;
  }

  #isFree(start: number, end: number): boolean {
    if (this.#claimed.presentUntil(start) > start || this.#claimed.missingUntil(start) < end) return false;
    for (const window of this.#windows) {
      if (!window.done && window.start < end && window.end > start) return false;
    }
    return true;
  }

  /** Start windows for what is missing in `[from, until)`, as long as there are connections. */
  startAhead(
    from: number,
    until: number,
    source: BlobSource,
    windowBytes: (position: number) => number,
    owner?: ReadAhead,
  ): void {
    let position = from;
    while (this.#live() < this.#connections) {
      position = this.#nextUnclaimed(position, until);
      if (position >= until) return;
      const window = this.start(position, windowBytes(position), source);
      owner?.issued(window.end);
      if (owner !== undefined) this.#owners.set(window, owner);
      position = window.end;
    }
  }

  #live(): number {
    let count = 0;
    for (const window of this.#windows) if (!window.cancelled) count += 1;
    return count;
  }

  /** First offset that is neither there nor on its way. */
  #nextUnclaimed(from: number, until: number): number {
    let position = from;
    for (;;) {
      const before = position;
      position = this.#claimed.nextMissing(position, until);
      const window = this.bringing(position);
      if (window !== undefined) position = window.end;
      if (position >= until || position === before) return position;
    }
  }

  /**
   * Wait until `[position, until)` is visible, the window has ended, or something else happened that makes looking
   * again worthwhile. A window whose last reader gives up is cancelled.
   */
  async wait(
    window: FetchWindow | undefined,
    position: number,
    until: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let waiter: Waiter | undefined;
    const woken = new Promise<void>((wake) => {
      waiter = { position, until, wake };
      this.#waiters.add(waiter);
    });
    if (window !== undefined) window.waiters += 1;
    try {
      await untilAborted(woken, signal);
    } finally {
      if (waiter !== undefined) this.#waiters.delete(waiter);
      if (window !== undefined) {
        window.waiters -= 1;
        if (window.waiters === 0 && signal?.aborted === true) window.cancel();
      }
    }
  }

  /** Wake readers whose bytes are there; all of them when they had better look themselves. */
  wake(everybody: boolean): void {
    for (const waiter of this.#waiters) {
      if (everybody || this.#visible.covers(waiter.position, waiter.until)) waiter.wake();
    }
  }

  ended(window: FetchWindow): void {
    this.#windows.delete(window);
    this.#owners.delete(window);
  }

  /** What was fetched ahead for this reader alone is not worth going on with. */
  abandon(owner: ReadAhead): void {
    for (const [window, of] of this.#owners) if (of === owner && window.waiters === 0) cancelIfLong(window);
  }

  /** Nothing more is needed, but what is nearly done may end by itself. */
  cancelLong(): void {
    for (const window of this.#windows) cancelIfLong(window);
  }

  cancelAll(): void {
    for (const window of this.#windows) window.cancel();
  }
}

function cancelIfLong(window: FetchWindow): void {
  if (window.end - window.position > worthCancellingBytes) window.cancel();
}
