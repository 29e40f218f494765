/**
 * One blob of this process: what of it is on disk, what is on its way, and whether it is what its digest says.
 * Shared by all readers of the blob.
 *
 * Sets of ranges, each within the next:
 * - `visible`: may be read. The piece that completes the blob joins only when the whole has matched its digest,
 *   so whoever has read all of a blob has read what the digest says.
 * - `stored`: written to the file.
 * - `claimed`: written, or being written. A range is claimed before it is written and never written twice: what
 *   was hashed cannot change afterwards, whatever a second answer of the server says.
 *
 * A blob that fails is dead for good: its readers learn why, and the next `open` starts from nothing.
 */
import { ImgfsError, toImgfsError } from '../errors/imgfs-error.js';
import { digestAlgorithm, digestOf } from '../oci/digest.js';
import { createLogger } from '../observe/log.js';
import type { Backing, BlobSource, BlobStatus } from './content.js';
import type { BlobContext } from './blob-context.js';
import { BlobFile } from './blob-file.js';
import { verificationFailures, verified } from './content-metrics.js';
import { Extents } from './extents.js';
import type { JournalKey } from './extent-journal.js';
import type { FetchWindow, WindowSink } from './fetch-window.js';
import { sliceBuffers } from './file-io.js';
import type { Reservation } from './ledger.js';
import { PassingDigest } from './passing-digest.js';
import { longWindowBytes, type ReadAhead } from './read-ahead.js';
import { Transfers } from './transfers.js';
import { checkSignal, untilAborted } from '../errors/aborted.js';
import type { FileTarget } from '../store/store.js';

const log = createLogger('content');

/** Through memory, windows stay small: four readers with two windows each fit on the shelf. */
const memoryWindowBytes = 4 << 20;

/** Closing waits for so much to be hashed: 0.2 s without SHA instructions. */
const verdictBytes = 64 << 20;

/** What a reader wants, besides the bytes. */
export interface Demand {
  readonly source: BlobSource;
  readonly signal: AbortSignal | undefined;
  /** Length of the next window, which begins at `position`. */
  windowBytes(position: number): number;
  /** True when the reader was closed meanwhile. */
  isOver(): boolean;
}

export class LazyBlob implements WindowSink {
  readonly key: JournalKey;
  /** It takes the place of one that did not match. */
  readonly fresh: boolean;
  readonly #context: BlobContext;
  readonly #visible = new Extents();
  readonly #stored = new Extents();
  readonly #claimed = new Extents();
  readonly #transfers: Transfers;
  readonly #reservations = new Map<FetchWindow, Reservation>();
  readonly #file: BlobFile;
  /** Follows bytes that go through memory; never certifies the file. */
  readonly #passing: PassingDigest;
  readonly #shelfOwner: number;
  #complete = false;
  #dead: ImgfsError | undefined;
  #settling: Promise<void> | undefined;
  #finalizing: Promise<void> | undefined;
  #burial: Promise<void> = Promise.resolve();
  #prefetchFailed = false;
  #closed = false;

  private constructor(context: BlobContext, key: JournalKey, file: BlobFile, fresh: boolean) {
    this.#context = context;
    this.key = key;
    this.fresh = fresh;
    this.#file = file;
    this.#passing = new PassingDigest(context.pool, key);
    this.#transfers = new Transfers(this, this.#claimed, this.#visible, context.connections);
    this.#shelfOwner = context.shelf.newOwner();
  }

  /**
   * Find out what the disk has. Costs no request.
   * @throws ImgfsError `integrity` when the verified blob has another size, or only claims to be empty.
   */
  static async open(context: BlobContext, key: JournalKey, fresh = false): Promise<LazyBlob> {
    const blob = new LazyBlob(context, key, await BlobFile.open(context, key), fresh);
    blob.#begin();
    return blob;
  }

