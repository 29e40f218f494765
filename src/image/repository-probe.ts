/** Whether a registry has a repository, asked with one small request and remembered for a while. */
import { LRUCache } from 'lru-cache';
import { isImgfsError } from '../errors/imgfs-error.js';
import { isRepositoryLister, isTagLister, type ImageStore } from '../store/store.js';
import { SingleFlight } from './single-flight.js';

/** `denied`: the registry does not say; many hide what does not exist from whom they do not know. */
export type ProbeAnswer = 'yes' | 'no' | 'denied';

/** Whether some repository lies below a name; `unknown` where the registry has no catalog. */
export type PrefixAnswer = 'yes' | 'no' | 'unknown';

/** A repository that was there is there: its tags are asked for one by one anyway. */
const positiveTtlMs = 600_000;

/** Long enough for one walk over a tree, short enough for a login to be noticed. */
const deniedTtlMs = 30_000;

/** About 200 bytes each: 4 MB when full. */
const maxRemembered = 20_000;

/** A server that ignores `last` sends its catalog from the beginning; after one page we believe nothing. */
const maxCatalogNames = 1000;

interface Remembered<Answer> {
  readonly answer: Answer;
  readonly until: number;
}

/** `max` would make room for all of them now. */
const growing = { maxSize: maxRemembered, sizeCalculation: () => 1 };

export class RepositoryProbe {
  readonly #negativeTtlMs: number;
  readonly #now: () => number;
  readonly #answers = new LRUCache<string, Remembered<ProbeAnswer>>(growing);
  readonly #prefixes = new LRUCache<string, Remembered<PrefixAnswer>>(growing);
  /** Stores whose catalog was refused: not asked again for a while. */
  readonly #withoutCatalog = new LRUCache<string, Remembered<'unknown'>>({ max: 1000 });
  readonly #probes = new SingleFlight<ProbeAnswer>();
  readonly #lookups = new SingleFlight<PrefixAnswer>();

  constructor(negativeTtlMs: number, now: () => number = Date.now) {
    this.#negativeTtlMs = negativeTtlMs;
    this.#now = now;
  }

  /** What is remembered, if it is still believed. */
  peek(store: ImageStore, repository: string): ProbeAnswer | undefined {
    return this.#fresh(this.#answers.get(`${store.id}\0${repository}`));
  }

  /** A tag or a listing of the repository was seen. */
  confirm(store: ImageStore, repository: string): void {
    const until = this.#now() + positiveTtlMs;
    this.#answers.set(`${store.id}\0${repository}`, { answer: 'yes', until });
  }

  /** Ask for one tag of the repository. @throws ImgfsError when the registry gave no answer at all. */
  async probe(store: ImageStore, repository: string, signal: AbortSignal | undefined): Promise<ProbeAnswer> {
    const known = this.peek(store, repository);
    if (known !== undefined) return known;
    const key = `${store.id}\0${repository}`;
    return this.#probes.run(key, signal, async (shared) => {
      const answer = await askForOneTag(store, repository, shared);
      const ttl = { yes: positiveTtlMs, no: this.#negativeTtlMs, denied: deniedTtlMs }[answer];
      this.#answers.set(key, { answer, until: this.#now() + ttl });
      return answer;
    });
  }

  /** Ask the catalog for the first name below `prefix`. @throws ImgfsError when there was no answer at all. */
  async leads(store: ImageStore, prefix: string, signal: AbortSignal | undefined): Promise<PrefixAnswer> {
    const key = `${store.id}\0${prefix}`;
    const known = this.#fresh(this.#prefixes.get(key)) ?? this.#fresh(this.#withoutCatalog.get(store.id));
    if (known !== undefined) return known;
    return this.#lookups.run(key, signal, async (shared) => {
      const answer = await askCatalog(store, prefix, shared);
      const ttl = answer === 'no' ? this.#negativeTtlMs : positiveTtlMs;
      const until = this.#now() + ttl;
      if (answer === 'unknown') this.#withoutCatalog.set(store.id, { answer, until });
      else this.#prefixes.set(key, { answer, until });
      return answer;
    });
  }

  #fresh<Answer>(remembered: Remembered<Answer> | undefined): Answer | undefined {
    return remembered !== undefined && remembered.until > this.#now() ? remembered.answer : undefined;
  }
}

async function askForOneTag(
  store: ImageStore,
  repository: string,
  signal: AbortSignal,
): Promise<ProbeAnswer> {
  if (!isTagLister(store)) return 'denied';
  try {
    for await (const tag of store.tags(repository, { pageSize: 1, signal })) {
      if (tag !== '') break;
    }
    return 'yes';
  } catch (error) {
    if (isImgfsError(error, 'not-found') || isImgfsError(error, 'name-invalid')) return 'no';
    if (isRefusal(error)) return 'denied';
    throw error;
  }
}

async function askCatalog(store: ImageStore, prefix: string, signal: AbortSignal): Promise<PrefixAnswer> {
  if (!isRepositoryLister(store)) return 'unknown';
  const below = `${prefix}/`;
  let seen = 0;
  try {
    for await (const name of store.repositories({ last: below, pageSize: 10, signal })) {
      if (name.startsWith(below)) return 'yes';
      if (isBehind(name, below)) return 'no';
      seen += 1;
      if (seen >= maxCatalogNames) return 'unknown';
    }
    return 'no';
  } catch (error) {
    if (isImgfsError(error, 'not-found') || isRefusal(error)) return 'unknown';
    throw error;
  }
}

/**
 * Behind in both orders that registries sort their catalogs in: by bytes, and by components as distribution does
 * (`a/x` before `a-b`).
 */
function isBehind(name: string, mark: string): boolean {
  const byComponents = (text: string): string => text.replaceAll('/', '\0');
  return name > mark && byComponents(name) > byComponents(mark);
}

/** True for "not for you" and "not here": an answer, but not about this name. */
export function isRefusal(error: unknown): boolean {
  return (
    isImgfsError(error, 'unauthorized') ||
    isImgfsError(error, 'denied') ||
    isImgfsError(error, 'unsupported') ||
    isImgfsError(error, 'forbidden')
  );
}
