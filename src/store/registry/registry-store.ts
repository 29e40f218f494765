/** One registry as a store: the interfaces of `store.ts`, each answered by the file beside this one that knows how. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { manifestKind } from '../../oci/media-type.js';
import { isRepositoryName } from '../../oci/reference.js';
import type {
  BlobDater,
  BlobStatter,
  BlobUpload,
  Body,
  CallOptions,
  Deleter,
  FetchOptions,
  ImageStore,
  ListOptions,
  Pinger,
  Pusher,
  PutManifestOptions,
  ReferrersFinder,
  ReferrersOptions,
  RateLimit,
  RateLimited,
  RepositoryLister,
  Resolved,
  Searcher,
  SearchHit,
  SearchOptions,
  SignatureTaker,
  TagLister,
  Target,
  UploadOptions,
} from '../store.js';
import { askApiVersion } from './api-version.js';
import { openBody } from './blob-body.js';
import { blobDate, openBlob, rangeHeader, statBlob } from './blobs.js';
import { RegistryClient, type RegistryDeps } from './client.js';
import { Deletes } from './deletes.js';
import { listRepositories, listTags } from './listing.js';
import { fetchManifestCall, resolveManifest } from './manifests.js';
import { defaultRegistryOptions, type RegistryOptions } from './options.js';
import { ManifestPutter } from './put-manifest.js';
import { Referrers } from './referrers.js';
import { searchRegistry } from './search.js';
import { ReferrersTag } from './referrers-tag.js';
import { SignaturesApi } from './signatures-api.js';
import { mountBlob } from './upload/mount.js';
import { parseResumeToken } from './upload/resume-token.js';
import { BlobPutter } from './upload/put-blob.js';
import { UploadSession } from './upload/session.js';
import { RegistryUpload } from './upload/upload.js';

/** What a registry store needs from outside. */
export interface RegistryStoreDeps extends RegistryDeps {
  /** What differs from `defaultRegistryOptions`. */
  readonly options?: Partial<RegistryOptions>;
}

