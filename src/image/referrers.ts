/** What refers to an image: referrers, cosign's tags, and the attestation children of an index. */
import { LRUCache } from 'lru-cache';
import { isImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestAlgorithm, digestHex, type Digest } from '../oci/digest.js';
import { isAttestationManifest } from '../oci/select-manifest.js';
import { isReferrersFinder, type CallOptions } from '../store/store.js';
import { artifactKind, isSbomPredicate, predicateType, type ArtifactKind } from './artifact-kind.js';
import type { Image } from './image.js';
import { SingleFlight } from './single-flight.js';
import type { TagResolver } from './tag-resolver.js';

/** The kinds that have a directory of their own. */
export type RelatedKind = Exclude<ArtifactKind, 'other'>;

/** One document of an artifact, ready to read. */
export interface RelatedDocument {
  readonly kind: RelatedKind;
  /** The artifact the document is a layer of. */
  readonly artifact: Image;
  /** The document itself: a blob of the artifact. */
  readonly descriptor: Descriptor;
  /** How it was found. */
  readonly origin: 'referrer' | 'cosign-tag' | 'index-child';
}

/** An image with more referrers than this is being abused; the rest is reachable through `referrers/`. */
const maxArtifacts = 200;

/** Suffixes of cosign's tags (cosign specs/SIGNATURE_SPEC.md, "Naming"). */
const cosignSuffixes: Readonly<Record<RelatedKind, string>> = {
  signature: 'sig',
  sbom: 'sbom',
  attestation: 'att',
};

/** As many referrers of one image as are kept in memory: 300 bytes each. */
const maxReferrers = 10_000;

/** Lists for this many images are remembered. */
const maxRemembered = 500;

interface Remembered<Value> {
  readonly value: Value;
  readonly until: number;
}

/** Finds what refers to images, and remembers it as long as a tag is believed. */
export class RelatedFinder {
  readonly #tags: TagResolver;
  readonly #ttlMs: number;
  readonly #now: () => number;
  readonly #referrers = new LRUCache<string, Remembered<readonly Descriptor[]>>({ max: maxRemembered });
  readonly #documents = new LRUCache<string, Remembered<readonly RelatedDocument[]>>({ max: maxRemembered });
  readonly #listings = new SingleFlight<readonly Descriptor[]>();
  readonly #searches = new SingleFlight<readonly RelatedDocument[]>();

  constructor(tags: TagResolver, ttlMs: number, now: () => number = Date.now) {
    this.#tags = tags;
    this.#ttlMs = ttlMs;
    this.#now = now;
  }

  /**
   * Manifests that name the image as their subject. A store that cannot tell has none.
   * @throws ImgfsError when the store gave no answer.
   */
  async referrers(image: Image, options: CallOptions = {}): Promise<readonly Descriptor[]> {
    const key = keyOf(image);
    const known = this.#referrers.get(key);
    if (known !== undefined && known.until > this.#now()) return known.value;
    return this.#listings.run(key, options.signal, async (signal) => {
      const value = await listReferrers(image, signal);
      this.#referrers.set(key, { value, until: this.#now() + this.#ttlMs });
      return value;
    });
  }

  /**
   * All documents of one kind: about what the name stands for and, for an index, about the image of the chosen
   * platform too.
   * @throws ImgfsError when the store gave no answer, or an artifact is refused.
   */
  async documents(
    image: Image,
    kind: RelatedKind,
    options: CallOptions = {},
  ): Promise<readonly RelatedDocument[]> {
    const key = `${kind} ${keyOf(image)} ${image.parent?.descriptor.digest ?? ''}`;
    const known = this.#documents.get(key);
    if (known !== undefined && known.until > this.#now()) return known.value;
    return this.#searches.run(key, options.signal, async (signal) => {
      const value = await this.#search(image, kind, { signal });
      this.#documents.set(key, { value, until: this.#now() + this.#ttlMs });
      return value;
    });
  }

  async #search(image: Image, kind: RelatedKind, options: CallOptions): Promise<readonly RelatedDocument[]> {
    const subjects = await subjectsOf(image, options);
    const found = await Promise.all([
      ...subjects.map(async (subject) =>
        fromReferrers(subject, await this.referrers(subject, options), kind, options),
      ),
      ...subjects.map((subject) => fromCosignTag(subject, kind, this.#tags, options)),
      kind === 'signature' ? Promise.resolve([]) : fromIndex(image, subjects, kind, options),
    ]);
    // Several signatures of one payload are one blob with different annotations.
    const unique = new Map(found.flat().map((document) => [keyOfDocument(document), document]));
    return [...unique.values()];
  }
}

