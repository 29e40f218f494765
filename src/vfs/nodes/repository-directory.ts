/**
 * A repository, the way to one, or the root of a store: tags and nested repositories side by side.
 * What a name is, `image/name-finder.ts` decides.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { catalogChildren } from '../../image/catalog-children.js';
import { join, type FoundRepository } from '../../image/name-finder.js';
import type { ProbeAnswer } from '../../image/repository-probe.js';
import { isUnreachable } from '../../image/tag-resolver.js';
import { isDigest } from '../../oci/digest.js';
import { dockerHub, isRepositoryName, isTag } from '../../oci/reference.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, ListedChild, Listing, NodeStat, StreamStart, VfsNode } from '../node.js';
import type { Caller } from '../file-system.js';
import type { Image } from '../../image/image.js';
import type { ChangeableDirectory, Created } from '../writable-node.js';
import { removeTagAt, tagImageAt, writingOf } from '../writing/tag-place.js';
import { makePending, pendingAt, pendingPlace, PendingDirectory } from './pending-directory.js';
import { UploadsDirectory, uploadsName } from './uploads-directory.js';
import { isDesktopProbe } from '../probe-names.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, listed, missing } from './answers.js';
import { repositoryBlobs } from './blob-namespaces.js';
import { DigestDirectory } from './digest-directories.js';
import { digestFound, repositoryDigests, tagFound, visited } from './found-images.js';
import { isImageEntryName } from './image-names.js';
import { TagsDirectory } from './tags-directory.js';
import { storeService } from './store-services.js';
import { asDirectories, tagNames } from './tag-streams.js';

export interface RepositoryPlace {
  /** Opens the store; cheap after the first time. */
  readonly open: () => Promise<ImageStore>;
  /** `''` at the root of a store. */
  readonly repository: string;
  /** Host of the registry; undefined for local stores. */
  readonly host: string | undefined;
  readonly certainty: FoundRepository['certainty'];
}

/** Nested names collected for one listing of a repository; a registry's root is streamed instead. */
const maxNested = 10_000;

export class RepositoryDirectory implements ChangeableDirectory {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #place: RepositoryPlace;

  constructor(context: TreeContext, place: RepositoryPlace) {
    this.#context = context;
    this.#place = place;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#context.mountTimeNs);
  }

