/** Everything that changes stores on behalf of one mount: what is allowed, what is under way, what to tell afterwards. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { assertTagsDeletable, deleteTag } from '../../image/delete-tag.js';
import type { Image } from '../../image/image.js';
import { copyImage } from '../../image/copy/copy-image.js';
import { pushManifest } from '../../image/push-manifest.js';
import { assertPusher, isPassing, Uploads, type KeptManifest } from '../../image/upload/uploads.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isDeleter, type CallOptions, type ImageStore } from '../../store/store.js';
import type { TreeContext } from '../tree-context.js';
import { createLogger } from '../../observe/log.js';
import type { OwnedUpload } from '../../image/upload/spool.js';
import type { MaybePromise } from '../node.js';
import { ArchiveUpload } from './archive-upload.js';
import { PendingImage, type DocumentName } from './pending-image.js';
import { placeKey } from './place-key.js';
import { UploadTable } from './upload-table.js';

export interface WritingRules {
  /** Tags may be pointed at something else. */
  readonly allowOverwrite: boolean;
  /** Tags, manifests and blobs may be deleted. */
  readonly allowDelete: boolean;
  /** Delete tags by a dummy manifest where a registry deletes by digest only. */
  readonly tagDeleteFallback?: boolean;
  /** Pauses before what failed is tried again, in milliseconds; the last one repeats. */
  readonly retryAfterMs?: readonly number[];
  /** When it is aborted, `close` waits for no upload: the spool keeps them. */
  readonly endAtOnce?: AbortSignal;
}

const log = createLogger('writing');

/** A manifest whose last part has come is put in this time, or fails the close of that part. */
const putMs = 60_000;

/** Commits under way at the end of a mount get this long; what is left stays in the spool. */
const drainMs = 25_000;

const noImages: ReadonlySet<PendingImage> = new Set();

const optionsOf = ({ signal }: CallOptions): CallOptions => (signal === undefined ? {} : { signal });

/** Something in the spool that is no blob, as `@uploads/` shows it. */
export interface KeptItem {
  readonly shownAs: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  size(): number;
  read(buffer: Uint8Array, position: number): MaybePromise<number>;
  /** Why it is not in the store, as text. */
  waitsFor(): string | undefined;
  /** Give it up. */
  drop(): Promise<void>;
}

export class Writing {
  readonly rules: WritingRules;
  readonly uploads: Uploads;
  readonly table: UploadTable;
  /** Directories made with mkdir that are no image yet, by {@link placeKey}. */
  readonly pending = new Map<string, PendingImage>();
  /** Those with a manifest in the spool. */
  readonly waiting = new Set<PendingImage>();
  readonly #context: TreeContext;
  readonly #timers = new Map<object, NodeJS.Timeout>();
  /** Archives in the spool. */
  readonly archives = new Set<ArchiveUpload>();
  #closed = false;
  #recovering: Promise<void> = Promise.resolve();

  constructor(context: TreeContext, rules: WritingRules) {
    this.#context = context;
    this.rules = rules;
    this.uploads = new Uploads({
      cacheDirectory: context.content.directory,
      ...(rules.retryAfterMs === undefined ? {} : { retryAfterMs: rules.retryAfterMs }),
      ...(rules.endAtOnce === undefined ? {} : { endAtOnce: rules.endAtOnce }),
      seenIn: (store, digest) => this.seenIn(store, digest),
      onCommitted: (state, { descriptor }) =>
        this.arrived(state.storeId, state.repository, descriptor.digest, noImages),
    });
    this.table = new UploadTable(this.uploads);
  }

  /** Repositories of the store in which the blob was seen since the mount. */
  seenIn(store: ImageStore, digest: Digest): readonly string[] {
    const source = this.#context.seen.get(digest);
    return source !== undefined && source.store.id === store.id ? [source.repository] : [];
  }

  /** @throws ImgfsError `forbidden` without --allow-overwrite. */
  assertOverwrite(what: string): void {
    if (this.rules.allowOverwrite) return;
    throw new ImgfsError('forbidden', `${what} is there already`, {
      hint: 'mount with --allow-overwrite to replace it, or choose another name',
    });
  }

  /** @throws ImgfsError `forbidden` without --allow-delete. */
  assertDelete(what: string): void {
    if (this.rules.allowDelete) return;
    throw new ImgfsError('forbidden', `${what} may not be deleted on this mount`, {
      hint: 'mount with --allow-delete to delete',
    });
  }

