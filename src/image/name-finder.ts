/**
 * What a path component under a repository is: a tag, a nested repository, the way to one, or nothing.
 *
 * The rule is DESIGN section 2: a repository wins over a tag of the same name; a name is missing only when the
 * store said so. The order of the questions keeps requests few (docs/SEMANTICS.md, "Names"):
 *
 * 1. names known to be repositories, or to lead to one: no request;
 * 2. below a repository that has answered: the tag first (one HEAD), the nested repository only if there is no
 *    such tag;
 * 3. below anything else: both at once;
 * 4. if neither is there, and the parent is no repository: the catalog, for a repository further below; where
 *    there is no catalog the name is taken for a way to one, since no registry can deny that.
 */
import type { ContentCache } from '../content/content.js';
import { isImgfsError } from '../errors/imgfs-error.js';
import { dockerHub, isRepositoryComponent, isTag, maxRepositoryLength } from '../oci/reference.js';
import { isRepositoryLister, type CallOptions, type ImageStore } from '../store/store.js';
import { KnownNames } from './known-names.js';
import { isRefusal, RepositoryProbe, type ProbeAnswer } from './repository-probe.js';
import { SingleFlight } from './single-flight.js';
import type { ResolvedName, TagResolver } from './tag-resolver.js';

export interface FoundRepository {
  readonly kind: 'repository';
  readonly repository: string;
  /**
   * `exists`: the store said so, or it is known to lead to one. `hidden`: the store does not say (401, 403).
   * `assumed`: nothing is known against it.
   */
  readonly certainty: 'exists' | 'hidden' | 'assumed';
}

export interface FoundTag {
  readonly kind: 'tag';
  readonly repository: string;
  readonly tag: string;
  readonly resolved: ResolvedName;
}

export type Found = FoundRepository | FoundTag;

export interface NameFinderOptions {
  readonly content: ContentCache;
  readonly tags: TagResolver;
  /** How long a true "not found" is believed, in milliseconds. */
  readonly negativeTtlMs: number;
  /** Repositories named in the configuration, by store id: listed and taken for existing. */
  readonly configured?: ReadonlyMap<string, readonly string[]>;
  /**
   * Names that are never taken for a mere way to a repository: entries of image directories, so that
   * `missing/v1/manifest.json` is not a directory.
   */
  readonly neverAssumed?: (component: string) => boolean;
  readonly now?: () => number;
}

type Attempt<Value> = { readonly value: Value } | { readonly error: unknown };

/** A list of a local store is in memory or one file: looking again after a second costs nothing. */
const localListTtlMs = 1000;

/** A local store of a million names would be an odd thing; the bound keeps a hostile index from filling memory. */
const maxLocalNames = 1_000_000;

export class NameFinder {
  readonly #options: NameFinderOptions;
  readonly #now: () => number;
  readonly #known = new KnownNames();
  readonly #probe: RepositoryProbe;
  readonly #loaded = new Map<string, Promise<void>>();
  readonly #localLists = new Map<string, { readonly until: number; readonly names: KnownNames }>();
  readonly #listings = new SingleFlight<KnownNames>();

  constructor(options: NameFinderOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#probe = new RepositoryProbe(options.negativeTtlMs, this.#now);
  }

