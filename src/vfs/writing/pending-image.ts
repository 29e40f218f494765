/**
 * An image in the making: a directory made with mkdir, into which a manifest, a config and layers are written in any
 * order, as `cp -r` does. The manifest is put when the repository has everything that it names; until then there is
 * no tag.
 */
import { ImgfsError, describeError, toImgfsError } from '../../errors/imgfs-error.js';
import { checkManifest, lacking, missingContent } from '../../image/push-manifest.js';
import { assertPusher, isPassing, type KeptManifest } from '../../image/upload/uploads.js';
import { digestAlgorithm, digestOf, type Digest } from '../../oci/digest.js';
import type { Manifest } from '../../oci/manifest.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import { isSameProcess, processOf } from './thread-group.js';
import { placeKey } from './place-key.js';
import { copyAt } from '../nodes/bytes-file.js';
import type { ArchiveUpload } from './archive-upload.js';
import type { KeptItem, Writing } from './writing.js';

export type DocumentName = 'manifest.json' | 'index.json';

export interface PendingPlace {
  readonly store: ImageStore;
  readonly repository: string;
  /** What it will be called: one of the two, or neither at the root of a registry. */
  readonly tag?: string;
  readonly digest?: Digest;
  /** Path in the store: the repository that this would be if it were one. */
  readonly path: string;
}

interface Document {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  put: boolean;
  /** What is missing at the last look. */
  missing: Set<Digest>;
  /** Why it is not in the store, as text. */
  waitsFor: string | undefined;
  /** Where it outlives this process. */
  kept?: KeptManifest;
}

export class PendingImage {
  readonly place: PendingPlace;
  readonly key: string;
  /** `layers/` was made. */
  hasLayers = false;
  /** Thread that made the directory; 0: nobody who is still there. */
  readonly maker: number;
  readonly #makerProcess: number | undefined;
  /** `image.tar`, which is made into the tag when it is closed. */
  archive: ArchiveUpload | undefined;
  /** The tag is made: only its maker, who may be copying still, sees the directory instead of the image. */
  isDone = false;
  /** When something was last done in it, in milliseconds since the epoch. */
  touchedAt = 0;
  readonly #writing: Writing;
  readonly #begun = new Set<DocumentName>();
  readonly #documents = new Map<DocumentName, Document>();
  #turn: Promise<unknown> = Promise.resolve();

  /** `maker`: who made the directory; undefined for what an earlier process left behind. */
  constructor(
    writing: Writing,
    place: PendingPlace,
    maker: { readonly thread: number; readonly process: number } | undefined,
  ) {
    this.maker = maker?.thread ?? -1;
    this.#makerProcess = maker?.process;
    this.#writing = writing;
    this.place = place;
    this.key = placeKey(place.store, place.path);
  }

  document(
    name: DocumentName,
  ): { readonly bytes: Uint8Array; readonly waitsFor: string | undefined } | undefined {
    return this.#documents.get(name);
  }

  touch(): void {
    this.touchedAt = Date.now();
  }

  /** A document is being written: it is there from now on. */
  begin(name: DocumentName): void {
    this.#begun.add(name);
  }

  has(name: DocumentName): boolean {
    return this.#begun.has(name) || this.#documents.has(name);
  }

  /** Forget a document that was not put, here and in the spool. */
  async drop(name: DocumentName): Promise<void> {
    this.#begun.delete(name);
    const document = this.#documents.get(name);
    if (document === undefined || document.put) return;
    this.#documents.delete(name);
    this.#noteWaiting();
    await document.kept?.remove();
  }

