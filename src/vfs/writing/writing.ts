/** Everything that changes stores on behalf of one mount: what is allowed, what is under way, what to tell afterwards. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { deleteTag } from '../../image/delete-tag.js';
import type { Image } from '../../image/image.js';
import { copyImage } from '../../image/copy/copy-image.js';
import { pushManifest } from '../../image/push-manifest.js';
import { assertPusher, Uploads } from '../../image/upload/uploads.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { isDeleter, type CallOptions, type ImageStore } from '../../store/store.js';
import type { TreeContext } from '../tree-context.js';
import type { PendingImage } from './pending-image.js';
import { UploadTable } from './upload-table.js';

export interface WritingRules {
  /** Tags may be pointed at something else. */
  readonly allowOverwrite: boolean;
  /** Tags, manifests and blobs may be deleted. */
  readonly allowDelete: boolean;
  /** Delete tags by a dummy manifest where a registry deletes by digest only. */
  readonly tagDeleteFallback?: boolean;
}

/** Commits under way at the end of a mount get this long; what is left stays in the spool. */
const drainMs = 25_000;

const optionsOf = ({ signal }: CallOptions): CallOptions => (signal === undefined ? {} : { signal });

export class Writing {
  readonly rules: WritingRules;
  readonly uploads: Uploads;
  readonly table: UploadTable;
  /** Directories made with mkdir that are no image yet, by {@link placeKey}. */
  readonly pending = new Map<string, PendingImage>();
  readonly #context: TreeContext;

  constructor(context: TreeContext, rules: WritingRules) {
    this.#context = context;
    this.rules = rules;
    this.uploads = new Uploads({
      cacheDirectory: context.content.directory,
      seenIn: (store, digest) => this.seenIn(store, digest),
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
    return result.descriptor;
  }

  async deleteTag(store: ImageStore, repository: string, tag: string, options: CallOptions): Promise<void> {
    this.assertDelete(`the tag ${tag}`);
    const fallback = this.rules.tagDeleteFallback === true;
    await deleteTag(store, repository, tag, { ...optionsOf(options), fallback });
    await this.#context.images.tags.note(store, { repository, tag }, undefined);
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
  async recover(): Promise<void> {
    await this.uploads.recover(async (storeId) => {
      const { stores } = this.#context;
      const host = storeId.replace(/^docker:\/\//, '');
      if (host !== storeId) return stores.registry(host);
      for (const name of stores.localNames()) {
        const store = await stores.local(name).catch(() => undefined);
        if (store?.id === storeId) return store;
      }
      return undefined;
    });
  }

  async close(): Promise<void> {
    await this.uploads.drain(drainMs);
    this.pending.clear();
  }
}

/** Names a place in a store: a repository, or a tag of the one above it. */
export function placeKey(store: ImageStore, path: string): string {
  return `${store.id}\0${path}`;
}
