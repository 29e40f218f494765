/**
 * Every manifest of a repository that can be found: what its tags stand for, the children of indexes, and what refers
 * to any of these. No registry lists manifests that have neither a tag nor a parent nor a subject.
 */
import { ifMissing } from '../errors/if-missing.js';
import { isImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { manifestKind } from '../oci/media-type.js';
import { isReferrersFinder, isTagLister, type CallOptions, type ImageStore } from '../store/store.js';
import { accepted } from './image.js';
import type { Images } from './images.js';

/** A manifest, and how it was found first. */
export interface FoundManifest {
  readonly descriptor: Descriptor;
  readonly via: 'tag' | 'index' | 'referrer';
  /** Of those found by a tag: the first one. */
  readonly tag?: string;
  /** The index or subject by which the others were found. */
  readonly parent?: Digest;
}

/** Each is held in memory to be given once only: 300 bytes each. */
const maxManifests = 100_000;

/** Each manifest once, parents before children. @throws ImgfsError what the store throws. */
export async function* allManifests(
  images: Images,
  store: ImageStore,
  repository: string,
  options: CallOptions = {},
): AsyncGenerator<FoundManifest, void> {
  const seen = new Set<Digest>();
  const queue: FoundManifest[] = [];
  const drain = async function* (): AsyncGenerator<FoundManifest, void> {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (seen.has(next.descriptor.digest) || seen.size >= maxManifests) continue;
      seen.add(next.descriptor.digest);
      yield next;
      queue.push(...(await childrenOf(images, store, repository, next.descriptor, options)));
      queue.push(...(await referrersOf(store, repository, next.descriptor, options)));
    }
  };
  if (!isTagLister(store)) return;
  for await (const tag of store.tags(repository, options)) {
    const descriptor = await tagged(images, store, repository, tag, options);
    if (descriptor === undefined) continue;
    queue.push({ descriptor, via: 'tag', tag });
    yield* drain();
  }
}

/** Undefined for a tag that went since it was listed. */
async function tagged(
  images: Images,
  store: ImageStore,
  repository: string,
  tag: string,
  options: CallOptions,
): Promise<Descriptor | undefined> {
  return (await ifMissing(images.tags.resolve(store, { repository, tag }, options), undefined))?.descriptor;
}

async function childrenOf(
  images: Images,
  store: ImageStore,
  repository: string,
  descriptor: Descriptor,
  options: CallOptions,
): Promise<readonly FoundManifest[]> {
  if (manifestKind(descriptor.mediaType) !== 'index') return [];
  try {
    const index = accepted(await images.at({ store, repository, descriptor }).loadTop(options));
    if (index.kind !== 'index') return [];
    return index.manifests
      .filter(({ mediaType }) => manifestKind(mediaType) !== undefined)
      .map((child) => ({ descriptor: child, via: 'index', parent: descriptor.digest }));
  } catch (error) {
    // A sparse or refused index hides nothing else.
    if (isImgfsError(error, 'not-found') || isImgfsError(error, 'invalid-content')) return [];
    throw error;
  }
}

async function referrersOf(
  store: ImageStore,
  repository: string,
  { digest }: Descriptor,
  options: CallOptions,
): Promise<readonly FoundManifest[]> {
  if (!isReferrersFinder(store)) return [];
  const found: FoundManifest[] = [];
  try {
    for await (const descriptor of store.referrers(repository, digest, options))
      found.push({ descriptor, via: 'referrer', parent: digest });
  } catch (error) {
    if (!isImgfsError(error, 'not-found') && !isImgfsError(error, 'unsupported')) throw error;
  }
  return found;
}
