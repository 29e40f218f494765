/**
 * An image in the making: a directory made with mkdir, into which a manifest, a config and layers are written in any
 * order, as `cp -r` does. The manifest is put when the repository has everything that it names; until then there is
 * no tag.
 */
import { ImgfsError, describeError } from '../../errors/imgfs-error.js';
import { checkManifest, lacking, missingContent } from '../../image/push-manifest.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import type { Manifest } from '../../oci/manifest.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { placeKey, type Writing } from './writing.js';

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
  /** What is missing, as text, at the last look. */
  waitsFor: string | undefined;
}

export class PendingImage {
  readonly place: PendingPlace;
  readonly key: string;
  /** `layers/` was made. */
  hasLayers = false;
  /** Process that made the directory. */
  readonly maker: number;
  /** The tag is made: only its maker, who may be copying still, sees the directory instead of the image. */
  isDone = false;
  /** When something was last done in it, in milliseconds since the epoch. */
  touchedAt = 0;
  readonly #writing: Writing;
  readonly #begun = new Set<DocumentName>();
  readonly #documents = new Map<DocumentName, Document>();

  constructor(writing: Writing, place: PendingPlace, maker: number) {
    this.maker = maker;
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

  /** Forget a document that was not put. */
  drop(name: DocumentName): void {
    this.#begun.delete(name);
    if (this.#documents.get(name)?.put === false) this.#documents.delete(name);
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
    this.#documents.set(name, { bytes, manifest, put: false, waitsFor: undefined });
    await this.tryPut(options);
  }

  /** Put what can be put by now: manifests before the index that names them. */
  async tryPut(options: CallOptions): Promise<void> {
    for (const name of ['manifest.json', 'index.json'] as const) {
      const document = this.#documents.get(name);
      if (document !== undefined && !document.put) await this.#tryPut(name, document, options);
    }
  }

  /** The manifest that a waiting document waits for things with; for fsync, which must not claim too much. */
  assertPut(name: DocumentName): void {
    const document = this.#documents.get(name);
    if (document === undefined || document.put) return;
    throw new ImgfsError(
      'invalid',
      `${name} is not in the store yet: ${document.waitsFor ?? 'it was not tried'}`,
    );
  }

  async #tryPut(name: DocumentName, document: Document, options: CallOptions): Promise<void> {
    const { store, repository, tag, digest } = this.place;
    const place = { store: assertPusher(store), repository };
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    const missing = await missingContent(place, document.manifest, {
      ...signal,
      seenIn: (wanted) => this.#writing.seenIn(store, wanted),
    });
    if (missing.length > 0) {
      document.waitsFor = describeError(lacking(place, document.manifest, missing));
      return;
    }
    const isChild = name === 'manifest.json' && this.#documents.has('index.json');
    await this.#writing.putManifest(store, repository, document.bytes, {
      ...signal,
      ...(isChild ? { child: true } : tag === undefined ? {} : { tag }),
      ...(isChild || digest === undefined ? {} : { expected: digest }),
    });
    document.put = true;
    document.waitsFor = undefined;
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