function keyOfDocument({ descriptor }: RelatedDocument): string {
  return `${descriptor.digest} ${JSON.stringify(descriptor.annotations ?? {})}`;
}

function keyOf(image: Image): string {
  return `${image.store.id}\0${image.repository}@${image.descriptor.digest}`;
}

async function listReferrers(image: Image, signal: AbortSignal): Promise<readonly Descriptor[]> {
  if (!isReferrersFinder(image.store)) return [];
  const found: Descriptor[] = [];
  try {
    for await (const descriptor of image.store.referrers(image.repository, image.descriptor.digest, {
      signal,
    })) {
      found.push(descriptor);
      if (found.length >= maxReferrers) break;
    }
  } catch (error) {
    if (!isImgfsError(error, 'not-found') && !isImgfsError(error, 'unsupported')) throw error;
  }
  return found;
}

async function subjectsOf(image: Image, options: CallOptions): Promise<readonly Image[]> {
  if (!image.isIndex) return [image];
  try {
    return [image, await image.leaf(options)];
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return [image];
    throw error;
  }
}

async function fromReferrers(
  image: Image,
  referrers: readonly Descriptor[],
  kind: RelatedKind,
  options: CallOptions,
): Promise<RelatedDocument[]> {
  const fitting = referrers.filter((descriptor) => artifactKind(descriptor) === kind).slice(0, maxArtifacts);
  const artifacts = fitting.map((descriptor) => image.sibling(descriptor));
  return documentsOf(artifacts, kind, 'referrer', () => true, options);
}

/** The tag under which cosign keeps signatures, attestations or SBOMs of a digest. */
export function cosignTag(digest: Digest, kind: RelatedKind): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}.${cosignSuffixes[kind]}`;
}

async function fromCosignTag(
  image: Image,
  kind: RelatedKind,
  tags: TagResolver,
  options: CallOptions,
): Promise<RelatedDocument[]> {
  const { store, repository } = image;
  if (store.transport !== 'docker') return [];
  const tag = cosignTag(image.descriptor.digest, kind);
  try {
    const { descriptor } = await tags.resolve(store, { repository, tag }, options);
    return await documentsOf([image.sibling(descriptor)], kind, 'cosign-tag', () => true, options);
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return [];
    throw error;
  }
}

/** BuildKit's attestations: children of the index that point back at a sibling by annotation. */
async function fromIndex(
  image: Image,
  subjects: readonly Image[],
  kind: RelatedKind,
  options: CallOptions,
): Promise<RelatedDocument[]> {
  const home = image.isIndex ? image : image.parent;
  const index = await home?.index(options);
  if (home === undefined || index === undefined) return [];
  const wanted = new Set<string>(subjects.map((subject) => subject.descriptor.digest));
  const artifacts = index.manifests.filter(
    (child) =>
      isAttestationManifest(child) && wanted.has(child.annotations?.['vnd.docker.reference.digest'] ?? ''),
  );
  const fits = (layer: Descriptor): boolean =>
    kind === 'attestation' || isSbomPredicate(predicateType(layer) ?? '');
  const images = artifacts.slice(0, maxArtifacts).map((child) => home.sibling(child));
  return documentsOf(images, kind, 'index-child', fits, options);
}

async function documentsOf(
  artifacts: readonly Image[],
  kind: RelatedKind,
  origin: RelatedDocument['origin'],
  fits: (layer: Descriptor) => boolean,
  options: CallOptions,
): Promise<RelatedDocument[]> {
  const documents: RelatedDocument[] = [];
  for (const artifact of artifacts) {
    const { manifest } = await artifact.chosen(options);
    const blobs = manifest.kind === 'image' ? manifest.layers : manifest.blobs;
    for (const descriptor of blobs)
      if (fits(descriptor)) documents.push({ kind, artifact, descriptor, origin });
  }
  return documents;
}
