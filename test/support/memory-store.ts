/**
 * A store in memory with every extension: the reference that conformance suites are written against, and a fast
 * stand-in where a test needs a store and not a network.
 */
import { randomUUID } from 'node:crypto';
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../src/oci/digest.js';
import { manifestKind, mediaTypes } from '../../src/oci/media-type.js';
import { isRepositoryName, isTag } from '../../src/oci/reference.js';
import type {
  BlobStatter,
  BlobUpload,
  Body,
  CallOptions,
  Deleter,
  FetchOptions,
  ImageStore,
  ListOptions,
  PutManifestOptions,
  Pusher,
  ReferrersFinder,
  ReferrersOptions,
  RepositoryLister,
  Resolved,
  TagLister,
  Target,
} from '../../src/store/store.js';
import {
  createContent,
  ensureRepository,
  manifestOf,
  type RegistryContent,
  type Repository,
} from './fault-registry/content.js';
import { bytesContent } from './fault-registry/content.js';
import { missingReference } from './fault-registry/manifest-references.js';
import { referrersOf } from './fault-registry/referrers.js';
import type { BuiltImage } from './image-builder.js';

const pieceBytes = 32 * 1024;

interface Session {
  readonly id: string;
  readonly startedAt: Date;
  readonly repository: string;
  bytes: Buffer;
}

function notFound(what: string): ImgfsError {
  return new ImgfsError('not-found', `${what}: not in this store`);
}

function checkSignal(options: CallOptions | undefined): void {
  if (options?.signal?.aborted === true) throw new ImgfsError('interrupted', 'cancelled by the caller');
}