/** All that a registry can do. A server that cannot do one of it says so when asked (`unsupported`). */
export class RegistryStore
  implements
    ImageStore,
    RepositoryLister,
    TagLister,
    BlobStatter,
    BlobDater,
    ReferrersFinder,
    Pusher,
    Deleter,
    Pinger,
    RateLimited,
    Searcher,
    SignatureTaker
{
  readonly transport = 'docker';
  readonly id: string;
  readonly #client: RegistryClient;
  readonly #referrers: Referrers;
  readonly #putter: ManifestPutter;
  readonly #blobs: BlobPutter;
  readonly #deletes: Deletes;
  readonly #signatures: SignaturesApi;

  constructor(registry: string, deps: RegistryStoreDeps) {
    this.id = `docker://${registry}`;
    this.#client = new RegistryClient(registry, deps, { ...defaultRegistryOptions, ...deps.options });
    this.#referrers = new Referrers(this.#client);
    const referrersTag = new ReferrersTag(this.#client, this.#referrers);
    this.#blobs = new BlobPutter(this.#client);
    this.#putter = new ManifestPutter(this.#client, referrersTag);
    this.#signatures = new SignaturesApi(this.#client);
    this.#deletes = new Deletes(this.#client, referrersTag, (origin) => this.#referrers.lacksApi(origin));
  }

  /**
   * Ask whether the registry takes our credentials (distribution-spec end-1): `GET /v2/`.
   * @throws ImgfsError `unauthorized` or `denied` when it does not, as `resolve` otherwise.
   */
  async ping(options: CallOptions = {}): Promise<void> {
    await askApiVersion(this.#client, [200], options);
  }

  rateLimit(): RateLimit | undefined {
    return this.#client.rateLimit;
  }

  search(term: string, options: SearchOptions = {}): AsyncIterable<SearchHit> {
    return searchRegistry(this.#client, term, options);
  }

  async resolve(target: Target, options: CallOptions = {}): Promise<Resolved> {
    this.#checkRepository(target.repository);
    return resolveManifest(this.#client, target, options);
  }

  async fetch(repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    this.#checkRepository(repository);
    const { range, ...call } = options;
    const client = this.#client;
    const isManifest = manifestKind(descriptor.mediaType) !== undefined;
    return openBody({
      operation: isManifest ? 'fetch manifest' : 'fetch blob',
      range,
      size: descriptor.size,
      resumes: client.options.retries,
      open: (part) =>
        isManifest
          ? client.send({
              ...fetchManifestCall(client, repository, descriptor, call),
              ...withRange(part, fetchManifestCall(client, repository, descriptor, call).headers),
              expect: [200, 206, 416],
            })
          : openBlob(client, repository, descriptor, part, call),
    });
  }

  repositories(options: ListOptions = {}): AsyncIterable<string> {
    return listRepositories(this.#client, options);
  }

  tags(repository: string, options: ListOptions = {}): AsyncIterable<string> {
    this.#checkRepository(repository);
    return listTags(this.#client, repository, options);
  }

  async statBlob(repository: string, digest: Digest, options: CallOptions = {}): Promise<Descriptor> {
    this.#checkRepository(repository);
    return statBlob(this.#client, repository, digest, options);
  }

  async blobDate(repository: string, digest: Digest, options: CallOptions = {}): Promise<Date | undefined> {
    this.#checkRepository(repository);
    return blobDate(this.#client, repository, digest, options);
  }

  referrers(repository: string, subject: Digest, options: ReferrersOptions = {}): AsyncIterable<Descriptor> {
    this.#checkRepository(repository);
    return this.#referrers.find(repository, subject, options);
  }

  async startUpload(repository: string, options: UploadOptions = {}): Promise<BlobUpload> {
    this.#checkRepository(repository);
    const { size, algorithm, ...call } = options;
    const session = await UploadSession.start(this.#client, repository, algorithm ?? 'sha256', call);
    return new RegistryUpload(session, size);
  }

  async putBlob(
    repository: string,
    digest: Digest,
    bytes: Uint8Array,
    options: CallOptions = {},
  ): Promise<Descriptor> {
    this.#checkRepository(repository);
    return this.#blobs.put(repository, digest, bytes, options);
  }

  async resumeUpload(
    repository: string,
    resumeToken: string,
    options: CallOptions = {},
  ): Promise<BlobUpload> {
    const state = parseResumeToken(resumeToken, this.#client.registry, repository);
    const upload = new RegistryUpload(await UploadSession.restore(this.#client, state), undefined);
    await upload.status(options);
    return upload;
  }

  async mountBlob(
    repository: string,
    from: string,
    digest: Digest,
    options: CallOptions = {},
  ): Promise<boolean> {
    this.#checkRepository(repository);
    this.#checkRepository(from);
    return mountBlob(this.#client, repository, from, digest, options);
  }

  async putManifest(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options: PutManifestOptions = {},
  ): Promise<Descriptor> {
    this.#checkRepository(repository);
    return this.#putter.put(repository, bytes, mediaType, options);
  }

  async deleteTag(repository: string, tag: string, options: CallOptions = {}): Promise<void> {
    this.#checkRepository(repository);
    await this.#deletes.tag(repository, tag, options);
  }

  async deleteManifest(repository: string, digest: Digest, options: CallOptions = {}): Promise<void> {
    this.#checkRepository(repository);
    await this.#deletes.manifest(repository, digest, options);
  }

  async deleteBlob(repository: string, digest: Digest, options: CallOptions = {}): Promise<void> {
    this.#checkRepository(repository);
    await this.#deletes.blob(repository, digest, options);
  }

  async signatures(
    repository: string,
    digest: Digest,
    options: CallOptions = {},
  ): Promise<readonly Uint8Array[] | undefined> {
    this.#checkRepository(repository);
    return this.#signatures.get(repository, digest, options);
  }

  async putSignature(
    repository: string,
    digest: Digest,
    signature: Uint8Array,
    options: CallOptions = {},
  ): Promise<string | undefined> {
    this.#checkRepository(repository);
    return this.#signatures.put(repository, digest, signature, options);
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  /** A name becomes part of a URL: only what the grammar allows may. */
  #checkRepository(repository: string): void {
    if (isRepositoryName(repository)) return;
    throw new ImgfsError(
      'name-invalid',
      `${JSON.stringify(repository.slice(0, 300))} is not a repository name`,
      { host: this.#client.registry, hint: 'repository names are lower case: group/name' },
    );
  }
}

function withRange(
  range: { start: number; end: number } | undefined,
  headers: Readonly<Record<string, string>> | undefined,
): { headers: Record<string, string> } {
  return { headers: { ...headers, ...rangeHeader(range) } };
}

/** Open the store of one registry (`ghcr.io`, `localhost:5000`); no request is sent. */
export function openRegistryStore(registry: string, deps: RegistryStoreDeps): RegistryStore {
  return new RegistryStore(registry, deps);
}
