/**
 * A small pool of helper threads (`helper-worker.ts`), started when first needed.
 *
 * One thread hashes 250 MB/s without and 1,600 MB/s with the processor's SHA instructions, more than a network
 * gives; a second one helps where several blobs arrive at once. They never keep the process alive by themselves.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';
import type { PackedEntries } from '../addon/folder-addon.js';
import type { HelperRequest } from './helper-worker.js';
import { partEntries, unpackEntries, type ScannedEntry } from './scanned-entry.js';

/** An idle helper gives its memory back (some 30 MB after a large listing); starting one anew takes 30 ms. */
const idleMs = 10_000;

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly code?: string };
}

class Helper {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;
  #stopping = false;
  #idleTimer: NodeJS.Timeout | undefined;
  /** Digests and listings that live in the thread. */
  #held = 0;
  dead = false;

  constructor() {
    this.#worker = new Worker(new URL('./helper-worker.js', import.meta.url), {
      execArgv: [],
      // A listing of 100,000 entries needs 30 MB; the rest is a 1 MiB buffer outside the heap.
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 256 },
    });
    this.#worker.unref();
    this.#worker.on('message', (answer: Answer) => this.#settle(answer));
    this.#worker.on('error', (error) => this.#die(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on('exit', () => this.#die(new Error('thread ended')));
  }

  get load(): number {
    return this.#pending.size;
  }

  /** Something is kept in the thread until `letGo`. */
  hold(): void {
    this.#held += 1;
    clearTimeout(this.#idleTimer);
  }

  letGo(): void {
    this.#held -= 1;
    if (this.#held > 0) return;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#held === 0 && this.#pending.size === 0) void this.stop();
    }, idleMs).unref();
  }

  call(request: HelperRequest): Promise<unknown> {
    if (this.dead) return Promise.reject(new ImgfsError('interrupted', 'the helper thread has ended'));
    return new Promise((resolve, reject) => {
      const id = (this.#nextId += 1);
      this.#pending.set(id, { resolve, reject });
      // Work that somebody waits for keeps the process alive, an idle helper does not.
      if (this.#pending.size === 1) this.#worker.ref();
      this.#worker.postMessage({ id, request });
    });
  }

  #settle({ id, value, error }: Answer): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    if (this.#pending.size === 0 && !this.#stopping) this.#worker.unref();
    if (error === undefined) pending.resolve(value);
    else pending.reject(Object.assign(new Error(error.message), { code: error.code }));
  }

  #die(cause: Error): void {
    this.dead = true;
    for (const { reject } of this.#pending.values()) {
      reject(new ImgfsError('internal', `helper thread failed: ${cause.message}`, { cause }));
    }
    this.#pending.clear();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.dead = true;
    // An answer that is still on its way must not let go of the process while it waits for the thread's end.
    this.#stopping = true;
    this.#worker.ref();
    await this.#worker.terminate();
  }
}

/** A digest being computed in a helper thread. Calls must not overlap: each waits for the one before. */
export interface RemoteDigester {
  /** Hash bytes `[start, end)` of an open file; resolves to the offset reached (short at the end of the file). */
  hashFile(fd: number, start: number, end: number): Promise<number>;
  /** Hash bytes that are in memory only. */
  feed(bytes: Uint8Array): Promise<void>;
  finish(): Promise<Digest>;
  /** Give up. */
  drop(): Promise<void>;
}

export class HelperPool {
  readonly #limit: number;
  #helpers: Helper[] = [];
  #nextStream = 0;
  #stopped = false;

  /** One core stays for the JavaScript thread; more than 4 helpers would outrun any disk. */
  constructor(limit = Math.max(1, Math.min(4, availableParallelism() - 1))) {
    this.#limit = limit;
  }

  #helper(): Helper {
    if (this.#stopped) throw new ImgfsError('interrupted', 'the cache is closed');
    this.#helpers = this.#helpers.filter((helper) => !helper.dead);
    const idle = this.#helpers.reduce<Helper | undefined>(
      (best, helper) => (best === undefined || helper.load < best.load ? helper : best),
      undefined,
    );
    if (idle !== undefined && (idle.load === 0 || this.#helpers.length >= this.#limit)) return idle;
    const helper = new Helper();
    this.#helpers.push(helper);
    return helper;
  }

  /** Start a digest; its calls all go to one thread. */
  digester(algorithm: DigestAlgorithm): RemoteDigester {
    const helper = this.#helper();
    const stream = (this.#nextStream += 1);
    let held = true;
    helper.hold();
    const letGo = (): void => {
      if (held) helper.letGo();
      held = false;
    };
    return {
      hashFile: async (fd, start, end) =>
        (await helper.call({ op: 'hash', stream, algorithm, fd, start, end })) as number,
      feed: async (bytes) => void (await helper.call({ op: 'feed', stream, algorithm, bytes })),
      finish: async () => {
        try {
          return (await helper.call({ op: 'finish', stream, algorithm })) as Digest;
        } finally {
          letGo();
        }
      },
      drop: async () => {
        letGo();
        if (!helper.dead) await helper.call({ op: 'drop', stream });
      },
    };
  }

  /** List a cache folder, the entry used longest ago first, in pieces with turns of the event loop in between. */
  async scan(folder: string, onPart: (part: readonly ScannedEntry[]) => void): Promise<void> {
    const helper = this.#helper();
    const scan = (this.#nextStream += 1);
    helper.hold();
    try {
      const total = (await helper.call({ op: 'scan', scan, folder })) as number;
      for (let from = 0; from < total; from += partEntries) {
        const part = await helper.call({ op: 'part', scan, from, count: partEntries });
        onPart(unpackEntries(part as PackedEntries));
      }
      await helper.call({ op: 'forget', scan });
    } finally {
      helper.letGo();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#helpers.map((helper) => helper.stop()));
  }
}
