/**
 * A store of images as a library sees it: a registry, an OCI layout, an archive. The methods are those of skopeo's
 * `Registry`, of distribution's `Registry`, and of regclient's schemes; docs/INTERFACES.md maps each.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { isRepositoryName, parseReference } from '../../oci/reference.js';
import { storeCapabilities, type StoreCapabilities } from '../../store/capabilities.js';
import type { CollectOptions, CollectResult } from '../../store/layout/collect-garbage.js';
import { LayoutStore } from '../../store/layout/layout-store.js';
import {
  isRateLimited,
  type CallOptions,
  type ImageStore,
  type RateLimit,
  type SearchHit,
  type SearchOptions,
} from '../../store/store.js';
import { repositoryLister } from './able.js';
import { atMost, createLibraryContext, type LibraryContext, type LibraryOptions } from './library-context.js';
import { searchStore } from '../search-store.js';
import { pingStore } from './ping-store.js';
import { Repository } from './repository.js';
import type { NameListOptions } from './repository-tags.js';

/** Uploads that are under way get so long to end when the registry is closed, in milliseconds. */
const drainMs = 5_000;

export class Registry {
  readonly store: ImageStore;
  readonly #context: LibraryContext;

  /** The registry takes the store over and closes it; the cache in `options` stays the caller's. */
  constructor(store: ImageStore, options: LibraryOptions) {
    this.store = store;
    this.#context = createLibraryContext(options);
  }

  /** Host of a registry; for other stores the id: `oci:/var/lib/images`. */
  get name(): string {
    return this.store.id.replace(/^docker:\/\//, '');
  }

  /** What the store can do. Asks nothing. */
  info(): StoreCapabilities {
    return storeCapabilities(this.store);
  }

  /** Whether the registry is there and takes our credentials. @throws ImgfsError `unauthorized`, `denied`, `unavailable`. */
  async ping(options: CallOptions = {}): Promise<void> {
    await pingStore(this.store, options);
  }

  /** Names of repositories, as they come. @throws ImgfsError `unsupported` where there is no catalog. */
  async *repositories(options: NameListOptions = {}): AsyncGenerator<string, void> {
    const { limit, ...list } = options;
    yield* atMost(repositoryLister(this.store).repositories(list), limit);
  }

  /**
   * A repository by name. `alpine` is `library/alpine` on Docker Hub. Costs nothing.
   * @throws ImgfsError `name-invalid`.
   */
  repository(name: string): Repository {
    if (this.store.transport !== 'docker') return new Repository(this.#context, this.store, name);
    const full = name.includes('/') || this.name !== 'docker.io' ? name : parseReference(name).repository;
    if (isRepositoryName(full)) return new Repository(this.#context, this.store, full);
    throw new ImgfsError('name-invalid', `${JSON.stringify(name.slice(0, 300))} is not a repository name`);
  }

  /** Repositories that a term finds: Docker Hub's search, elsewhere names of the catalog. @throws `unsupported`. */
  lookup(term: string, options: SearchOptions = {}): AsyncIterable<SearchHit> {
    return searchStore(this.store, term, options);
  }

  /** How many requests the server still allows, by its last answer; undefined when it never said. Asks nothing. */
  rateLimit(): RateLimit | undefined {
    return isRateLimited(this.store) ? this.store.rateLimit() : undefined;
  }

  /**
   * Remove what no image of an OCI layout needs.
   * @throws ImgfsError `unsupported` for other stores; `busy` while `gcLock` is held.
   */
  async collectGarbage(options: CollectOptions & CallOptions = {}): Promise<CollectResult> {
    return this.#layout('collect garbage').collectGarbage(options);
  }

  /** Hold garbage collection off until the answer is called. Does nothing for stores that have none. */
  gcLock(): () => void {
    return this.store instanceof LayoutStore ? this.store.holdGarbage() : () => undefined;
  }

  /** Let go of connections; uploads under way get five seconds. With `collect`, garbage of a layout is removed first. */
  async close(options: { readonly collect?: CollectOptions } = {}): Promise<void> {
    await this.#context.uploads.drain(drainMs);
    try {
      if (options.collect !== undefined && this.store instanceof LayoutStore)
        await this.store.collectGarbage(options.collect);
    } catch (error) {
      if (!isImgfsError(error, 'busy')) throw error;
    } finally {
      await this.store.close();
    }
  }

  #layout(operation: string): LayoutStore {
    if (this.store instanceof LayoutStore) return this.store;
    throw new ImgfsError('unsupported', `${operation}: ${this.store.id} is not an OCI layout`, {
      hint: 'registries collect their garbage themselves',
    });
  }
}