  #begin(): void {
    const { digest, size } = this.key;
    if (size === 0 && digestOf(new Uint8Array(0), digestAlgorithm(digest)) !== digest) {
      throw this.#fail('its descriptor says that it is empty', false);
    }
    const { initial, trusted } = this.#file;
    for (const { start, end } of initial.ranges()) {
      this.#stored.add(start, end);
      this.#claimed.add(start, end);
      // All there, but nobody said that it matched: nothing is shown before that is known.
      if (initial.bytes < size) this.#visible.add(start, end);
    }
    if (size > 0 && !trusted) return;
    this.#becomeComplete();
    if (trusted) this.#context.touch(digest);
  }

  get size(): number {
    return this.key.size;
  }

  /** Why the blob is of no use any more. */
  get dead(): ImgfsError | undefined {
    return this.#dead;
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** True when `[start, end)` can be read at once. */
  has(start: number, end: number): boolean {
    return this.#visible.covers(start, end);
  }

  status(): BlobStatus {
    const state = this.#complete ? 'complete' : this.#stored.bytes > 0 ? 'partial' : 'absent';
    return { state, presentBytes: this.#stored.bytes, size: this.size, verified: this.#complete };
  }

  /** The file, for a driver that reads by itself. Undefined when nothing may be read from it (yet). */
  backing(): Backing | undefined {
    const { fd, named } = this.#file;
    if (fd === undefined || this.#closed || (named && !this.#complete)) return undefined;
    const isComplete = (): boolean => this.#complete && this.#dead === undefined;
    return {
      fd,
      get complete() {
        return isComplete();
      },
      present: () => (this.#dead === undefined ? this.#visible.ranges() : []),
      presentUntil: (position) =>
        this.#dead === undefined ? this.#visible.presentUntil(position) : position,
    };
  }

  /** Read from the file what is visible: `has` must have said so. */
  async pread(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    const count = await this.#file.read(buffer, offset, length, position);
    // A file that ends too soon was cut under us.
    if (count === 0 && length > 0) throw this.#fail('the cached file was cut', false);
    return count;
  }

  /** Read up to `length` bytes, fetching what is missing. Short only at the end of the blob. */
  async read(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    demand: Demand,
  ): Promise<number> {
    const end = Math.min(position + length, this.size);
    let at = position;
    while (at < end) {
      this.#checkUsable();
      const stop = Math.min(end, this.#visible.presentUntil(at));
      const target = offset + (at - position);
      if (stop > at) at += await this.pread(buffer, target, stop - at, at);
      else {
        const copied = this.#context.shelf.copy(this.#shelfOwner, buffer, target, at, end);
        if (copied > 0) at += copied;
        else await this.#obtain(at, end, demand);
      }
    }
    return Math.max(0, end - position);
  }

  /**
   * Make `[start, end)` visible, in large windows and several at a time.
   * @throws ImgfsError `cache-full` when it cannot be kept on disk.
   */
  async fill(start: number, end: number, demand: Demand): Promise<void> {
    for (;;) {
      this.#checkUsable();
      const position = this.#visible.nextMissing(start, end);
      if (position >= end) return;
      if (!this.#isWhole()) {
        if (!this.#file.takesBytes) throw this.#cannotKeep();
        this.#transfers.startAhead(position, end, demand.source, (at) => demand.windowBytes(at));
      }
      const window = await this.#obtain(position, end, demand);
      if (window?.throughMemory === true && !this.#visible.covers(position, position + 1)) {
        throw this.#cannotKeep();
      }
    }
  }

  /** Make everything visible, which is to say verified. @throws as `fill`, and `integrity`. */
  async fillAll(demand: Demand): Promise<void> {
    await this.fill(0, this.size, demand);
  }

  #cannotKeep(): ImgfsError {
    return new ImgfsError('cache-full', `blob ${this.key.digest} cannot be kept: no room on the cache disk`, {
      operation: 'fill blob',
      digest: this.key.digest,
      path: this.#context.paths.directory,
      hint: 'free disk space, raise --cache-size, or unpin images',
    });
  }

  #checkUsable(): void {
    if (this.#dead !== undefined) throw this.#dead;
    if (this.#closed) throw new ImgfsError('bad-handle', 'read blob: closed');
  }

  #isWhole(): boolean {
    return this.#stored.bytes === this.size;
  }

  /** Get on towards having the byte at `position`; returns the window waited for. The caller looks again. */
  async #obtain(position: number, end: number, demand: Demand): Promise<FetchWindow | undefined> {
    checkSignal(demand.signal);
    if (demand.isOver()) throw new ImgfsError('bad-handle', 'read blob: the reader is closed');
    if (this.#isWhole()) {
      await untilAborted(this.settle(), demand.signal);
      return undefined;
    }
    let window = this.#transfers.bringing(position);
    // Claimed, yet nobody brings it: a cancelled window is still writing it.
    if (window === undefined && !this.#claimed.covers(position, position + 1)) {
      const bytes = Math.max(demand.windowBytes(position), Math.min(end - position, longWindowBytes));
      window = this.#transfers.start(position, bytes, demand.source);
    }
    const until = Math.min(end, window?.end ?? end);
    await this.#transfers.wait(window, position, until, demand.signal);
    this.#checkUsable();
    if (window?.error === undefined) this.#prefetchFailed = false;
    else if (!this.#visible.covers(position, until) && !window.cancelled) {
      // Somebody else's source may fail where ours does not.
      if (window.source === demand.source) throw window.error;
    }
    return window;
  }

  /** Fetch ahead of a reader that goes on. Cheap when there is nothing to do. */
  prefetch(readAhead: ReadAhead, source: BlobSource): void {
    if (this.#complete || this.#prefetchFailed || !this.#file.takesBytes) return;
    const until = Math.min(this.size, readAhead.aheadUntil);
    if (readAhead.position >= until) return;
    const windowBytes = (): number => readAhead.nextWindow();
    this.#transfers.startAhead(readAhead.position, until, source, windowBytes, readAhead);
  }

  /** The reader jumped or went: what is fetched ahead for it alone is not worth going on with. */
  abandon(readAhead: ReadAhead): void {
    this.#transfers.abandon(readAhead);
  }

  // WindowSink

  readonly takesAll = true;

  async prepare(window: FetchWindow): Promise<void> {
    const bytes = window.end - window.start;
    const reservation = this.#file.takesBytes ? await this.#context.ledger.reserve(bytes) : undefined;
    if (reservation !== undefined) {
      this.#reservations.set(window, reservation);
      return;
    }
    window.throughMemory = true;
    window.end = Math.min(window.end, window.start + memoryWindowBytes);
  }

  async accept(
    window: FetchWindow,
    position: number,
    buffers: readonly Uint8Array[],
    bytes: number,
  ): Promise<boolean> {
    let used = true;
    for (const { start, end } of this.#claimed.missing(position, position + bytes)) {
      this.#checkUsable();
      const part = end - start === bytes ? buffers : sliceBuffers(buffers, start - position, end - position);
      if (window.throughMemory) {
        await this.#passThrough(start, end, part);
        used = false;
      } else used = (await this.#keep(window, start, end, part)) && used;
    }
    return used;
  }

  async receive(window: FetchWindow, receive: (target: FileTarget) => Promise<number>): Promise<number> {
    const { position, end } = window;
    const isFree = this.#claimed.missingUntil(position) >= end;
    if (window.throughMemory || !this.#file.takesBytes || !isFree) return position;
    this.#claimed.add(position, end);
    let reached = position;
    try {
      await this.#file.receive(position, receive, (from, to) => {
        window.position = to;
        reached = to;
        this.#reservations.get(window)?.use(to - from);
        if (this.#dead === undefined) this.#publish(from, to);
      });
    } finally {
      this.#claimed.remove(reached, end);
    }
    return reached;
  }

  ended(window: FetchWindow): void {
    this.#transfers.ended(window);
    this.#reservations.get(window)?.release();
    this.#reservations.delete(window);
    if (window.error !== undefined && !window.cancelled) this.#prefetchFailed = true;
    this.#file.flushJournal();
    this.#transfers.wake(true);
  }

  /** True when the bytes are on disk, false when they went through memory, which holds on to the buffers. */
  async #keep(
    window: FetchWindow,
    start: number,
    end: number,
    buffers: readonly Uint8Array[],
  ): Promise<boolean> {
    this.#claimed.add(start, end);
    let kept = false;
    try {
      kept = await this.#file.write(start, end, buffers);
    } finally {
      if (!kept) this.#claimed.remove(start, end);
    }
    if (kept) {
      this.#reservations.get(window)?.use(end - start);
      this.#publish(start, end);
      return true;
    }
    window.throughMemory = true;
    await this.#passThrough(start, end, buffers);
    return false;
  }

  #publish(start: number, end: number): void {
    this.#stored.add(start, end);
    this.#file.follow(this.#stored.presentUntil(0));
    if (this.#isWhole()) void this.settle().catch(() => undefined);
    else {
      this.#visible.add(start, end);
      this.#transfers.wake(false);
    }
  }

  /** The disk cannot take these bytes: hold them in memory while somebody is reading along. */
  async #passThrough(start: number, end: number, buffers: readonly Uint8Array[]): Promise<void> {
    const prefix = this.#isWhole() ? 0 : this.#stored.presentUntil(0);
    const actual = await this.#passing.follow(start, end, buffers, this.#file.fd, prefix);
    if (actual !== undefined && actual !== this.key.digest) {
      throw this.#fail(`its bytes have digest ${actual}`, true);
    }
    this.#context.shelf.put(this.#shelfOwner, start, buffers);
    this.#transfers.wake(true);
  }

  /**
   * Wait for the verdict on a blob whose bytes are all on disk.
   * @throws ImgfsError `integrity` when they do not match the digest.
   */
  settle(): Promise<void> {
    this.#settling ??= this.#settle();
    return this.#settling;
  }

  async #settle(): Promise<void> {
    if (this.#complete) return;
    try {
      const actual = await this.#file.hashWhole();
      if (actual !== this.key.digest) {
        const sourceAtFault = !this.#file.named;
        await this.#file.removeNamed();
        throw this.#fail(`its bytes have digest ${actual}`, sourceAtFault);
      }
      // A stamp is quick, and the next open looks for it.
      if (this.#file.named) await this.#file.finalize();
      this.#becomeComplete();
      verified.add();
      // A new name is for the background: whoever waits for bytes does not wait for the disk.
      // Closed meanwhile, it stays what it is: complete, without its name, and found so at the next open.
      if (!this.#file.named && !this.#closed) this.#finalizing = this.#file.finalize().catch(() => undefined);
    } catch (error) {
      if (this.#dead !== undefined) throw this.#dead;
      // The file could not be read back: as good as a mismatch, but nobody's fault but the disk's.
      throw error instanceof ImgfsError ? error : this.#fail(toImgfsError(error).message, false);
    } finally {
      this.#transfers.wake(true);
    }
  }

  #becomeComplete(): void {
    this.#complete = true;
    this.#visible.add(0, this.size);
    this.#transfers.cancelLong();
  }

  /** Mark the blob as dead and return the reason. */
  #fail(cause: string, sourceAtFault: boolean): ImgfsError {
    if (this.#dead !== undefined) return this.#dead;
    const error = new ImgfsError('integrity', `blob ${this.key.digest} does not match: ${cause}`, {
      operation: 'verify blob',
      digest: this.key.digest,
      hint: sourceAtFault
        ? 'it was dropped and is fetched anew at the next open; when it repeats, the store has a damaged blob'
        : 'the cached copy was damaged and is fetched anew at the next open',
    });
    this.#dead = error;
    this.#complete = false;
    verificationFailures.add();
    log.error('blob does not match its digest', { digest: this.key.digest, cause });
    this.#transfers.cancelAll();
    this.#visible.clear();
    this.#stored.clear();
    this.#burial = this.#file.discard();
    this.#context.blobFailed(this, error, sourceAtFault);
    this.#transfers.wake(true);
    return error;
  }

  /** Resolves when a blob that matched has its name on disk, or could not get it. */
  get finalized(): Promise<void> {
    return this.#finalizing ?? Promise.resolve();
  }

  /** Resolves when a dead blob has given up its files and its lock. */
  get burial(): Promise<void> {
    return this.#burial;
  }

  /** Has the file been written to since it was verified? Then the blob is dead, and the next open looks anew. */
  async recheck(): Promise<void> {
    if (!this.#complete || this.#closed) return;
    if (await this.#file.isUnchanged()) this.#context.touch(this.key.digest);
    else this.#fail('the cached file was changed', false);
  }

  /** Nobody reads any more: stop fetching, and let the disk remember what there is. */
  rest(): void {
    this.#transfers.cancelAll();
    this.#file.flushJournal();
  }

  /** Let go of everything. Waits for the disk, never for the network. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.rest();
    // All bytes are there and the verdict is near: without it, the next open would hash everything again.
    if (this.#file.leftToHash <= verdictBytes) await this.#settling?.catch(() => undefined);
    await this.#finalizing;
    this.#closed = true;
    this.#transfers.wake(true);
    await this.#passing.drop();
    await this.#burial;
    this.#context.shelf.clear(this.#shelfOwner);
    await this.#file.close(this.#dead !== undefined || this.#file.named || this.#stored.bytes === 0);
  }
}
