/**
 * What a store is: anything that holds images.
 *
 * The required part is small (after oras-go and containerd); everything else is an optional extension interface
 * that a store may also implement, found with the `is…` functions below. Names inside a store are a repository
 * (`library/alpine`; `''` for the root of a local store whose images have bare tags) plus a tag or a digest.
 *
 * Bytes that leave `fetch` are NOT verified: `content/` verifies them against the descriptor.
 */
import type { DigestHandle } from '../addon/receive-addon.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest, DigestAlgorithm } from '../oci/digest.js';

/** Names of the transports, in skopeo's spelling. */
export type TransportName =
  | 'docker'
  | 'oci'
  | 'oci-archive'
  | 'docker-archive'
  | 'dir'
  | 'containers-storage'
  | 'containerd'
  | 'docker-daemon'
  | 'tarball'
  | 'sif';

/** Someone waits for it, or it is read in advance: prefetches never hold up what someone waits for. */
export type RequestPriority = 'interactive' | 'prefetch';

/** Every call can be cancelled and has a deadline of its own besides. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Default: `interactive`. */
  readonly priority?: RequestPriority;
}

/** One image of a store. A digest wins over a tag. */
export interface Target {
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** Bytes `[start, end)` of a blob: `end` is exclusive, both are byte offsets from its beginning. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Bytes that can be read again, at any place: a file. */
export interface ReadableBytes {
  /** Fill `buffer` from `position`; the number of bytes, short only at the end. @throws ImgfsError. */
  read(buffer: Uint8Array, position: number): Promise<number>;
}

/** A file that takes a body, each byte at the offset that it has in the blob. */
export interface FileTarget {
  readonly fd: number;
  /** Goes on with the bytes that pass, where they are the next for it. */
  readonly digest: DigestHandle | undefined;
  /** All bytes of the body before `position` are in the file. */
  readonly onWritten: (position: number) => void;
}

/** A body on its way. The consumer must read it to the end or call `cancel`. */
export interface Body {
  /** Offset in the blob of the first byte of `chunks`: a server may ignore the range and send all (200). */
  readonly start: number;
  /** Offset just behind the last byte, when the server said so. */
  readonly end: number | undefined;
  /** Size of the whole blob, when the server said so. */
  readonly totalSize: number | undefined;
  /** The bytes, in order. Deadlines and minimum throughput are enforced inside; failures are ImgfsErrors. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /**
   * In place of the first chunks: have them written to a file without coming into JavaScript. Resolves to the offset
   * before which they are there when no more will come that way; `chunks` goes on from it, if only to say how it ended.
   * There only where it is of use.
   */
  readonly receive?: (target: FileTarget) => Promise<number>;
  /** Tell that nobody will look at a chunk again, so that its memory can be used for others. Not a duty; once each. */
  release?(chunk: Uint8Array): void;
  /** The whole blob where it lies in a file, in place of `chunks`: nothing is allocated for it. Good until `cancel`. */
  readonly file?: ReadableBytes;
  /** Let go of the rest. */
  cancel(): void;
}

/** Which bytes, and how. */
export interface FetchOptions extends CallOptions {
  readonly range?: ByteRange;
  /** The last answer was wrong: rely on nothing that is remembered of where the bytes come from. */
  readonly fresh?: boolean;
}

/** The answer to a name: the descriptor, and the manifest itself where the store had to read it anyway. */
export interface Resolved {
  readonly descriptor: Descriptor;
  /** Exact bytes of the manifest, unverified, when a round trip was saved by taking them along. */
  readonly bytes?: Uint8Array;
}

/** What every store can do. */
export interface ImageStore {
  readonly transport: TransportName;
  /** Stable name for the cache and for messages: `docker://ghcr.io`, `oci:/var/lib/images`. */
  readonly id: string;
  /**
   * Name to descriptor.
   * @throws ImgfsError `not-found` only when the store said so; `unauthorized`, `denied`, `rate-limited`,
   *   `timeout`, `unavailable`, `protocol`, `interrupted` otherwise.
   */
  resolve(target: Target, options?: CallOptions): Promise<Resolved>;
  /**
   * Start reading a blob or a manifest, whole or one range. A descriptor whose media type is a manifest's is
   * fetched as a manifest, all others as blobs.
   * @throws as `resolve`.
   */
  fetch(repository: string, descriptor: Descriptor, options?: FetchOptions): Promise<Body>;
  /** Let go of connections and locks. Idempotent. */
  close(): Promise<void>;
}

/** Where a listing begins. */
export interface ListOptions extends CallOptions {
  /** Only names behind this one, in the store's own order. */
  readonly last?: string;
  /** Ask for pages of this length (a wish: servers ignore it). */
  readonly pageSize?: number;
}

/** Streams the repositories of a store, in the store's order. `unsupported` where there is no catalog. */
export interface RepositoryLister {
  /** Names of repositories, as they come. @throws ImgfsError `unsupported` without a catalog. */
  repositories(options?: ListOptions): AsyncIterable<string>;
}

/** Streams the tags of a repository, in the store's order. `not-found` when there is no such repository. */
export interface TagLister {
  /** Tags, as they come. @throws ImgfsError `not-found`. */
  tags(repository: string, options?: ListOptions): AsyncIterable<string>;
}

/** Size and existence of a blob without reading it; a HEAD request where the store is remote. */
export interface BlobStatter {
  /** @throws ImgfsError `not-found` when the repository has no such blob. */
  statBlob(repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor>;
}

/** Which referrers. */
export interface ReferrersOptions extends CallOptions {
  readonly artifactType?: string;
}

/** Manifests whose `subject` is the digest (distribution-spec end-12 and its fallback tag). */
export interface ReferrersFinder {
  /** Descriptors of referrers, as they come. */
  referrers(repository: string, subject: Digest, options?: ReferrersOptions): AsyncIterable<Descriptor>;
}

/** An upload that is under way. Bytes go in order; the store counts them. */
export interface BlobUpload {
  /** The store's id for it (`Docker-Upload-UUID`), where it has one. */
  readonly id: string;
  readonly startedAt: Date;
  /** Bytes that the store has confirmed. */
  readonly offset: number;
  /** Everything needed to go on after a restart. Opaque; changes with each `write`. */
  readonly resumeToken: string;
  /** Bytes behind those written before. @throws ImgfsError what the store throws; `status` tells how far it is. */
  write(chunk: Uint8Array, options?: CallOptions): Promise<void>;
  /** Ask the store how far it is; afterwards `offset` is its answer. */
  status(options?: CallOptions): Promise<number>;
  /** @throws ImgfsError `digest-mismatch` when the store disagrees; the upload stays alive then. */
  finish(digest: Digest, options?: CallOptions): Promise<Descriptor>;
  /** Give the session up. Fails quietly where the store forgot it. */
  cancel(options?: CallOptions): Promise<void>;
}

/** An upload that reads by itself what it sends: no chunk of it is kept in memory. */
export interface SourcedUpload extends BlobUpload {
  /**
   * Bytes behind those that the store has, up to `end` of the blob, read when they are sent, and again when they must
   * be sent again: `source` must answer the same until `finish` has. Resolves when all but the last chunk are stored.
   * @throws as `write`.
   */
  writeFrom(source: ReadableBytes, end: number, options?: CallOptions): Promise<void>;
  /** Resolves when all that was given is stored. @throws as `write`. */
  flush(options?: CallOptions): Promise<void>;
}

/** Whether an upload can be given a source. */
export function takesSource(upload: BlobUpload): upload is SourcedUpload {
  return 'writeFrom' in upload;
}

/** What is known of a blob beforehand. */
export interface UploadOptions extends CallOptions {
  /** Length, when it is known beforehand. */
  readonly size?: number;
  readonly algorithm?: DigestAlgorithm;
}

/** Under which names a manifest is put. */
export interface PutManifestOptions extends CallOptions {
  /** Tags to point at it, in the same request where the store can. None: by digest only. */
  readonly tags?: readonly string[];
  /** A child of an index: a layout gives it no entry of its own. */
  readonly child?: boolean;
  /** Of the digest it is put under; default sha256. */
  readonly algorithm?: DigestAlgorithm;
}

/** A store that can be added to. */
export interface Pusher {
  /** Begin an upload. @throws ImgfsError `unauthorized`, `denied`, `read-only-store`. */
  startUpload(repository: string, options?: UploadOptions): Promise<BlobUpload>;
  /** A blob that is at hand, in as few requests as the store can. @throws ImgfsError as an upload, to its end. */
  putBlob?(repository: string, digest: Digest, bytes: Uint8Array, options?: CallOptions): Promise<Descriptor>;
  /** Go on with an upload of an earlier process. @throws ImgfsError `not-found` when the store has dropped it. */
  resumeUpload(repository: string, resumeToken: string, options?: CallOptions): Promise<BlobUpload>;
  /** Take a blob over from another repository of the same store; false when the store would not. */
  mountBlob(repository: string, from: string, digest: Digest, options?: CallOptions): Promise<boolean>;
  /** Put a manifest, and tags for it. @throws ImgfsError `invalid` when a blob it names is missing. */
  putManifest(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options?: PutManifestOptions,
  ): Promise<Descriptor>;
}

/** A store that can be deleted from. Each method throws `unsupported` where the server refuses in general. */
export interface Deleter {
  /** Take a tag away; the manifest stays. @throws ImgfsError `not-found`, `unsupported`. */
  deleteTag(repository: string, tag: string, options?: CallOptions): Promise<void>;
  /** Delete a manifest with all its tags. @throws ImgfsError `not-found`, `unsupported`. */
  deleteManifest(repository: string, digest: Digest, options?: CallOptions): Promise<void>;
  /** Delete a blob. @throws ImgfsError `not-found`, `unsupported`. */
  deleteBlob(repository: string, digest: Digest, options?: CallOptions): Promise<void>;
}

/** A store that can be asked whether it is there and takes our credentials (distribution-spec end-1). */
export interface Pinger {
  /** @throws ImgfsError `unauthorized` or `denied` when it does not want us; `unavailable`, `timeout`. */
  ping(options?: CallOptions): Promise<void>;
}

/** How many requests a server still allows, by the headers of its last answer. */
export interface RateLimit {
  /** Requests in a window. */
  readonly limit?: number;
  /** Requests left in this window. */
  readonly remaining?: number;
  /** Length of the window in seconds. */
  readonly windowSeconds?: number;
  /** Who the server counts: an address or an account (`Docker-RateLimit-Source`). */
  readonly source?: string;
  /** When the server said so, in milliseconds since the epoch. */
  readonly at: number;
}

/** A store that counts what we ask. */
export interface RateLimited {
  /** What the server said last; undefined when it never said anything. Asks nothing. */
  rateLimit(): RateLimit | undefined;
}

/** One repository that a search has found. */
export interface SearchHit {
  /** Name in its store: `library/alpine`. */
  readonly name: string;
  readonly description?: string;
  readonly stars?: number;
  readonly official?: boolean;
}

/** How much a search gives. */
export interface SearchOptions extends CallOptions {
  /** No more hits than that. Default 25, as `docker search`. */
  readonly limit?: number;
}

/** A store with a search of its own; in others the names of the catalog are looked through. */
export interface Searcher {
  /** Hits in the server's order. @throws ImgfsError `unsupported` where there is no search. */
  search(term: string, options?: SearchOptions): AsyncIterable<SearchHit>;
}

/** A store that knows when a blob came to it. */
export interface BlobDater {
  /** Time of the blob in the store; undefined when the store does not tell. @throws ImgfsError `not-found`. */
  blobDate(repository: string, digest: Digest, options?: CallOptions): Promise<Date | undefined>;
}

/**
 * A store that keeps signatures itself, as the files `signature-<n>` of a `dir:` have them: an OpenPGP message, or behind
 * a zero byte the name of a format, a line feed and the signature (containers/image docs/signature-protocols.md).
 */
export interface SignatureKeeper {
  /**
   * Signatures of a manifest, in the order they were put; undefined when this store keeps none after all: a registry
   * without the extension.
   * @throws ImgfsError when the store gave no answer: that is not "no signatures".
   */
  signatures(
    repository: string,
    digest: Digest,
    options?: CallOptions,
  ): Promise<readonly Uint8Array[] | undefined>;
}

/** A store that signatures can be put into. */
export interface SignatureTaker extends SignatureKeeper {
  /**
   * Add one behind those that are there; one that is there already stays as it is. Resolves to where it is now, or to
   * undefined where the store keeps none after all.
   * @throws ImgfsError `not-found` without such a manifest; what the store throws.
   */
  putSignature(
    repository: string,
    digest: Digest,
    signature: Uint8Array,
    options?: CallOptions,
  ): Promise<string | undefined>;
}

const has = (store: object, ...methods: string[]): boolean =>
  methods.every((method) => typeof (store as Record<string, unknown>)[method] === 'function');

/** True when its repositories can be listed: {@link RepositoryLister}. */
export const isRepositoryLister = (store: ImageStore): store is ImageStore & RepositoryLister =>
  has(store, 'repositories');
/** True when tags can be listed: {@link TagLister}. */
export const isTagLister = (store: ImageStore): store is ImageStore & TagLister => has(store, 'tags');
/** True when it tells the size of a blob: {@link BlobStatter}. */
export const isBlobStatter = (store: ImageStore): store is ImageStore & BlobStatter => has(store, 'statBlob');
/** True when it finds what refers to a manifest: {@link ReferrersFinder}. */
export const isReferrersFinder = (store: ImageStore): store is ImageStore & ReferrersFinder =>
  has(store, 'referrers');
/** True when it can be added to: {@link Pusher}. */
export const isPusher = (store: ImageStore): store is ImageStore & Pusher =>
  has(store, 'startUpload', 'putManifest');
/** True when it can be deleted from: {@link Deleter}. */
export const isDeleter = (store: ImageStore): store is ImageStore & Deleter => has(store, 'deleteManifest');
/** True when it can be asked whether it is there: {@link Pinger}. */
export const isPinger = (store: ImageStore): store is ImageStore & Pinger => has(store, 'ping');
/** True when it tells how many requests are left: {@link RateLimited}. */
export const isRateLimited = (store: ImageStore): store is ImageStore & RateLimited =>
  has(store, 'rateLimit');
/** True when it has a search of its own: {@link Searcher}. */
export const isSearcher = (store: ImageStore): store is ImageStore & Searcher => has(store, 'search');
/** True when it tells when a blob came: {@link BlobDater}. */
export const isBlobDater = (store: ImageStore): store is ImageStore & BlobDater => has(store, 'blobDate');
/** True when it may keep signatures: {@link SignatureKeeper}. */
export const isSignatureKeeper = (store: ImageStore): store is ImageStore & SignatureKeeper =>
  has(store, 'signatures');
/** True when signatures can be put into it: {@link SignatureTaker}. */
export const isSignatureTaker = (store: ImageStore): store is ImageStore & SignatureTaker =>
  has(store, 'putSignature');