  /** Check a manifest, put it, and let the tree know. @throws ImgfsError as `pushManifest`. */
  async putManifest(
    store: ImageStore,
    repository: string,
    bytes: Uint8Array,
    options: CallOptions & { readonly tag?: string; readonly expected?: Digest; readonly child?: boolean },
  ): Promise<Descriptor> {
    const { tag, expected, child } = options;
    const descriptor = await pushManifest({ store: assertPusher(store), repository }, bytes, {
      ...optionsOf(options),
      ...(tag === undefined ? {} : { tags: [tag] }),
      ...(expected === undefined ? {} : { expected }),
      ...(child === undefined ? {} : { child }),
      seenIn: (digest) => this.seenIn(store, digest),
    });
    await this.noteImage(store, repository, tag, descriptor);
    return descriptor;
  }

  /**
   * A repository has a blob or a manifest: manifests that waited for it are put.
   * `chain`: images that are being put by whoever asks.
   * @throws ImgfsError when one of them is refused: who brought the last part is told.
   */
  async arrived(
    storeId: string,
    repository: string,
    digest: Digest,
    chain: ReadonlySet<PendingImage>,
  ): Promise<void> {
    for (const image of Array.from(this.waiting)) {
      const { place } = image;
      if (chain.has(image) || place.store.id !== storeId || place.repository !== repository) continue;
      await image.arrived(digest, { signal: AbortSignal.timeout(putMs) }, chain);
    }
  }