export class MemoryStore
  implements ImageStore, RepositoryLister, TagLister, BlobStatter, ReferrersFinder, Pusher, Deleter
{
  readonly transport = 'docker' as const;
  readonly id: string;
  readonly content: RegistryContent;
  readonly #sessions: Map<string, Session>;

  /** Two stores with the same `content` and `sessions` are two clients of one server. */
  constructor(
    id = `memory://${randomUUID()}`,
    content: RegistryContent = createContent(),
    sessions: Map<string, Session> = new Map<string, Session>(),
  ) {
    this.id = id;
    this.content = content;
    this.#sessions = sessions;
  }

  /** Another client of the same server. */
  reopen(): MemoryStore {
    return new MemoryStore(this.id, this.content, this.#sessions);
  }

  addImage(repository: string, image: BuiltImage, tag?: string): void {
    const known = ensureRepository(this.content, repository);
    for (const { descriptor, bytes } of image.blobs) {
      this.content.blobs.set(descriptor.digest, bytesContent(bytes));
      known.blobs.add(descriptor.digest);
    }
    for (const { descriptor, bytes } of image.manifests) {
      known.manifests.set(descriptor.digest, { bytes, mediaType: descriptor.mediaType });
    }
    if (tag !== undefined) known.tags.set(tag, image.descriptor.digest);
  }

  #repository(name: string): Repository {
    if (!isRepositoryName(name)) throw new ImgfsError('name-invalid', `not a repository name: ${name}`);
    const repository = this.content.repositories.get(name);
    if (repository === undefined) throw notFound(`repository ${name}`);
    return repository;
  }

  async resolve(target: Target, options?: CallOptions): Promise<Resolved> {
    checkSignal(options);
    const repository = this.#repository(target.repository);
    if (target.digest === undefined && !isTag(target.tag ?? '')) {
      throw new ImgfsError('name-invalid', `not a tag: ${target.tag}`);
    }
    const found = manifestOf(repository, target.digest ?? target.tag ?? '');
    if (found === undefined) throw notFound(`manifest ${target.digest ?? target.tag}`);
    const { bytes, mediaType } = found.manifest;
    return { descriptor: { mediaType, digest: found.digest, size: bytes.length }, bytes };
  }

  async fetch(repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    checkSignal(options);
    const known = this.#repository(repository);
    const manifest =
      manifestKind(descriptor.mediaType) === undefined ? undefined : known.manifests.get(descriptor.digest);
    const content =
      manifest === undefined
        ? known.blobs.has(descriptor.digest)
          ? this.content.blobs.get(descriptor.digest)
          : undefined
        : bytesContent(manifest.bytes);
    if (content === undefined) throw notFound(`blob ${descriptor.digest}`);
    const start = Math.min(options.range?.start ?? 0, content.size);
    const end = Math.min(options.range?.end ?? content.size, content.size);
    const state = { cancelled: false };
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let at = start; at < end && !state.cancelled; at += pieceBytes) {
        checkSignal(options);
        yield content?.slice(at, Math.min(at + pieceBytes, end)) ?? new Uint8Array(0);
      }
    }
    return {
      start,
      end,
      totalSize: content.size,
      chunks: chunks(),
      cancel: () => {
        state.cancelled = true;
      },
    };
  }

  async close(): Promise<void> {}

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options);
    for (const name of [...this.content.repositories.keys()].sort()) {
      if (options.last === undefined || name > options.last) yield name;
    }
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options);
    for (const tag of [...this.#repository(repository).tags.keys()].sort()) {
      if (options.last === undefined || tag > options.last) yield tag;
    }
  }

  async statBlob(repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor> {
    checkSignal(options);
    const content = this.#repository(repository).blobs.has(digest)
      ? this.content.blobs.get(digest)
      : undefined;
    if (content === undefined) throw notFound(`blob ${digest}`);
    return { mediaType: mediaTypes.octetStream, digest, size: content.size };
  }

  async *referrers(
    repository: string,
    subject: Digest,
    options: ReferrersOptions = {},
  ): AsyncGenerator<Descriptor> {
    checkSignal(options);
    for (const item of referrersOf(this.#repository(repository), subject)) {
      const descriptor = item as Descriptor;
      if (options.artifactType === undefined || descriptor.artifactType === options.artifactType) {
        yield descriptor;
      }
    }
  }

  async startUpload(repository: string, options?: CallOptions): Promise<BlobUpload> {
    checkSignal(options);
    if (!isRepositoryName(repository)) {
      throw new ImgfsError('name-invalid', `not a repository name: ${repository}`);
    }
    ensureRepository(this.content, repository);
    const session = { id: randomUUID(), startedAt: new Date(), repository, bytes: Buffer.alloc(0) };
    this.#sessions.set(session.id, session);
    return this.#upload(session);
  }

  async resumeUpload(repository: string, resumeToken: string, options?: CallOptions): Promise<BlobUpload> {
    checkSignal(options);
    const session = this.#sessions.get(resumeToken);
    if (session?.repository !== repository) throw notFound('upload');
    return this.#upload(session);
  }

  #upload(session: Session): BlobUpload {
    const alive = (): void => {
      if (!this.#sessions.has(session.id)) throw notFound('upload');
    };
    return {
      id: session.id,
      startedAt: session.startedAt,
      get offset() {
        return session.bytes.length;
      },
      resumeToken: session.id,
      write: async (chunk, options) => {
        checkSignal(options);
        alive();
        session.bytes = Buffer.concat([session.bytes, chunk]);
      },
      status: async (options) => {
        checkSignal(options);
        alive();
        return session.bytes.length;
      },
      finish: async (digest, options) => {
        checkSignal(options);
        alive();
        if (digestOf(session.bytes, digestAlgorithm(digest)) !== digest) {
          throw new ImgfsError('digest-mismatch', `finish upload: content is not ${digest}`);
        }
        this.#sessions.delete(session.id);
        this.content.blobs.set(digest, bytesContent(session.bytes));
        ensureRepository(this.content, session.repository).blobs.add(digest);
        return { mediaType: mediaTypes.octetStream, digest, size: session.bytes.length };
      },
      cancel: async () => void this.#sessions.delete(session.id),
    };
  }

  async mountBlob(repository: string, from: string, digest: Digest): Promise<boolean> {
    if (this.content.repositories.get(from)?.blobs.has(digest) !== true) return false;
    ensureRepository(this.content, repository).blobs.add(digest);
    return true;
  }

  async putManifest(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options: PutManifestOptions = {},
  ): Promise<Descriptor> {
    checkSignal(options);
    const parsed = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
    const kind = manifestKind(mediaType) ?? 'image';
    if (missingReference(this.content, repository, parsed, kind) !== undefined) {
      throw new ImgfsError('invalid', 'put manifest: it names a blob that is not there');
    }
    const known = ensureRepository(this.content, repository);
    const digest = digestOf(bytes);
    known.manifests.set(digest, { bytes, mediaType });
    for (const tag of options.tags ?? []) known.tags.set(tag, digest);
    return { mediaType, digest, size: bytes.length };
  }

  async deleteTag(repository: string, tag: string): Promise<void> {
    if (!this.#repository(repository).tags.delete(tag)) throw notFound(`tag ${tag}`);
  }

  async deleteManifest(repository: string, digest: Digest): Promise<void> {
    const known = this.#repository(repository);
    if (!isDigest(digest) || !known.manifests.delete(digest)) throw notFound(`manifest ${digest}`);
    for (const [tag, named] of known.tags) if (named === digest) known.tags.delete(tag);
  }

  async deleteBlob(repository: string, digest: Digest): Promise<void> {
    if (!this.#repository(repository).blobs.delete(digest)) throw notFound(`blob ${digest}`);
  }
}
