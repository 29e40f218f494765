/** The blobs of one repository (distribution's `LayerService`, later `BlobStore`; regclient's `Blob…` methods). */
import { createDigester, digestAlgorithm, type Digest } from '../../oci/digest.js';
import { isThere } from '../../errors/if-missing.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { mediaTypes } from '../../oci/media-type.js';
import {
  isBlobDater,
  type Body,
  type ByteRange,
  type CallOptions,
  type ImageStore,
} from '../../store/store.js';
import type { BlobReader } from '../../content/content.js';
import type { Image } from '../image.js';
import { assertPusher } from '../upload/uploads.js';
import { blobStatter, deleter } from './able.js';
import { RepositoryUpload } from './blob-upload.js';
import { signalOf, type LibraryContext } from './library-context.js';

/** Where a time comes from: registries have no field for it. */
export interface CreatedAt {
  readonly at: Date;
  /** `store`: when it came there. `history`: the step that made it. `image`: the image's own time. */
  readonly source: 'store' | 'history' | 'image';
}

/** What is known of a blob beforehand. */
export interface PutBlobOptions extends CallOptions {
  /** The content must be this; where the repository has it already, nothing is sent. */
  readonly digest?: Digest;
}

export class RepositoryBlobs {
  readonly #context: LibraryContext;
  readonly #store: ImageStore;
  readonly #repository: string;

  constructor(context: LibraryContext, store: ImageStore, repository: string) {
    this.#context = context;
    this.#store = store;
    this.#repository = repository;
  }

  /** Digest and size without the content: one HEAD. @throws ImgfsError `not-found`. */
  head(digest: Digest, options: CallOptions = {}): Promise<Descriptor> {
    return blobStatter(this.#store).statBlob(this.#repository, digest, signalOf(options));
  }

  /** True when the repository has the blob. @throws ImgfsError when the store gave no answer. */
  async exists(digest: Digest, options: CallOptions = {}): Promise<boolean> {
    return isThere(this.head(digest, options));
  }

  /**
   * The content as a stream, from the store, whole or one range of it. The whole is verified: the stream fails at its
   * end with `integrity` when the bytes are not the digest's. A range cannot be.
   */
  async get(digest: Digest, options: CallOptions & { readonly range?: ByteRange } = {}): Promise<Body> {
    const { size } = await this.head(digest, options);
    const descriptor = { mediaType: mediaTypes.octetStream, digest, size };
    const body = await this.#store.fetch(this.#repository, descriptor, options);
    return options.range === undefined ? { ...body, chunks: verified(body.chunks, digest) } : body;
  }

  /** Random access through the cache: read at any offset, what is absent is fetched. Close it. */
  async open(digest: Digest, options: CallOptions = {}): Promise<BlobReader> {
    const descriptor = await this.head(digest, options);
    return this.#context.content.open(
      { store: this.#store, repository: this.#repository, descriptor },
      signalOf(options),
    );
  }

  /**
   * Bring a stream into the repository; resolves to its digest and size.
   * @throws ImgfsError `digest-mismatch`, `read-only-store`, and what the store throws.
   */
  async put(
    content: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | Uint8Array,
    options: PutBlobOptions = {},
  ): Promise<Descriptor> {
    const upload = await this.upload(options.digest === undefined ? {} : { digest: options.digest });
    try {
      if (content instanceof Uint8Array) await upload.write(content);
      else await upload.readFrom(content);
      if (options.signal?.aborted === true) throw new ImgfsError('interrupted', 'put blob: cancelled');
      return await upload.finish();
    } catch (error) {
      await upload.cancel();
      throw error;
    }
  }

  /**
   * Take a blob over from another repository of the same store without moving a byte; false when the store would not.
   * @throws ImgfsError `read-only-store`, and what the store throws.
   */
  mount(from: string, digest: Digest, options: CallOptions = {}): Promise<boolean> {
    return assertPusher(this.#store).mountBlob(this.#repository, from, digest, options);
  }

  /** @throws ImgfsError `not-found`; `unsupported` where the server refuses in general. */
  async delete(digest: Digest, options: CallOptions = {}): Promise<void> {
    await deleter(this.#store).deleteBlob(this.#repository, digest, options);
  }

  /** Begin an upload that is written piece by piece. */
  async upload(
    options: { readonly digest?: Digest; readonly name?: string } = {},
  ): Promise<RepositoryUpload> {
    const { uploads } = this.#context;
    const writer = await uploads.start({
      store: this.#store,
      repository: this.#repository,
      name: options.name ?? options.digest ?? 'blob',
      ...(options.digest === undefined ? {} : { expected: options.digest }),
    });
    return new RepositoryUpload(uploads, writer);
  }

  /**
   * Go on with an upload by its `uuid`, also one of a process that died.
   * @throws ImgfsError `not-found` when there is none in the spool; `busy` while somebody works on it.
   */
  async resume(uuid: string): Promise<RepositoryUpload> {
    const { uploads } = this.#context;
    const known = (await uploads.spool.list()).find(({ state }) => state.id === uuid);
    if (known?.state.storeId !== this.#store.id || known.state.repository !== this.#repository)
      throw new ImgfsError('not-found', `resume upload ${uuid}: ${this.#repository} has none of that id`, {
        hint: 'imgfs upload ls shows what was cut off',
      });
    const writer = await uploads.adopt(uuid, this.#store);
    if (writer === undefined) throw new ImgfsError('busy', `resume upload ${uuid}: somebody works on it`);
    return new RepositoryUpload(uploads, writer);
  }

  /**
   * When a layer was made: by the store, else by the image's history, else by the image. Undefined when nobody knows.
   * @param image whose layer it is, for the last two.
   */
  async createdAt(digest: Digest, image?: Image, options: CallOptions = {}): Promise<CreatedAt | undefined> {
    const stored = isBlobDater(this.#store)
      ? await this.#store.blobDate(this.#repository, digest, options)
      : undefined;
    if (stored !== undefined) return { at: stored, source: 'store' };
    const config = await image?.config(options);
    if (image === undefined || config === undefined) return undefined;
    const { manifest } = await image.chosen(options);
    const index =
      manifest.kind === 'image' ? manifest.layers.findIndex((layer) => layer.digest === digest) : -1;
    const step = config.history.filter(({ emptyLayer }) => !emptyLayer)[index];
    const made = Date.parse(step?.created ?? '');
    if (Number.isFinite(made)) return { at: new Date(made), source: 'history' };
    const whole = Date.parse(config.created ?? '');
    return Number.isFinite(whole) ? { at: new Date(whole), source: 'image' } : undefined;
  }
}

async function* verified(chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  const digester = createDigester(digestAlgorithm(digest));
  for await (const chunk of chunks) {
    digester.update(chunk);
    yield chunk;
  }
  const got = digester.digest();
  if (got === digest) return;
  throw new ImgfsError('integrity', `get blob: the bytes are ${got}, not ${digest}`, {
    digest,
    hint: 'the store is damaged, or a proxy before it changes bytes',
  });
}
