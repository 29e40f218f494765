/** All uploads of one process, and what others left behind in the spool. */
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { createLogger } from '../../observe/log.js';
import { isPusher, type ImageStore } from '../../store/store.js';
import { BlobWriter } from './blob-writer.js';
import type { PushStore } from './sender.js';
import { UploadSpool, type ListedUpload } from './spool.js';

const log = createLogger('upload');

/** Pauses before a failed upload is tried again, in milliseconds; the last one repeats. */
const retryAfterMs = [10_000, 30_000, 120_000, 300_000];

/** Codes after which trying again may help. */
const passing: ReadonlySet<string> = new Set([
  'unavailable',
  'timeout',
  'rate-limited',
  'stale',
  'unauthorized',
]);

export interface UploadsOptions {
  readonly cacheDirectory: string;
  /** Repositories of the store in which the digest was seen. */
  readonly seenIn?: (store: ImageStore, digest: Digest) => readonly string[];
  /** Pauses before a retry, for tests. */
  readonly retryAfterMs?: readonly number[];
}

export interface UploadPlace {
  readonly store: ImageStore;
  readonly repository: string;
  readonly name: string;
  /** The content must be this. */
  readonly expected?: Digest;
}

/** The store, when it can be added to. @throws ImgfsError `read-only-store`. */
export function assertPusher(store: ImageStore): PushStore {
  if (isPusher(store)) return store;
  throw new ImgfsError('read-only-store', `${store.id} takes no writes`, {
    hint: 'registries, OCI layouts and dir: can be written; archives are written with imgfs cp',
  });
}

export class Uploads {
  readonly spool: UploadSpool;
  readonly #options: UploadsOptions;
  readonly #active = new Map<string, BlobWriter>();
  readonly #retries = new Map<string, NodeJS.Timeout>();
  #closed = false;

  constructor(options: UploadsOptions) {
    this.#options = options;
    this.spool = new UploadSpool(options.cacheDirectory);
  }

  /** Begin a blob. @throws ImgfsError `read-only-store`; what the spool's disk says. */
  async start(place: UploadPlace): Promise<BlobWriter> {
    const store = assertPusher(place.store);
    const { repository, name, expected } = place;
    const upload = await this.spool.create({
      storeId: store.id,
      repository,
      name,
      ...(expected === undefined ? {} : { expected }),
    });
    return this.#track(new BlobWriter(upload, { store, seenIn: (digest) => this.#seenIn(store, digest) }));
  }

  /** Go on with an upload that nobody works on; undefined when somebody does. */
  async adopt(id: string, store: ImageStore): Promise<BlobWriter | undefined> {
    const pusher = assertPusher(store);
    const upload = await this.spool.adopt(id);
    if (upload === undefined) return undefined;
    if (upload.state.storeId === store.id) {
      const seenIn = (digest: Digest): readonly string[] => this.#seenIn(store, digest);
      return this.#track(new BlobWriter(upload, { store: pusher, seenIn }));
    }
    await upload.release();
    throw new ImgfsError('internal', `upload ${id} goes to ${upload.state.storeId}, not to ${store.id}`);
  }

  /** Uploads of this process, oldest first. */
  active(): readonly BlobWriter[] {
    return [...this.#active.values()];
  }

  /** Those of one repository. */
  of(storeId: string, repository: string): readonly BlobWriter[] {
    return this.active().filter(({ state }) => state.storeId === storeId && state.repository === repository);
  }

  /** Let go of an upload: committed ones are forgotten, others stay in the spool and, when whole, are tried again. */
  async close(writer: BlobWriter): Promise<void> {
    const { failure, state } = writer;
    if (failure !== undefined && passing.has(failure.code) && !this.#closed) {
      this.#retryLater(writer, 0);
      return;
    }
    if (failure !== undefined) return;
    this.#active.delete(state.id);
    await writer.close();
  }

  async cancel(writer: BlobWriter): Promise<void> {
    clearTimeout(this.#retries.get(writer.state.id));
    this.#retries.delete(writer.state.id);
    this.#active.delete(writer.state.id);
    await writer.cancel();
  }

  /**
   * Finish what earlier processes could not: whole uploads of stores that `open` gives. Those whose content is not
   * whole stay. Resolves to how many were finished; failures are logged, and tried again later.
   */
  async recover(open: (storeId: string) => Promise<ImageStore | undefined>): Promise<number> {
    let finished = 0;
    for (const { state, owned } of await this.spool.list()) {
      if (owned || this.#closed || this.#active.has(state.id)) continue;
      try {
        if (await this.#recoverOne({ state, owned, size: 0 }, open)) finished += 1;
      } catch (error) {
        log.warn('an upload from before could not be finished', { id: state.id, error: String(error) });
      }
    }
    return finished;
  }

  async #recoverOne(
    { state }: ListedUpload,
    open: (storeId: string) => Promise<ImageStore | undefined>,
  ): Promise<boolean> {
    const store = await open(state.storeId);
    if (store === undefined) return false;
    const writer = await this.adopt(state.id, store);
    // Content that nobody finished writing is kept and shown, not sent.
    if (writer === undefined || state.phase === 'open') return false;
    try {
      await writer.commit();
      return true;
    } finally {
      await this.close(writer);
    }
  }

  /** Wait for commits under way; the rest stays in the spool. */
  async drain(waitMs: number): Promise<void> {
    this.#closed = true;
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
    const closing = Promise.allSettled(this.active().map((writer) => writer.close()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await Promise.race([closing, late]);
    clearTimeout(timer);
    this.#active.clear();
  }

  #track(writer: BlobWriter): BlobWriter {
    this.#active.set(writer.state.id, writer);
    return writer;
  }

  #seenIn(store: ImageStore, digest: Digest): readonly string[] {
    return this.#options.seenIn?.(store, digest) ?? [];
  }

  #retryLater(writer: BlobWriter, attempt: number): void {
    const pauses = this.#options.retryAfterMs ?? retryAfterMs;
    const pause = pauses[Math.min(attempt, pauses.length - 1)] ?? 300_000;
    const { id } = writer.state;
    const timer = setTimeout(() => {
      this.#retries.delete(id);
      if (this.#closed || !this.#active.has(id)) return;
      writer
        .commit()
        .then(
          () => this.close(writer),
          (error: unknown) => {
            const known = toImgfsError(error);
            log.info('upload failed again', { id, error: known.message });
            if (passing.has(known.code) && !isImgfsError(known, 'interrupted'))
              this.#retryLater(writer, attempt + 1);
          },
        )
        .catch((error: unknown) => log.warn('upload could not be closed', { id, error: String(error) }));
    }, pause);
    timer.unref();
    this.#retries.set(id, timer);
  }
}
