/** A store in memory that counts what it is asked and fails on command: a registry, or a local store. */
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { manifestKind } from '../../src/oci/media-type.js';
import type {
  BlobStatter,
  Body,
  ImageStore,
  ReferrersFinder,
  RepositoryLister,
  TagLister,
  Target,
  TransportName,
} from '../../src/store/store.js';
import type { BuiltImage } from './image-builder.js';

interface Repository {
  readonly tags: Map<string, Descriptor>;
  readonly blobs: Map<Digest, { readonly descriptor: Descriptor; readonly bytes: Uint8Array }>;
  readonly referrers: Map<Digest, Descriptor[]>;
}

export interface CountingStoreOptions {
  readonly id?: string;
  readonly transport?: TransportName;
  /** Default true. False: `unsupported`, as Docker Hub and GHCR. */
  readonly catalog?: boolean;
  /** Called before each request; may throw what the store is to throw, or wait. */
  readonly before?: (request: string, signal: AbortSignal | undefined) => void | Promise<void>;
}

export class CountingStore implements ImageStore, RepositoryLister, TagLister, BlobStatter, ReferrersFinder {
  readonly transport: TransportName;
  readonly id: string;
  /** `resolve a/b:tag`, `tags a/b`, `fetch a/b sha256:…`: in the order they came. */
  readonly requests: string[] = [];
  readonly content = new Map<string, Repository>();
  before: NonNullable<CountingStoreOptions['before']>;
  readonly #catalog: boolean;

  constructor(options: CountingStoreOptions = {}) {
    this.transport = options.transport ?? 'docker';
    this.id = options.id ?? 'docker://registry.test';
    this.#catalog = options.catalog ?? true;
    this.before = options.before ?? (() => undefined);
  }

  /** Requests since the last call. */
  taken(): string[] {
    return this.requests.splice(0);
  }

  repository(name: string): Repository {
    const known = this.content.get(name) ?? { tags: new Map(), blobs: new Map(), referrers: new Map() };
    this.content.set(name, known);
    return known;
  }

  /** Add an image, and tags for it. */
  add(name: string, image: BuiltImage, ...tags: string[]): Descriptor {
    const repository = this.repository(name);
    for (const blob of [...image.blobs, ...image.manifests])
      repository.blobs.set(blob.descriptor.digest, blob);
    for (const tag of tags) repository.tags.set(tag, image.descriptor);
    return image.descriptor;
  }

  /** Add a referrer. */
  refer(name: string, subject: Digest, image: BuiltImage): void {
    const { referrers } = this.repository(name);
    referrers.set(subject, [...(referrers.get(subject) ?? []), this.add(name, image)]);
  }

  /** Add a blob or manifest as it stands. */
  addBytes(name: string, bytes: Uint8Array, mediaType: string, ...tags: string[]): Descriptor {
    const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
    this.add(name, { descriptor, blobs: [{ descriptor, bytes }], manifests: [] }, ...tags);
    return descriptor;
  }

  async resolve(target: Target, options: { signal?: AbortSignal } = {}) {
    const name = target.digest === undefined ? `:${target.tag ?? ''}` : `@${target.digest}`;
    await this.#ask(`resolve ${target.repository}${name}`, options.signal);
    const repository = this.content.get(target.repository);
    const descriptor =
      target.digest === undefined
        ? repository?.tags.get(target.tag ?? '')
        : repository?.blobs.get(target.digest)?.descriptor;
    if (descriptor === undefined || manifestKind(descriptor.mediaType) === undefined) throw unknown(name);
    return { descriptor };
  }

  async fetch(
    name: string,
    descriptor: Descriptor,
    options: { signal?: AbortSignal; range?: { start: number; end: number } } = {},
  ): Promise<Body> {
    await this.#ask(`fetch ${name} ${descriptor.digest}`, options.signal);
    const blob = this.content.get(name)?.blobs.get(descriptor.digest);
    if (blob === undefined) throw unknown(descriptor.digest);
    const { start = 0, end = blob.bytes.byteLength } = options.range ?? {};
    const part = blob.bytes.subarray(start, end);
    const chunks = (async function* () {
      yield part;
    })();
    return {
      start,
      end: start + part.byteLength,
      totalSize: blob.bytes.byteLength,
      chunks,
      cancel: () => undefined,
    };
  }

  async *repositories(options: { last?: string; signal?: AbortSignal } = {}) {
    await this.#ask(`catalog ${options.last ?? ''}`.trim(), options.signal);
    if (!this.#catalog) throw new ImgfsError('unsupported', 'no catalog');
    for (const name of [...this.content.keys()].sort()) {
      if (options.last === undefined || name > options.last) yield name;
    }
  }

  async *tags(name: string, options: { last?: string; signal?: AbortSignal } = {}) {
    await this.#ask(
      `tags ${name}${options.last === undefined ? '' : ` behind ${options.last}`}`,
      options.signal,
    );
    const repository = this.content.get(name);
    if (repository === undefined) throw unknown(name);
    for (const tag of [...repository.tags.keys()].sort())
      if (options.last === undefined || tag > options.last) yield tag;
  }

  async statBlob(name: string, digest: Digest, options: { signal?: AbortSignal } = {}) {
    await this.#ask(`stat ${name} ${digest}`, options.signal);
    const blob = this.content.get(name)?.blobs.get(digest);
    if (blob === undefined) throw unknown(digest);
    return { mediaType: 'application/octet-stream', digest, size: blob.bytes.byteLength };
  }

  async *referrers(name: string, subject: Digest, options: { signal?: AbortSignal } = {}) {
    await this.#ask(`referrers ${name} ${subject}`, options.signal);
    yield* this.content.get(name)?.referrers.get(subject) ?? [];
  }

  async close() {
    this.requests.push('close');
  }

  async #ask(request: string, signal: AbortSignal | undefined): Promise<void> {
    this.requests.push(request);
    await this.before(request, signal);
    signal?.throwIfAborted();
  }
}

function unknown(what: string): ImgfsError {
  return new ImgfsError('not-found', `404: ${what}`, { status: 404 });
}