  lookup(name: Name, options: CallOptions): Found | Promise<Found> {
    const text = nameToText(name);
    const own = this.#own(text);
    if (own !== undefined) return found(own, this.#context.lifetimes.immutableMs);
    if (text.startsWith('@')) return this.#service(text);
    if (isDesktopProbe(text)) return missing(this.#context.lifetimes.immutableMs);
    return this.#find(text, options);
  }

  async list(options: CallOptions): Promise<Listing> {
    const store = await this.#place.open();
    const own = this.#ownNames().flatMap((name) => {
      const node = this.#own(name);
      return node === undefined ? [] : listed(name, found(node, this.#context.lifetimes.immutableMs));
    });
    const known = await this.#context.images.names.knownChildren(store, this.#place.repository, options);
    return this.#isRegistryRoot
      ? this.#listRegistry(store, own, known)
      : this.#listRepository(store, own, known, options);
  }

  #service(name: string): Found {
    const { open, repository } = this.#place;
    const place = { open, repository, isRegistryRoot: this.#isRegistryRoot };
    const node = storeService(this.#context, place, name);
    const { immutableMs } = this.#context.lifetimes;
    return node === undefined ? missing(immutableMs) : found(node, immutableMs);
  }

  get #isRegistryRoot(): boolean {
    return this.#place.host !== undefined && this.#place.repository === '';
  }

  /** Directories that every repository has. A registry's root is no repository. */
  #ownNames(): readonly string[] {
    if (this.#isRegistryRoot) return [];
    const uploads = this.#context.writing === undefined ? [] : [uploadsName];
    return ['@tags', '@digests', '@blobs', ...uploads];
  }

  #own(name: string): VfsNode | undefined {
    if (!this.#ownNames().includes(name)) return undefined;
    const { open, repository } = this.#place;
    switch (name) {
      case '@tags':
        return new TagsDirectory(this.#context, open, repository);
      case '@digests':
        return new DigestDirectory(this.#context, repositoryDigests(this.#context, open, repository));
      case '@blobs':
        return new DigestDirectory(this.#context, repositoryBlobs(this.#context, open, repository));
      case uploadsName:
        return new UploadsDirectory(this.#context, writingOf(this.#context), open, repository);
      default:
        return undefined;
    }
  }

  /** A tag or a nested repository, whichever it will be used as. */
  async mkdir(name: Name, caller: Caller): Promise<DirectoryNode> {
    const store = await this.#place.open();
    const text = nameToText(name);
    const asTag = await this.#asTag(store, caller);
    if (asTag !== undefined && text === 'layers') return asTag.mkdir(name, caller);
    return this.#pending(store, text, caller);
  }

  /** Only where nothing is known of the repository: then it may be a tag of the one above. */
  async create(name: Name, caller: Caller): Promise<Created> {
    const asTag = await this.#asTag(await this.#place.open(), caller);
    if (asTag !== undefined) return asTag.create(name, caller);
    throw new ImgfsError('immutable', `create ${nameToText(name)}: a repository has no files of its own`, {
      hint: 'blobs go to @uploads/, a manifest into a directory with the name of its tag',
    });
  }

  async rmdir(name: Name, caller: Caller): Promise<void> {
    const { open, repository } = this.#place;
    await removeTagAt(this.#context, await open(), repository, nameToText(name), { signal: caller.signal });
  }

  async tagImage(name: Name, image: Image, caller: Caller) {
    const { open, repository } = this.#place;
    const { signal } = caller;
    return tagImageAt(this.#context, await open(), repository, nameToText(name), image, { signal });
  }

  async assertRemovable({ signal }: Caller): Promise<void> {
    await writingOf(this.#context).assertTagMayGo(await this.#place.open(), this.#place.repository, {
      signal,
    });
  }

  #pending(store: ImageStore, name: string, caller: Caller): Promise<PendingDirectory> {
    const { repository } = this.#place;
    return makePending(
      this.#context,
      writingOf(this.#context),
      pendingPlace(store, repository, name),
      caller,
    );
  }

  /** This directory as one made with mkdir, where the registry cannot say that it is a repository. */
  async #asTag(store: ImageStore, caller: Caller): Promise<PendingDirectory | undefined> {
    const { repository, certainty, host } = this.#place;
    if (certainty === 'exists' || host === undefined || repository === '') return undefined;
    const known = pendingAt(this.#context, store, repository, caller)?.node;
    if (known instanceof PendingDirectory) return known;
    const slash = repository.lastIndexOf('/');
    const place = pendingPlace(store, repository.slice(0, Math.max(0, slash)), repository.slice(slash + 1));
    return makePending(this.#context, writingOf(this.#context), place, caller);
  }

  async #find(text: string, options: CallOptions): Promise<Found> {
    const store = await this.#place.open();
    const { repository } = this.#place;
    const pending = pendingAt(this.#context, store, join(repository, text), options);
    if (pending !== undefined) return pending;
    // A local store may have components with a colon (`localhost:5000`); those it has win.
    const isPlain = !/[:@]/.test(text) || (await this.#isLocalChild(store, text, options));
    if (!isPlain) return this.#byReference(store, text, options);
    const answer = await this.#context.images.names.find(store, repository, text, options);
    if (answer === undefined) return missing(this.#negativeTtlMs(text));
    if (answer.kind === 'repository') return this.#repositoryFound(store, answer);
    return tagFound(this.#context, store, answer, (name, call) => this.#insideTag(store, text, name, call));
  }

  async #isLocalChild(store: ImageStore, text: string, options: CallOptions): Promise<boolean> {
    if (this.#place.host !== undefined) return false;
    return this.#context.images.names.isNestedRepository(store, join(this.#place.repository, text), options);
  }

  /**
   * A name that image directories do not have, below a tag: if a repository of the tag's name exists after all, it
   * wins, and the name is one of its. Nothing is asked for names that cannot be meant.
   */
  async #insideTag(store: ImageStore, tag: string, name: Name, options: CallOptions): Promise<Found> {
    const { immutableMs } = this.#context.lifetimes;
    const { names } = this.#context.images;
    const text = nameToText(name);
    const repository = join(this.#place.repository, tag);
    const ours = isImageEntryName(text) || this.#context.extensions.some((one) => one.owns('image', text));
    const possible = this.#place.host === undefined || (isTag(text) && isRepositoryName(repository));
    if (ours || !possible || isDesktopProbe(text)) return missing(immutableMs);
    if (!(await names.isNestedRepository(store, repository, options)))
      return missing(this.#context.lifetimes.negativeMs);
    const nested = new RepositoryDirectory(this.#context, {
      ...this.#place,
      repository,
      certainty: 'exists',
    });
    return nested.lookup(name, options);
  }

  /** `<name>:<tag>` and `<name>@<alg>:<hex>`: a pasted reference as one component. */
  async #byReference(store: ImageStore, text: string, options: CallOptions): Promise<Found> {
    const match = /^([^:@]+)(?::([^:@]+))?(?:@(.+))?$/.exec(text);
    const [, name = '', tag, digest] = match ?? [];
    const repository = this.#referenced(name);
    const valid = this.#place.host === undefined || isRepositoryName(repository);
    if (name === '' || !valid || (digest !== undefined && !isDigest(digest))) {
      return missing(this.#context.lifetimes.immutableMs);
    }
    if (isDigest(digest)) return digestFound(this.#context, store, repository, digest, options);
    if (tag === undefined) return missing(this.#context.lifetimes.immutableMs);
    const answer = await this.#context.images.names.findTag(store, repository, tag, options);
    return answer === undefined ? missing(this.#negativeTtlMs(tag)) : tagFound(this.#context, store, answer);
  }

  /** Docker Hub's rule: a name of one component means one of `library/`. */
  #referenced(name: string): string {
    const { host, repository } = this.#place;
    return host === dockerHub && repository === '' ? `library/${name}` : join(repository, name);
  }

  #repositoryFound(store: ImageStore, answer: FoundRepository): Found {
    const { lifetimes } = this.#context;
    const { certainty, repository } = answer;
    if (certainty === 'exists') visited(this.#context, store);
    const node = new RepositoryDirectory(this.#context, { ...this.#place, repository, certainty });
    return found(node, certainty === 'exists' ? lifetimes.namespaceMs : lifetimes.hiddenMs);
  }

  /** A name that is legal nowhere is missing for good; all others only as long as the store is believed. */
  #negativeTtlMs(text: string): number {
    const { immutableMs, negativeMs } = this.#context.lifetimes;
    return this.#place.host !== undefined && !isTag(text) && !isRepositoryName(text)
      ? immutableMs
      : negativeMs;
  }

  /** The catalog, one level of it, as it streams. */
  #listRegistry(store: ImageStore, own: readonly ListedChild[], known: readonly string[]): Listing {
    const { names } = this.#context.images;
    const children = [...own, ...known.map(directoryNamed)];
    const listedNames = new Set(known);
    const source = async function* (start: StreamStart): AsyncGenerator<string, void> {
      try {
        const learn = (repository: string): void => names.learn(store, repository);
        yield* catalogChildren(store, '', { signal: start.signal, learn });
      } catch (error) {
        // Offline, what is known is better than nothing.
        if (!isUnreachable(error) || listedNames.size === 0) throw error;
      }
    };
    const stream: Listing['stream'] = (start) =>
      resumed(asDirectories(source(start), listedNames), start.last);
    return { children, stream, immutable: false };
  }

  /** Nested names first, since they win over tags; then the tags as they stream. */
  async #listRepository(
    store: ImageStore,
    own: readonly ListedChild[],
    known: readonly string[],
    options: CallOptions,
  ): Promise<Listing> {
    const { repository } = this.#place;
    const nested = await this.#nested(store, known, options);
    const answer = await this.#isRepository(store, options);
    const children = [...(answer === 'no' ? [] : own), ...[...nested].sort().map(directoryNamed)];
    if (answer === 'no' && nested.size === 0 && this.#isDoubtful) {
      throw new ImgfsError(
        'not-found',
        `list ${store.id}/${repository}: the registry has no such repository`,
        {
          reference: repository,
          hint: 'nothing below it is known either, and the registry has no catalog to look in',
        },
      );
    }
    if (answer === 'no' || (answer === 'denied' && !this.#isDoubtful)) return { children, immutable: false };
    const stream: Listing['stream'] = (start) =>
      asDirectories(tagNames(this.#context, store, repository, start), nested);
    return { children, stream, immutable: false };
  }

  /**
   * True for a name that nothing speaks for. A name of one component is not doubted: where there is no catalog it is
   * the namespace in which one looks around.
   */
  get #isDoubtful(): boolean {
    const { repository, certainty } = this.#place;
    return certainty !== 'exists' && repository.includes('/');
  }

  async #isRepository(store: ImageStore, options: CallOptions): Promise<ProbeAnswer> {
    try {
      return await this.#context.images.names.isRepository(store, this.#place.repository, options);
    } catch (error) {
      // The listing of tags will say the same, or give what is remembered.
      if (isUnreachable(error)) return 'yes';
      throw error;
    }
  }

  async #nested(store: ImageStore, known: readonly string[], options: CallOptions): Promise<Set<string>> {
    const nested = new Set(known);
    if (this.#place.host === undefined) return nested;
    for await (const name of this.#catalogBelow(store, options)) {
      nested.add(name);
      if (nested.size >= maxNested) break;
    }
    return nested;
  }

  async *#catalogBelow(store: ImageStore, options: CallOptions): AsyncGenerator<string, void> {
    const { names } = this.#context.images;
    try {
      const learn = (repository: string): void => names.learn(store, repository);
      yield* catalogChildren(store, this.#place.repository, { ...options, learn });
    } catch (error) {
      // The tags are the point of the listing; their own failure is told, this one is not.
      if (isImgfsError(error, 'interrupted')) throw error;
    }
  }
}

function directoryNamed(text: string): ListedChild {
  return { name: nameFromText(text), type: 'directory' };
}

/** A catalog cannot be entered at a component: what was listed before is passed over. */
async function* resumed(
  children: AsyncIterable<ListedChild>,
  last: Name | undefined,
): AsyncGenerator<ListedChild, void> {
  let passed = last === undefined;
  for await (const child of children) {
    if (passed) yield child;
    else passed = child.name === last;
  }
}
