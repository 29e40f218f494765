/** All uploads of one process, and what others left behind in the spool. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import type { Digest } from '../../oci/digest.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import { createLogger } from '../../observe/log.js';
import { isPusher, type ImageStore } from '../../store/store.js';
import { BlobWriter, type Committed } from './blob-writer.js';
import type { PushStore } from '../push-store.js';
import { UploadSpool, type OwnedUpload } from './spool.js';
import type { ManifestAddress, SpoolState } from './spool-state.js';

const log = createLogger('upload');

/** Pauses before a failed upload is tried again, in milliseconds; the last one repeats. */
const retryAfterMs = [10_000, 30_000, 120_000, 300_000];

/** How often the commits that a closing process waits for are looked at. */
const drainPollMs = 200;

/** Codes after which trying again may help. */
const passingCodes: ReadonlySet<string> = new Set([
  'unavailable',
  'timeout',
  'rate-limited',
  'stale',
  'unauthorized',
]);

/** Whether it is worth while to try again later by itself. */
export function isPassing(error: ImgfsError): boolean {
  return passingCodes.has(error.code);
}

export interface UploadsOptions {
  readonly cacheDirectory: string;
  /** Repositories of the store in which the digest was seen. */
  readonly seenIn?: (store: ImageStore, digest: Digest) => readonly string[];
  /** The store has a blob: called before the close that brought it is answered, which fails when this does. */
  readonly onCommitted?: (state: SpoolState, committed: Committed) => Promise<void>;
  /** Pauses before a retry, for tests. */
  readonly retryAfterMs?: readonly number[];
  /** When it is aborted nothing is waited for any more: the spool keeps what is not sent. */
  readonly endAtOnce?: AbortSignal;
}

export interface UploadPlace {
  readonly store: ImageStore;
  readonly repository: string;
  readonly name: string;
  /** The content must be this. */
  readonly expected?: Digest;
  /** Content arrives in parts, also after a restart. */
  readonly session?: boolean;
}

/** The store, when it can be added to. @throws ImgfsError `read-only-store`. */
export function assertPusher(store: ImageStore): PushStore {
  if (isPusher(store)) return store;
  throw new ImgfsError('read-only-store', `${store.id} takes no writes`, {
    hint: 'registries, OCI layouts and dir: can be written; archives are written with imgfs cp',
  });
}

/** A manifest in the spool, with what is done with it. */
export interface KeptManifest {
  readonly state: SpoolState;
  readonly bytes: Uint8Array;
  /** Why it is not in the store yet, for who lists the spool. */
  note(error: string | undefined): Promise<void>;
  /** It is in the store, or given up. */
  remove(): Promise<void>;
  /** Let another process have it. */
  release(): Promise<void>;
}

