/** The tags of one repository (distribution's `TagService`, regclient's `TagList` and `TagDelete`). */
import { ifMissing, isThere } from '../../errors/if-missing.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import type { CallOptions, ImageStore, ListOptions } from '../../store/store.js';
import { deleteTag, type DeleteTagOptions } from '../delete-tag.js';
import { readManifest } from '../read-manifest.js';
import { assertPusher } from '../upload/uploads.js';
import { tagLister } from './able.js';
import { atMost, signalOf, type LibraryContext } from './library-context.js';
import { TagReader } from './tag-reader.js';

/** Where a list of names begins and ends. */
export interface NameListOptions extends ListOptions {
  /** No more than so many names. */
  readonly limit?: number;
}

/** Tags asked about at the same time: as many as a registry lets one client have connections. */
const parallelLookups = 4;

export class RepositoryTags {
  readonly #context: LibraryContext;
  readonly #store: ImageStore;
  readonly #repository: string;

  constructor(context: LibraryContext, store: ImageStore, repository: string) {
    this.#context = context;
    this.#store = store;
    this.#repository = repository;
  }

  /** Tags in the store's order, as they come. @throws ImgfsError `not-found`; `unsupported` without a list. */
  async *list(options: NameListOptions = {}): AsyncGenerator<string, void> {
    const { limit, ...list } = options;
    const pageSize = list.pageSize ?? limit;
    const names = tagLister(this.#store).tags(this.#repository, {
      ...list,
      ...(pageSize === undefined ? {} : { pageSize }),
    });
    yield* atMost(names, limit);
  }

  /** A reader of pages that can stop, and go on at its cursor in another process. */
  reader(cursor?: string): TagReader {
    return new TagReader((options) => tagLister(this.#store).tags(this.#repository, options), cursor);
  }

  /** What a tag stands for now. @throws ImgfsError `not-found`, and what the store throws. */
  async get(tag: string, options: CallOptions = {}): Promise<Descriptor> {
    const target = { repository: this.#repository, tag };
    return (await this.#context.images.tags.resolve(this.#store, target, options)).descriptor;
  }

  /** True when the repository has the tag: one HEAD. @throws ImgfsError when the store gave no answer. */
  async exists(tag: string, options: CallOptions = {}): Promise<boolean> {
    return isThere(this.get(tag, options));
  }

  /**
   * Point a tag at a manifest that the repository has: the same bytes are put under it.
   * @throws ImgfsError `not-found`, `read-only-store`, and what the store throws.
   */
  async tag(digest: Digest, tag: string, options: CallOptions = {}): Promise<Descriptor> {
    const store = assertPusher(this.#store);
    const { descriptor, bytes } = await store.resolve({ repository: this.#repository, digest }, options);
    const exact = bytes ?? (await readManifest(store, this.#repository, descriptor, options));
    const put = await store.putManifest(this.#repository, exact, descriptor.mediaType, {
      ...signalOf(options),
      tags: [tag],
    });
    await this.#context.images.tags.note(store, { repository: this.#repository, tag }, put);
    return put;
  }

  /**
   * Take a tag away; the manifest stays.
   * @throws ImgfsError `not-found`; `unsupported` where a registry deletes by digest only and `fallback` is not set.
   */
  async untag(tag: string, options: DeleteTagOptions = {}): Promise<void> {
    await deleteTag(this.#store, this.#repository, tag, options);
    await this.#context.images.tags.note(this.#store, { repository: this.#repository, tag }, undefined);
  }

  /** The tags that stand for a digest, in the store's order. One HEAD for each tag of the repository. */
  async lookup(digest: Digest, options: CallOptions = {}): Promise<readonly string[]> {
    const found: string[] = [];
    let batch: string[] = [];
    const flush = async (): Promise<void> => {
      const digests = await Promise.all(batch.map((tag) => this.#digestOf(tag, options)));
      found.push(...batch.filter((_, at) => digests[at] === digest));
      batch = [];
    };
    for await (const tag of this.list(options)) {
      batch.push(tag);
      if (batch.length >= parallelLookups) await flush();
    }
    await flush();
    return found;
  }

  /** Undefined for a tag that went since it was listed. */
  async #digestOf(tag: string, options: CallOptions): Promise<Digest | undefined> {
    return (await ifMissing(this.get(tag, options), undefined))?.digest;
  }
}