  /**
   * Say what `component` is under the repository (or prefix, or `''`) `parent`; undefined when the store said that
   * it is nothing.
   * @throws ImgfsError when the store gave no answer, or none that settles it.
   */
  async find(
    store: ImageStore,
    parent: string,
    component: string,
    options: CallOptions = {},
  ): Promise<Found | undefined> {
    if (store.transport !== 'docker') return this.#findLocally(store, parent, component, options);
    await this.#recall(store);
    const name = join(parent, component);
    if (this.#known.kind(store.id, name) !== undefined) return existing(name);
    const { tagPossible, repositoryPossible } = possibilities(store, parent, component);
    if (parent === '' && namespacesOnly(store)) return repositoryPossible ? assumed(name) : undefined;
    if (this.#isRepository(store, parent) || (tagPossible && !repositoryPossible)) {
      const tag = tagPossible ? await this.#findTag(store, parent, component, options) : undefined;
      if (tag !== undefined || !repositoryPossible) return tag;
      return (await this.#probe.probe(store, name, options.signal)) === 'yes'
        ? this.#learned(store, name)
        : undefined;
    }
    if (!repositoryPossible) return undefined;
    return this.#findBoth(store, parent, component, tagPossible, options);
  }

  /** Resolve a tag of a repository whose name is beyond doubt (`<repo>:<tag>`, `@tags/<tag>`). @throws as `find`. */
  async findTag(
    store: ImageStore,
    repository: string,
    tag: string,
    options: CallOptions = {},
  ): Promise<FoundTag | undefined> {
    if (store.transport === 'docker' && !isTag(tag)) return undefined;
    return this.#findTag(store, repository, tag, options);
  }

  /** True when the store says that there is such a repository. Asks at most once in a while. */
  async isNestedRepository(store: ImageStore, name: string, options: CallOptions = {}): Promise<boolean> {
    if (store.transport !== 'docker')
      return (await this.#localNames(store, options)).kind(store.id, name) !== undefined;
    if (this.#known.kind(store.id, name) !== undefined) return true;
    if (tooDeep(store, name)) return false;
    if ((await this.#probe.probe(store, name, options.signal)) !== 'yes') return false;
    this.#known.add(store.id, name);
    return true;
  }

  /**
   * Whether the name is a repository itself, rather than only the way to some. Asks at most once in a while.
   * @throws ImgfsError when the store gave no answer at all.
   */
  async isRepository(store: ImageStore, name: string, options: CallOptions = {}): Promise<ProbeAnswer> {
    if (store.transport !== 'docker') {
      const known =
        name === '' || (await this.#localNames(store, options)).kind(store.id, name) === 'repository';
      return known ? 'yes' : 'no';
    }
    if (name === '' || (namespacesOnly(store) && !name.includes('/'))) return 'no';
    if (this.#isRepository(store, name)) return 'yes';
    return this.#probe.probe(store, name, options.signal);
  }

  /** Names directly below `parent` that are known without a request, sorted. */
  async knownChildren(
    store: ImageStore,
    parent: string,
    options: CallOptions = {},
  ): Promise<readonly string[]> {
    if (store.transport !== 'docker')
      return (await this.#localNames(store, options)).children(store.id, parent);
    await this.#recall(store);
    return this.#known.children(store.id, parent);
  }

  /** True when the name is known to be a repository or to lead to one. */
  async isKnown(store: ImageStore, name: string): Promise<boolean> {
    await this.#recall(store);
    return this.#known.kind(store.id, name) !== undefined;
  }

  /** Remember a name that the store's catalog lists. */
  learn(store: ImageStore, repository: string): void {
    this.#known.add(store.id, repository);
  }

  /** The store says that there is no such repository (any more). */
  forget(store: ImageStore, repository: string): void {
    this.#known.remove(store.id, repository);
  }

  /** Remember that the store has this repository, and that it answers. */
  confirm(store: ImageStore, repository: string): void {
    this.#known.add(store.id, repository);
    this.#probe.confirm(store, repository);
  }

  #isRepository(store: ImageStore, name: string): boolean {
    return (
      name !== '' &&
      (this.#known.kind(store.id, name) === 'repository' || this.#probe.peek(store, name) === 'yes')
    );
  }

  #learned(store: ImageStore, name: string): FoundRepository {
    this.#known.add(store.id, name);
    return existing(name);
  }

  /** Names from the last run and from the configuration, once for each store. */
  #recall(store: ImageStore): Promise<void> {
    const known = this.#loaded.get(store.id);
    if (known !== undefined) return known;
    const loading = this.#options.content.refs.repositories(store.id).then(
      (names) => [...names, ...(this.#options.configured?.get(store.id) ?? [])],
      () => this.#options.configured?.get(store.id) ?? [],
    );
    const loaded = loading.then((names) => {
      for (const name of names) this.#known.add(store.id, name);
    });
    this.#loaded.set(store.id, loaded);
    return loaded;
  }

  async #findTag(
    store: ImageStore,
    repository: string,
    tag: string,
    options: CallOptions,
  ): Promise<FoundTag | undefined> {
    try {
      const resolved = await this.#options.tags.resolve(store, { repository, tag }, options);
      if (store.transport === 'docker') this.confirm(store, repository);
      return { kind: 'tag', repository, tag, resolved };
    } catch (error) {
      if (isImgfsError(error, 'not-found') || isImgfsError(error, 'name-invalid')) return undefined;
      throw error;
    }
  }

  async #findBoth(
    store: ImageStore,
    parent: string,
    component: string,
    tagPossible: boolean,
    options: CallOptions,
  ): Promise<Found | undefined> {
    const name = join(parent, component);
    const askTag = tagPossible && this.#probe.peek(store, parent) !== 'no';
    const [tag, nested] = await Promise.all([
      attempt(askTag ? this.#findTag(store, parent, component, options) : Promise.resolve(undefined)),
      attempt(this.#probe.probe(store, name, options.signal)),
    ]);
    if ('value' in nested && nested.value === 'yes') return this.#learned(store, name);
    if ('value' in tag && tag.value !== undefined) return tag.value;
    const hidden = 'value' in nested && nested.value === 'denied';
    const mayAssume = this.#options.neverAssumed?.(component) !== true;
    if ('error' in tag && !(hidden && mayAssume && isRefusal(tag.error))) throw tag.error;
    if ('error' in nested) throw nested.error;
    if (hidden) return mayAssume ? { kind: 'repository', repository: name, certainty: 'hidden' } : undefined;
    return this.#findPrefix(store, name, mayAssume, options);
  }

  async #findPrefix(
    store: ImageStore,
    name: string,
    mayAssume: boolean,
    options: CallOptions,
  ): Promise<Found | undefined> {
    const answer = await this.#probe.leads(store, name, options.signal);
    if (answer === 'yes') return existing(name);
    return answer === 'unknown' && mayAssume ? assumed(name) : undefined;
  }

  async #findLocally(
    store: ImageStore,
    parent: string,
    component: string,
    options: CallOptions,
  ): Promise<Found | undefined> {
    const name = join(parent, component);
    const names = await this.#localNames(store, options);
    if (names.kind(store.id, name) !== undefined) return existing(name);
    return this.#findTag(store, parent, component, options);
  }

  async #localNames(store: ImageStore, options: CallOptions): Promise<KnownNames> {
    const known = this.#localLists.get(store.id);
    if (known !== undefined && known.until > this.#now()) return known.names;
    return this.#listings.run(store.id, options.signal, async (signal) => {
      const names = await listLocally(store, signal);
      this.#localLists.set(store.id, { until: this.#now() + localListTtlMs, names });
      return names;
    });
  }
}

/** A repository name and one more component. */
export function join(parent: string, component: string): string {
  return parent === '' ? component : `${parent}/${component}`;
}

/** Docker Hub's repositories have exactly two components: what would be elsewhere need not be asked there. */
function namespacesOnly(store: ImageStore): boolean {
  return store.id === `docker://${dockerHub}`;
}

function tooDeep(store: ImageStore, name: string): boolean {
  return name.length > maxRepositoryLength || (namespacesOnly(store) && name.split('/').length > 2);
}

function possibilities(store: ImageStore, parent: string, component: string) {
  const isNamespace = namespacesOnly(store) && !parent.includes('/');
  return {
    tagPossible: parent !== '' && isTag(component) && !isNamespace,
    repositoryPossible: isRepositoryComponent(component) && !tooDeep(store, join(parent, component)),
  };
}

function existing(repository: string): FoundRepository {
  return { kind: 'repository', repository, certainty: 'exists' };
}

function assumed(repository: string): FoundRepository {
  return { kind: 'repository', repository, certainty: 'assumed' };
}

async function attempt<Value>(promise: Promise<Value>): Promise<Attempt<Value>> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

async function listLocally(store: ImageStore, signal: AbortSignal): Promise<KnownNames> {
  const names = new KnownNames(maxLocalNames);
  if (!isRepositoryLister(store)) return names;
  try {
    for await (const name of store.repositories({ signal })) names.add(store.id, name);
  } catch (error) {
    if (!isImgfsError(error, 'unsupported')) throw error;
  }
  return names;
}
