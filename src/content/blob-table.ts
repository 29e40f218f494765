/**
 * The blobs that this process has open. Each is opened once, however many readers it has, and is kept at hand
 * for some seconds after the last: a tool that opens a file again and again finds its ranges and its lock there.
 */
import type { ImgfsError } from '../errors/imgfs-error.js';
import type { Digest } from '../oci/digest.js';
import type { BlobContext } from './blob-context.js';
import type { BlobSource } from './content.js';
import type { JournalKey } from './extent-journal.js';
import { LazyBlob } from './lazy-blob.js';

const idleMs = 5000;
/** Idle blobs hold a descriptor each; the usual limit is 1024. */
const maxIdle = 128;
/** After a store gave wrong bytes twice in a row, it is not asked again for so long: no loop of whole transfers. */
const failureMs = 10_000;
const maxFailures = 1000;

interface Slot {
  readonly key: string;
  readonly opening: Promise<LazyBlob>;
  blob: LazyBlob | undefined;
  readers: number;
  idleSinceMs: number;
  closing: Promise<void> | undefined;
}

interface Failure {
  count: number;
  error: ImgfsError;
  atMs: number;
}

const keyOf = ({ digest, size }: JournalKey): string => `${digest}/${size}`;

export class BlobTable {
  readonly #context: BlobContext;
  readonly #slots = new Map<string, Slot>();
  readonly #failures = new Map<string, Failure>();
  #sweeper: NodeJS.Timeout | undefined;

  constructor(context: BlobContext) {
    this.#context = context;
  }

  /**
   * The blob, opened if need be; give it back with `release`.
   * @throws ImgfsError `integrity` when its store gave wrong bytes twice, a moment ago.
   */
  async acquire({ descriptor: { digest, size } }: BlobSource): Promise<LazyBlob> {
    const key = keyOf({ digest, size });
    for (;;) {
      this.#checkFailures(key);
      const slot = this.#slots.get(key) ?? this.#open(key, { digest, size });
      if (slot.closing !== undefined) {
        await slot.closing;
        continue;
      }
      slot.readers += 1;
      const blob = await slot.opening.catch((error: unknown) => {
        if (this.#slots.get(key) === slot) this.#slots.delete(key);
        throw error;
      });
      if (blob.dead === undefined) await blob.recheck();
      if (blob.dead === undefined) return blob;
      this.release(blob);
      await blob.burial;
    }
  }

  #open(key: string, blobKey: JournalKey): Slot {
    const opening = LazyBlob.open(this.#context, blobKey, this.#failures.has(key));
    const slot: Slot = {
      key,
      opening,
      blob: undefined,
      readers: 0,
      idleSinceMs: 0,
      closing: undefined,
    };
    opening.then(
      (blob) => (slot.blob = blob),
      () => undefined,
    );
    this.#slots.set(key, slot);
    return slot;
  }

  #checkFailures(key: string): void {
    const failure = this.#failures.get(key);
    if (failure === undefined) return;
    if (Date.now() - failure.atMs > failureMs) this.#failures.delete(key);
    else if (failure.count >= 2) throw failure.error;
  }

  /** Note that a blob died; `sourceAtFault` when its store is to blame. */
  failed(blob: LazyBlob, error: ImgfsError, sourceAtFault: boolean): void {
    const key = keyOf(blob.key);
    const slot = this.#slots.get(key);
    if (slot !== undefined && slot.blob === blob) this.#orphans.set(blob, this.#detach(slot));
    if (!sourceAtFault) return;
    const count = (this.#failures.get(key)?.count ?? 0) + 1;
    this.#failures.delete(key);
    this.#failures.set(key, { count, error, atMs: Date.now() });
    const oldest = this.#failures.keys().next();
    if (this.#failures.size > maxFailures && oldest.done !== true) this.#failures.delete(oldest.value);
  }

  /** Dead blobs that still have readers. */
  readonly #orphans = new Map<LazyBlob, Slot>();
  readonly #closings = new Set<Promise<void>>();

  #detach(slot: Slot): Slot {
    this.#slots.delete(slot.key);
    return slot;
  }

  /** Give a blob back. */
  release(blob: LazyBlob): void {
    const orphan = this.#orphans.get(blob);
    const slot = orphan ?? this.#slots.get(keyOf(blob.key));
    if (slot === undefined) return;
    slot.readers -= 1;
    if (slot.readers > 0) return;
    if (orphan !== undefined) {
      this.#orphans.delete(blob);
      this.#track(blob.close());
      return;
    }
    slot.idleSinceMs = Date.now();
    blob.rest();
    this.#sweeper ??= setInterval(() => this.#sweep(), idleMs / 2).unref();
    if (this.#slots.size > maxIdle) this.#sweep();
  }

  #track(closing: Promise<void>): void {
    this.#closings.add(closing);
    void closing.finally(() => this.#closings.delete(closing));
  }

  /** Close what nobody has used for a while, and the oldest of too many. */
  #sweep(): void {
    const idle = [...this.#slots.values()].filter((slot) => slot.readers === 0 && slot.closing === undefined);
    idle.sort((a, b) => a.idleSinceMs - b.idleSinceMs);
    const deadline = Date.now() - idleMs;
    idle.forEach((slot, index) => {
      if (slot.idleSinceMs <= deadline || idle.length - index > maxIdle) void this.#close(slot);
    });
    if (this.#slots.size === 0) {
      clearInterval(this.#sweeper);
      this.#sweeper = undefined;
    }
  }

  #close(slot: Slot): Promise<void> {
    slot.closing ??= (async () => {
      try {
        await (await slot.opening).close();
      } catch {
        // It never opened.
      } finally {
        if (this.#slots.get(slot.key) === slot) this.#slots.delete(slot.key);
      }
    })();
    this.#track(slot.closing);
    return slot.closing;
  }

  /** The open blob of that digest, if there is one. */
  find(digest: Digest): LazyBlob | undefined {
    let found: LazyBlob | undefined;
    for (const { blob } of this.#slots.values()) {
      if (blob === undefined || blob.key.digest !== digest) continue;
      if (found === undefined || blob.complete) found = blob;
    }
    return found;
  }

  /** True when a reader has it open; a blob that is only kept at hand is closed. */
  async isOpen(digest: Digest): Promise<boolean> {
    const slots = [...this.#slots.values()].filter((slot) => slot.key.startsWith(`${digest}/`));
    if (slots.some((slot) => slot.readers > 0)) return true;
    await Promise.all(slots.map((slot) => this.#close(slot)));
    return false;
  }

  /** Digests of the blobs that are open, each with its state. */
  blobs(): readonly LazyBlob[] {
    return [...this.#slots.values()].flatMap(({ blob }) => (blob === undefined ? [] : [blob]));
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    for (const blob of this.#orphans.keys()) this.#track(blob.close());
    await Promise.all([...this.#slots.values()].map((slot) => this.#close(slot)));
    await Promise.all(this.#closings);
  }
}