/** Where a manifest waits to go. */
export interface ManifestPlaceInSpool extends ManifestAddress {
  readonly storeId: string;
  readonly repository: string;
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
    options.endAtOnce?.addEventListener('abort', () => {
      for (const writer of this.active())
        writer
          .leave()
          .catch((error: unknown) =>
            log.warn('an upload could not be left', { id: writer.state.id, error: String(error) }),
          );
    });
  }

  /** Begin a blob. @throws ImgfsError `read-only-store`; what the spool's disk says. */
  async start(place: UploadPlace): Promise<BlobWriter> {
    const store = assertPusher(place.store);
    const { repository, name, expected, session } = place;
    const upload = await this.spool.create({
      storeId: store.id,
      repository,
      name,
      ...(expected === undefined ? {} : { expected }),
      ...(session === true ? { session } : {}),
    });
    return this.#track(new BlobWriter(upload, { store, seenIn: (digest) => this.#seenIn(store, digest) }));
  }

  /**
   * Write a manifest down that cannot be put yet; it outlives the process when this resolves.
   * @throws ImgfsError what the spool's disk says.
   */
  async keepManifest(
    { storeId, repository, ...address }: ManifestPlaceInSpool,
    bytes: Uint8Array,
  ): Promise<KeptManifest> {
    const name = manifestName(address);
    const upload = await this.spool.create({ storeId, repository, name, manifest: address });
    try {
      await upload.file.write(bytes, 0);
      await upload.file.sync();
      await upload.save({ ...upload.state, phase: 'failed' });
    } catch (error) {
      await upload.remove();
      throw error;
    }
    return keptManifest(upload, bytes);
  }

  /** Pause before the attempt after this many, in milliseconds. */
  retryPauseMs(attempt: number): number {
    const pauses = this.#options.retryAfterMs ?? retryAfterMs;
    return pauses[Math.min(attempt, pauses.length - 1)] ?? 300_000;
  }

  /** Take a kept manifest over; undefined when another process has it, or it was not written to its end. */
  async adoptManifest(id: string): Promise<KeptManifest | undefined> {
    const upload = await this.spool.adopt(id);
    if (upload === undefined) return undefined;
    // One that was not written to its end was never acknowledged to anybody.
    const isWhole = upload.state.phase !== 'open' && upload.file.size <= maxManifestBytes;
    if (upload.state.manifest === undefined || !isWhole) {
      await (upload.state.manifest === undefined ? upload.release() : upload.remove());
      return undefined;
    }
    const bytes = Buffer.alloc(upload.file.size);
    await upload.file.read(bytes, 0);
    return keptManifest(upload, bytes);
  }

  /** Go on with an upload that nobody works on; undefined when somebody does. */
  async adopt(id: string, store: ImageStore): Promise<BlobWriter | undefined> {
    const pusher = assertPusher(store);
    const upload = await this.spool.adopt(id);
    if (upload === undefined) return undefined;
    if (upload.state.manifest !== undefined || upload.state.archive !== undefined) {
      await upload.release();
      throw new ImgfsError('invalid', `upload ${id} is no blob`, {
        hint: 'the next mount on this cache finishes it',
      });
    }
    if (upload.state.storeId === store.id) {
      const seenIn = (digest: Digest): readonly string[] => this.#seenIn(store, digest);
      return this.#track(new BlobWriter(upload, { store: pusher, seenIn }));
    }
    await upload.release();
    throw new ImgfsError('internal', `upload ${id} goes to ${upload.state.storeId}, not to ${store.id}`);
  }

  /** Bring one into its store, and tell. @throws ImgfsError as the writer and `onCommitted`. */
  async commit(writer: BlobWriter): Promise<Committed> {
    const committed = await writer.commit();
    await this.#options.onCommitted?.(writer.state, committed);
    return committed;
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
    if (failure !== undefined && isPassing(failure) && !this.#closed) {
      this.#retryLater(writer, 0);
      return;
    }
    // Shown until it is cancelled; after the end, another process may have it.
    if (failure !== undefined && !this.#closed) return;
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
   * whole stay. Kept manifests and archives go to `others`. Resolves to how many were finished; failures are logged, and
   * tried again later.
   */
  async recover(
    open: (storeId: string) => Promise<ImageStore | undefined>,
    others?: {
      readonly manifest: (kept: KeptManifest, store: ImageStore) => Promise<void>;
      readonly archive: (upload: OwnedUpload, store: ImageStore) => Promise<void>;
    },
  ): Promise<number> {
    let finished = 0;
    const listed = await this.spool.list();
    // Manifests first: the blobs that follow may be what they wait for.
    const ordered = [
      ...listed.filter(({ state }) => state.manifest !== undefined),
      ...listed.filter(({ state }) => state.manifest === undefined),
    ];
    for (const { state, owned } of ordered) {
      if (owned || this.#closed || this.#active.has(state.id)) continue;
      try {
        if (state.manifest !== undefined) {
          const store = others === undefined ? undefined : await open(state.storeId);
          const kept = store === undefined ? undefined : await this.adoptManifest(state.id);
          if (kept !== undefined && store !== undefined) await others?.manifest(kept, store);
        } else if (state.archive !== undefined) {
          const store = others === undefined ? undefined : await open(state.storeId);
          const upload = store === undefined ? undefined : await this.spool.adopt(state.id);
          if (upload !== undefined && store !== undefined) await others?.archive(upload, store);
        } else if (await this.#recoverOne(state, open)) finished += 1;
      } catch (error) {
        log.warn('an upload from before could not be finished', { id: state.id, error: String(error) });
      }
    }
    return finished;
  }

  async #recoverOne(
    state: SpoolState,
    open: (storeId: string) => Promise<ImageStore | undefined>,
  ): Promise<boolean> {
    const store = await open(state.storeId);
    if (store === undefined) return false;
    const writer = await this.adopt(state.id, store);
    // Content that nobody finished writing is kept and shown, not sent.
    if (writer === undefined || state.phase === 'open') return false;
    try {
      await this.commit(writer);
      return true;
    } finally {
      await this.close(writer);
    }
  }

  /** Wait for commits under way, `waitMs` after the last byte that was sent; the rest stays in the spool. */
  async drain(waitMs: number): Promise<void> {
    this.#closed = true;
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
    const closing = Promise.allSettled(this.active().map((writer) => writer.close()));
    // As long as bytes arrive, the end is in sight.
    const ended = new AbortController();
    void closing.then(() => ended.abort());
    const sent = (): number => this.active().reduce((sum, writer) => sum + writer.sentBytes, 0);
    let [before, until] = [sent(), Date.now() + waitMs];
    while (!ended.signal.aborted && Date.now() < until) {
      await Promise.race([closing, sleep(Math.min(drainPollMs, waitMs), undefined, { ref: false })]);
      const now = sent();
      if (now > before) [before, until] = [now, Date.now() + waitMs];
    }
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
    const pause = this.retryPauseMs(attempt);
    const { id } = writer.state;
    clearTimeout(this.#retries.get(id));
    const timer = setTimeout(() => {
      this.#retries.delete(id);
      if (this.#closed || !this.#active.has(id)) return;
      // `cp` of the same file again has cut it, and writes it anew: what is there now is not what anybody wants sent.
      if (writer.isChanging) return this.#retryLater(writer, attempt);
      this.commit(writer)
        .then(
          () => (writer.holders > 0 ? undefined : this.close(writer)),
          (error: unknown) => {
            const known = toImgfsError(error);
            log.info('upload failed again', { id, error: known.message });
            if (isPassing(known)) this.#retryLater(writer, attempt + 1);
          },
        )
        .catch((error: unknown) => log.warn('upload could not be closed', { id, error: String(error) }));
    }, pause);
    timer.unref();
    this.#retries.set(id, timer);
  }
}

/** What a kept manifest is called among uploads: a colon keeps it apart from tags. */
export function manifestName({ document, tag, digest }: ManifestAddress): string {
  return `${tag ?? digest ?? 'untagged'}:${document}`;
}

function keptManifest(upload: OwnedUpload, bytes: Uint8Array): KeptManifest {
  return {
    get state() {
      return upload.state;
    },
    bytes,
    note: (error) => {
      const { error: _before, ...rest } = upload.state;
      return upload.save({ ...rest, ...(error === undefined ? {} : { error }) });
    },
    remove: () => upload.remove(),
    release: () => upload.release(),
  };
}