  /** Documents in the spool. */
  waiting(): readonly KeptItem[] {
    return [...this.#documents].flatMap(([name, document]) => {
      const { kept, bytes } = document;
      if (kept === undefined) return [];
      return {
        shownAs: kept.state.name,
        startedAt: kept.state.startedAt,
        size: () => bytes.length,
        read: (buffer: Uint8Array, position: number) => copyAt(bytes, buffer, position),
        waitsFor: () => document.waitsFor,
        drop: () => this.drop(name),
      };
    });
  }

  /** Something has come into the repository. @throws ImgfsError when a document is whole by it and cannot be put. */
  async arrived(digest: Digest, options: CallOptions, chain: ReadonlySet<PendingImage>): Promise<void> {
    // A look that began before it came may end after this one, and say that it is missing.
    await this.#turn;
    let isWhole = false;
    for (const document of this.#documents.values()) {
      if (document.put || !document.missing.delete(digest)) continue;
      isWhole ||= document.missing.size === 0;
    }
    if (isWhole) await this.tryPut(options, chain);
  }

  /** Leave what waits to the next process. */
  async release(): Promise<void> {
    this.#writing.waiting.delete(this);
    for (const document of this.#documents.values()) {
      const { kept } = document;
      delete document.kept;
      await kept?.release();
    }
  }

  /** Take over what an earlier process had kept. @throws ImgfsError when it is no manifest any more. */
  async restore(kept: KeptManifest, options: CallOptions): Promise<void> {
    const name = kept.state.manifest?.document ?? 'manifest.json';
    const manifest = await this.#understood(kept);
    const document = {
      bytes: kept.bytes,
      manifest,
      put: false,
      missing: new Set<Digest>(),
      waitsFor: undefined,
      kept,
    };
    this.#documents.set(name, document);
    this.#noteWaiting();
    await this.tryPut(options);
  }

  documentNames(): readonly DocumentName[] {
    return [...new Set([...this.#begun, ...this.#documents.keys()])];
  }

  /** @throws ImgfsError `forbidden` where no image can be. */
  assertImagePossible(): void {
    if (this.place.tag !== undefined || this.place.digest !== undefined) return;
    throw new ImgfsError('forbidden', `${this.place.store.id}/${this.place.path} is no place for an image`, {
      hint: 'make a directory for the repository, and in it one for the tag',
    });
  }

  /**
   * A document was written. It is put at once when nothing is missing, and kept otherwise: the layers may come later.
   * @throws ImgfsError when it is no manifest, not the one its name says, or the store refuses it.
   */
  async write(name: DocumentName, bytes: Uint8Array, options: CallOptions): Promise<void> {
    this.assertImagePossible();
    const manifest = checkManifest(
      bytes,
      name === 'index.json' ? this.place.digest : this.#expectedManifest(),
    );
    if (name === 'index.json' && manifest.kind !== 'index')
      throw new ImgfsError('invalid', 'index.json: an image manifest where an index belongs', {
        hint: 'write it as manifest.json',
      });
    const before = this.#documents.get(name)?.kept;
    const document: Document = { bytes, manifest, put: false, missing: new Set(), waitsFor: undefined };
    this.#documents.set(name, document);
    this.#noteWaiting();
    try {
      await this.tryPut(options);
    } finally {
      if (!document.put) await this.#keep(name, document);
      await before?.remove();
    }
  }

  /** Put what can be put by now: manifests before the index that names them. */
  tryPut(options: CallOptions, chain: ReadonlySet<PendingImage> = new Set()): Promise<void> {
    // One after the other: the last blobs may come at the same time.
    const done = this.#turn.then(() => this.#tryPutAll(options, new Set([...chain, this])));
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #tryPutAll(options: CallOptions, chain: ReadonlySet<PendingImage>): Promise<void> {
    try {
      for (const name of ['manifest.json', 'index.json'] as const) {
        const document = this.#documents.get(name);
        if (document !== undefined && !document.put) await this.#tryPut(name, document, options, chain);
      }
    } catch (error) {
      const failure = toImgfsError(error, 'put manifest');
      for (const document of this.#documents.values()) {
        if (document.put || document.missing.size > 0) continue;
        document.waitsFor = describeError(failure);
        await document.kept?.note(document.waitsFor).catch(() => undefined);
      }
      if (isPassing(failure)) this.#writing.tryLater(this);
      throw error;
    }
  }

  /**
   * A close or fsync is about to succeed. An image that one process copies file by file has its manifest before its
   * layers: the close of that is good when it is in the spool. Nobody else, and no fsync, is told so.
   * @throws ImgfsError `invalid` while the store does not have it.
   */
  async confirm(
    name: DocumentName,
    caller: Pick<Caller, 'pid'>,
    operation: 'close' | 'fsync',
  ): Promise<void> {
    const document = this.#documents.get(name);
    if (document === undefined || document.put) return;
    const isCopying =
      operation === 'close' &&
      this.#makerProcess !== undefined &&
      isSameProcess(this.#makerProcess, await processOf(caller.pid));
    if (isCopying) return;
    throw new ImgfsError(
      'invalid',
      `${operation}: ${name} is in the spool, not in the store: ${document.waitsFor ?? 'it was not tried'}`,
      {
        hint: 'bring what it lacks: the last of it puts the manifest. @uploads/ shows it; rm there gives it up',
      },
    );
  }

  async #understood(kept: KeptManifest): Promise<Manifest> {
    try {
      return checkManifest(kept.bytes);
    } catch (error) {
      await kept.release();
      throw error;
    }
  }

  async #keep(name: DocumentName, document: Document): Promise<void> {
    const { store, repository, tag, digest, path } = this.place;
    document.kept = await this.#writing.uploads.keepManifest(
      {
        storeId: store.id,
        repository,
        document: name,
        path,
        ...(tag === undefined ? {} : { tag }),
        ...(digest === undefined ? {} : { digest }),
      },
      document.bytes,
    );
    await document.kept.note(document.waitsFor).catch(() => undefined);
    await this.#writing.forgetWaiting(this, name);
    this.#noteWaiting();
  }

  #noteWaiting(): void {
    // From the first look on: what comes between that and the spool must be noticed.
    if ([...this.#documents.values()].some(({ put }) => !put)) this.#writing.waiting.add(this);
    else this.#writing.waiting.delete(this);
  }

  async #tryPut(
    name: DocumentName,
    document: Document,
    options: CallOptions,
    chain: ReadonlySet<PendingImage>,
  ): Promise<void> {
    const { store, repository, tag, digest } = this.place;
    const place = { store: assertPusher(store), repository };
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const missing = await missingContent(place, document.manifest, {
      ...signal,
      seenIn: (wanted) => this.#writing.seenIn(store, wanted),
    });
    document.missing = new Set(missing.map((descriptor) => descriptor.digest));
    if (missing.length > 0) {
      document.waitsFor = describeError(lacking(place, document.manifest, missing));
      return;
    }
    const isChild = name === 'manifest.json' && this.#documents.has('index.json');
    const isSame = (there: Digest): boolean => digestOf(document.bytes, digestAlgorithm(there)) === there;
    if (!isChild && tag !== undefined)
      await this.#writing.assertTagFree(store, repository, tag, isSame, signal);
    const put = await this.#writing.putManifest(store, repository, document.bytes, {
      ...signal,
      ...(isChild ? { child: true } : tag === undefined ? {} : { tag }),
      ...(isChild || digest === undefined ? {} : { expected: digest }),
    });
    document.put = true;
    document.waitsFor = undefined;
    const { kept } = document;
    delete document.kept;
    this.#noteWaiting();
    await kept?.remove();
    await this.#writing.arrived(store.id, repository, put.digest, chain);
    // From now on the name is the image's.
    if (isChild) return;
    this.touch();
    this.isDone = true;
  }

  #expectedManifest(): Digest | undefined {
    const { digest } = this.place;
    const index = this.#documents.get('index.json');
    // Beside an index stands the manifest of one platform.
    return digest !== undefined && index !== undefined && digestOf(index.bytes) === digest
      ? undefined
      : digest;
  }
}
