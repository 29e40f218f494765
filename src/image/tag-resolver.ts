/**
 * Names to descriptors, remembered for a while: a tag for its time to live, a digest for ever, a true "not found"
 * for a few seconds. When the store cannot be reached, the last known answer serves instead; when the store says
 * that there is no such tag, nothing does.
 */
import { LRUCache } from 'lru-cache';
import type { ContentCache } from '../content/content.js';
import type { ErrorCode } from '../errors/codes.js';
import { isImgfsError, type ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { maxManifestBytes, parseManifest } from '../oci/parse-manifest.js';
import { createLogger } from '../observe/log.js';
import type { CallOptions, ImageStore, Target } from '../store/store.js';
import { SingleFlight } from './single-flight.js';

export interface ResolvedName {
  readonly descriptor: Descriptor;
  /** When the store said so, in milliseconds since the epoch. */
  readonly at: number;
  /** True when the store could not be asked and this is its last known answer. */
  readonly stale: boolean;
  /** The answer is believed until then, in milliseconds since the epoch. */
  readonly until: number;
}

/** A tag that was found to name something else than before. */
export interface MovedTag {
  readonly storeId: string;
  readonly repository: string;
  readonly tag: string;
  readonly from: Digest;
  /** Undefined when the tag is gone. */
  readonly to: Digest | undefined;
}

export interface TagResolverOptions {
  readonly content: ContentCache;
  /** How long a tag is believed, in milliseconds. */
  readonly tagTtlMs: number;
  /** How long a true "not found" is believed, in milliseconds. */
  readonly negativeTtlMs: number;
  readonly now?: () => number;
}

/** After one of these the last known answer serves: the store gave none. */
const unreachable: ReadonlySet<ErrorCode> = new Set(['unavailable', 'timeout', 'offline']);

/**
 * How long a last known answer serves before the store is tried again: each try may cost a whole connect timeout,
 * so that trying at each lookup would make an offline tree unusable.
 */
const staleTtlMs = 15_000;

/** About 400 bytes each: 20 MB when full. */
const maxRemembered = 50_000;

type Remembered = ResolvedName | { readonly missing: ImgfsError; readonly until: number };

const log = createLogger('image');

/** True when the error means that the store gave no answer, so that what was known before may serve. */
export function isUnreachable(error: unknown): boolean {
  return isImgfsError(error) && unreachable.has(error.code);
}

export class TagResolver {
  readonly #options: TagResolverOptions;
  readonly #now: () => number;
  // `max` would make room for all of them now: 2 ms and 1.6 MB for 50,000.
  readonly #remembered = new LRUCache<string, Remembered>({
    maxSize: maxRemembered,
    sizeCalculation: () => 1,
  });
  readonly #flights = new SingleFlight<ResolvedName>();
  readonly #listeners = new Set<(moved: MovedTag) => void>();

  constructor(options: TagResolverOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Be told when a tag moves or goes. Returns the way to stop. */
  onMoved(listener: (moved: MovedTag) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The answer at hand, if it is still believed: no request, no wait. */
  peek(store: ImageStore, target: Target): ResolvedName | undefined {
    const known = this.#remembered.get(keyOf(store, target));
    return known !== undefined && !('missing' in known) && known.until > this.#now() ? known : undefined;
  }

  /**
   * Resolve a name. At most one request for a name is under way at a time.
   * @throws ImgfsError `not-found` only when the store said so; else whatever the store throws.
   */
  async resolve(store: ImageStore, target: Target, options: CallOptions = {}): Promise<ResolvedName> {
    const key = keyOf(store, target);
    const known = this.#remembered.get(key);
    if (known !== undefined && known.until > this.#now()) {
      if ('missing' in known) throw known.missing;
      return known;
    }
    return this.#flights.run(key, options.signal, (signal) => this.#ask(key, store, target, signal));
  }

  /**
   * The store was changed by us: what a name stands for from now on; undefined when it is gone. With a digest that is
   * gone, its tags are asked for again.
   */
  async note(store: ImageStore, target: Target, descriptor: Descriptor | undefined): Promise<void> {
    const key = keyOf(store, target);
    const { repository, tag, digest } = target;
    if (descriptor === undefined) {
      const before = this.#remembered.get(key);
      this.#remembered.delete(key);
      if (digest !== undefined) this.#forgetTagsOf(store, repository, digest);
      if (digest !== undefined || tag === undefined) return;
      await this.#options.content.refs.delete(store.id, repository, tag).catch(() => undefined);
      if (before !== undefined && !('missing' in before))
        this.#tell(store, repository, tag, before.descriptor.digest, undefined);
      return;
    }
    await this.#learn(store, target, descriptor);
    const at = this.#now();
    const until = digest === undefined ? at + this.#options.tagTtlMs : Number.POSITIVE_INFINITY;
    this.#replace(key, store, target, { descriptor, at, stale: false, until });
  }

  #forgetTagsOf(store: ImageStore, repository: string, digest: Digest): void {
    const prefix = `${store.id}\0${repository}:`;
    for (const [key, known] of this.#remembered.entries()) {
      if (!key.startsWith(prefix) || 'missing' in known || known.descriptor.digest !== digest) continue;
      this.#remembered.delete(key);
      this.#tell(store, repository, key.slice(prefix.length), digest, undefined);
    }
  }

  async #ask(key: string, store: ImageStore, target: Target, signal: AbortSignal): Promise<ResolvedName> {
    try {
      const { descriptor, bytes } = await store.resolve(target, { signal });
      if (bytes !== undefined) await this.#keep(descriptor, bytes);
      await this.#learn(store, target, descriptor);
      const at = this.#now();
      const forEver = target.digest !== undefined && isProven(descriptor, bytes);
      const until = forEver ? Number.POSITIVE_INFINITY : at + this.#options.tagTtlMs;
      const resolved: ResolvedName = { descriptor, at, stale: false, until };
      this.#replace(key, store, target, resolved);
      return resolved;
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return await this.#missing(key, store, target, error);
      if (!isUnreachable(error)) throw error;
      const last = await this.#lastKnown(store, target);
      if (last === undefined) throw error;
      log.info('serving the last known answer', { store: store.id, target, error: String(error) });
      const stale: ResolvedName = { ...last, stale: true, until: this.#now() + staleTtlMs };
      this.#replace(key, store, target, stale);
      return stale;
    }
  }

  /** The manifest came along: keep it, so that reading it costs no request. Wrong bytes are an error here. */
  async #keep(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    try {
      await this.#options.content.put(descriptor, bytes);
    } catch (error) {
      if (isImgfsError(error, 'integrity')) throw error;
      log.debug('manifest not kept', { digest: descriptor.digest, error: String(error) });
    }
  }

  async #learn(store: ImageStore, target: Target, descriptor: Descriptor): Promise<void> {
    if (target.digest !== undefined || target.tag === undefined) return;
    try {
      await this.#options.content.refs.set(store.id, target.repository, target.tag, descriptor);
    } catch (error) {
      log.warn('the answer is not kept for work offline', { store: store.id, target, error: String(error) });
    }
  }

  async #missing(key: string, store: ImageStore, target: Target, error: ImgfsError): Promise<never> {
    const before = this.#remembered.get(key);
    this.#remembered.set(key, { missing: error, until: this.#now() + this.#options.negativeTtlMs });
    if (target.tag !== undefined && target.digest === undefined) {
      await this.#options.content.refs.delete(store.id, target.repository, target.tag).catch(() => undefined);
      if (before !== undefined && !('missing' in before)) {
        this.#tell(store, target.repository, target.tag, before.descriptor.digest, undefined);
      }
    }
    throw error;
  }

  #replace(key: string, store: ImageStore, target: Target, resolved: ResolvedName): void {
    const before = this.#remembered.get(key);
    this.#remembered.set(key, resolved);
    if (before === undefined || 'missing' in before || target.tag === undefined) return;
    if (target.digest !== undefined || before.descriptor.digest === resolved.descriptor.digest) return;
    this.#tell(store, target.repository, target.tag, before.descriptor.digest, resolved.descriptor.digest);
  }

  #tell(store: ImageStore, repository: string, tag: string, from: Digest, to: Digest | undefined): void {
    for (const listener of this.#listeners) listener({ storeId: store.id, repository, tag, from, to });
  }

  async #lastKnown(store: ImageStore, target: Target): Promise<Omit<ResolvedName, 'until'> | undefined> {
    if (target.digest !== undefined) return this.#fromCache(store, target.repository, target.digest);
    if (target.tag === undefined) return undefined;
    const known = await this.#options.content.refs.get(store.id, target.repository, target.tag);
    return known === undefined ? undefined : { descriptor: known.descriptor, at: known.at, stale: true };
  }

  /** A manifest that is cached whole can be described without its store: its bytes say what they are. */
  async #fromCache(store: ImageStore, repository: string, digest: Digest) {
    const { content } = this.#options;
    const { state, size } = await content.status(digest);
    if (state !== 'complete' || size === undefined || size > maxManifestBytes) return undefined;
    const nominal: Descriptor = { mediaType: '', digest, size };
    const bytes = await content.readAll(
      { store, repository, descriptor: nominal },
      { maxBytes: maxManifestBytes },
    );
    const { mediaType } = parseManifest(bytes);
    return { descriptor: { mediaType, digest, size }, at: this.#now(), stale: true };
  }
}

/** The bytes are at hand (and were verified) and are what the media type says: nothing is the store's mere word. */
function isProven(descriptor: Descriptor, bytes: Uint8Array | undefined): boolean {
  if (bytes?.length !== descriptor.size) return false;
  try {
    parseManifest(bytes, descriptor.mediaType);
    return true;
  } catch {
    return false;
  }
}

function keyOf(store: ImageStore, target: Target): string {
  const name = target.digest === undefined ? `:${target.tag ?? ''}` : `@${target.digest}`;
  return `${store.id}\0${target.repository}${name}`;
}