  /** A manifest is whole, and the store could not take it now. */
  tryLater(image: PendingImage, attempt = 0): void {
    if (this.#closed || this.#timers.has(image)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(image);
      if (this.#closed || !this.waiting.has(image)) return;
      image.tryPut({ signal: AbortSignal.timeout(putMs) }).catch((error: unknown) => {
        log.info('a manifest could not be put again', { path: image.place.path, error: String(error) });
        clearTimeout(this.#timers.get(image));
        this.#timers.delete(image);
        if (isPassing(toImgfsError(error))) this.tryLater(image, attempt + 1);
      });
    }, this.uploads.retryPauseMs(attempt));
    timer.unref();
    this.#timers.set(image, timer);
  }

  /** Try again what failed for a reason that passes; `what` once at a time. */
  later(what: object, work: () => Promise<void>, attempt = 0): void {
    if (this.#closed || this.#timers.has(what)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(what);
      if (this.#closed) return;
      work().catch((error: unknown) => log.info('it failed again', { error: String(error) }));
    }, this.uploads.retryPauseMs(attempt));
    timer.unref();
    this.#timers.set(what, timer);
  }

  /**
   * Another tag of that name may have been made since its directory was.
   * @throws ImgfsError `forbidden` without --allow-overwrite.
   */
  async assertTagFree(
    store: ImageStore,
    repository: string,
    tag: string,
    isSame: (there: Digest) => boolean,
    options: CallOptions,
  ): Promise<void> {
    if (this.rules.allowOverwrite) return;
    try {
      const { descriptor } = await store.resolve({ repository, tag }, optionsOf(options));
      if (isSame(descriptor.digest)) return;
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return;
      throw error;
    }
    this.assertOverwrite(`the tag ${tag}`);
  }

  /** A newer document takes the place of one that waits under the same name. */
  async forgetWaiting(by: PendingImage, name: DocumentName): Promise<void> {
    for (const image of this.waiting) if (image !== by && image.key === by.key) await image.drop(name);
  }

  /** What waits in the spool for a repository, besides uploads of blobs. */
  waitingIn(store: ImageStore, repository: string): readonly KeptItem[] {
    const isHere = ({ place }: { place: { store: ImageStore; repository: string } }): boolean =>
      place.store.id === store.id && place.repository === repository;
    return [
      ...[...this.waiting].filter(isHere).flatMap((image) => image.waiting()),
      ...[...this.archives].filter((archive) => isHere(archive) && !archive.isLoaded),
    ];
  }

  /** An image of this store gets one more name. @throws ImgfsError `cross-device` between stores. */
  async tagImage(
    store: ImageStore,
    repository: string,
    tag: string,
    image: Image,
    options: CallOptions,
  ): Promise<Descriptor> {
    if (image.store.id !== store.id)
      throw new ImgfsError('cross-device', `tag ${tag}: ${image.reference} is in another store`, {
        hint: 'copy it with imgfs cp, or cp -r',
      });
    const result = await copyImage(
      { store: image.store, repository: image.repository, descriptor: image.descriptor },
      { store: assertPusher(store), repository },
      { ...optionsOf(options), tags: [tag] },
    );
    await this.noteImage(store, repository, tag, result.descriptor);
    await this.arrived(store.id, repository, result.descriptor.digest, noImages);
    return result.descriptor;
  }

  async deleteTag(store: ImageStore, repository: string, tag: string, options: CallOptions): Promise<void> {
    this.assertDelete(`the tag ${tag}`);
    const fallback = this.rules.tagDeleteFallback === true;
    await deleteTag(store, repository, tag, { ...optionsOf(options), fallback });
    await this.#context.images.tags.note(store, { repository, tag }, undefined);
  }

  /** Before a tag moves: what could not be taken away afterwards would be there twice. */
  async assertTagMayGo(store: ImageStore, repository: string, options: CallOptions): Promise<void> {
    this.assertDelete('a tag that moves');
    const fallback = this.rules.tagDeleteFallback === true;
    await assertTagsDeletable(store, repository, { ...optionsOf(options), fallback });
  }

  async deleteManifest(
    store: ImageStore,
    repository: string,
    digest: Digest,
    options: CallOptions,
  ): Promise<void> {
    this.assertDelete(`the manifest ${digest}`);
    if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
    await store.deleteManifest(repository, digest, optionsOf(options));
    await this.#context.images.tags.note(store, { repository, digest }, undefined);
    this.#context.seen.remove(digest);
  }

  async deleteBlob(
    store: ImageStore,
    repository: string,
    digest: Digest,
    options: CallOptions,
  ): Promise<void> {
    this.assertDelete(`the blob ${digest}`);
    if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
    await store.deleteBlob(repository, digest, optionsOf(options));
    this.#context.seen.remove(digest);
  }

  /** The tree shows it from now on. */
  async noteImage(
    store: ImageStore,
    repository: string,
    tag: string | undefined,
    descriptor: Descriptor,
  ): Promise<void> {
    const { images, seen, visitedRegistries } = this.#context;
    if (tag !== undefined) await images.tags.note(store, { repository, tag }, descriptor);
    await images.tags.note(store, { repository, digest: descriptor.digest }, descriptor);
    this.noteRepository(store, repository);
    if (store.transport === 'docker') {
      visitedRegistries.add(store.id.replace(/^docker:\/\//, ''));
    }
    seen.learn(store, repository, descriptor, undefined);
  }

  /** The store has something in this repository: directories made with mkdir on the way to it are real by now. */
  noteRepository(store: ImageStore, repository: string): void {
    const parts = repository.split('/');
    for (let length = parts.length; length > 0; length -= 1)
      this.pending.delete(placeKey(store, parts.slice(0, length).join('/')));
    if (store.transport === 'docker') this.#context.images.names.confirm(store, repository);
  }

  /** Finish what earlier processes left behind, in the background. */
  recover(): Promise<void> {
    this.#recovering = this.#recover();
    return this.#recovering;
  }

  async #recover(): Promise<void> {
    const open = async (storeId: string): Promise<ImageStore | undefined> => {
      const { stores } = this.#context;
      const host = storeId.replace(/^docker:\/\//, '');
      if (host !== storeId) return stores.registry(host);
      for (const name of stores.localNames()) {
        const store = await stores.local(name).catch(() => undefined);
        if (store?.id === storeId) return store;
      }
      return undefined;
    };
    await this.uploads.recover(open, {
      manifest: (kept, store) => this.#restore(kept, store),
      archive: (upload, store) => this.#reload(upload, store),
    });
  }

  /** A manifest of an earlier process waits on; it is shown in `@uploads/`, and its directory is not made again. */
  async #restore(kept: KeptManifest, store: ImageStore): Promise<void> {
    const { repository, manifest } = kept.state;
    if (manifest === undefined) return;
    const { document: _document, ...address } = manifest;
    const image = new PendingImage(this, { store, repository, ...address }, undefined);
    await image.restore(kept, { signal: AbortSignal.timeout(putMs) });
  }

  /** An archive of an earlier process: loaded when it is whole, and shown until then. */
  async #reload(upload: OwnedUpload, store: ImageStore): Promise<void> {
    const { repository, archive, phase } = upload.state;
    const place = { store, repository, tag: archive?.tag ?? '' };
    const known = new ArchiveUpload(this, place, upload, () => undefined);
    if (phase !== 'open') await known.loadAndForget();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.uploads.drain(drainMs);
    await Promise.race([this.#recovering.catch(() => undefined), sleep(drainMs, undefined, { ref: false })]);
    for (const timer of this.#timers.values()) clearTimeout(timer);
    for (const image of this.waiting) await image.release();
    for (const archive of this.archives) await archive.leave();
    this.pending.clear();
  }
}
