/**
 * Stores that are read as a whole and change rarely: a table of images and blobs by digest, read again when what they
 * were read from has changed. Bodies under way keep the version they began with open.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { manifestKind, mediaTypes } from '../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../oci/parse-manifest.js';
import type { Platform } from '../oci/platform.js';
import { checkSignal } from './check-signal.js';
import { clipRange, memoryBody } from './file-body.js';
import type { ImageEntry, ImageTable } from './layout/image-table.js';
import { ReferrersIndex } from './layout/referrers.js';
import type {
  BlobStatter,
  Body,
  ByteRange,
  CallOptions,
  FetchOptions,
  ImageStore,
  ListOptions,
  ReferrersFinder,
  ReferrersOptions,
  RepositoryLister,
  Resolved,
  SignatureKeeper,
  TagLister,
  Target,
  TransportName,
} from './store.js';

/** Bytes of a blob: made by us, or somewhere they can be read from. */
export type SnapshotBlob =
  | { readonly bytes: Uint8Array }
  | {
      readonly size: number;
      /** A range that is not empty and inside the blob. */
      open(range: ByteRange, options: CallOptions): Promise<Body>;
    };

/** One version of a store. */
export interface Snapshot {
  readonly images: ImageTable;
  /**
   * Undefined when there is no such blob.
   * @throws ImgfsError when it is known why the blob cannot be had.
   */
  blob(digest: Digest): SnapshotBlob | undefined | Promise<SnapshotBlob | undefined>;
  /** Signatures of a manifest, where the kind of store keeps any. */
  signatures?(digest: Digest): Promise<readonly Uint8Array[]>;
  /** Called once, when nothing reads from it any more. */
  close(): Promise<void>;
}

export interface SnapshotSource<Version extends Snapshot = Snapshot> {
  readonly transport: TransportName;
  readonly id: string;
  /** For messages. */
  readonly path: string;
  /** Next step for whoever misses a blob. */
  readonly missingHint: string;
  /** Differs when the store has to be read again; cheap. `isFirst`: nothing was read yet. */
  identity(isFirst: boolean): Promise<string>;
  /** Read the store as it is now. */
  load(options: CallOptions): Promise<LoadedSnapshot<Version>>;
}

export interface LoadedSnapshot<Version extends Snapshot> {
  /** At the moment it was read. */
  readonly identity: string;
  readonly snapshot: Version;
  /** It was looked while the last of it was read whether it was replaced: that need not be done once more at once. */
  readonly isCurrent?: boolean;
}

export interface SnapshotStoreOptions {
  /** Chooses among images of one name; default: this machine's. */
  readonly platform?: Platform;
}

function sizeOf(blob: SnapshotBlob): number {
  return 'bytes' in blob ? blob.bytes.length : blob.size;
}

/** A snapshot in use, closed by the last of its users. */
class Loaded<Version extends Snapshot> {
  readonly snapshot: Version;
  readonly identity: string;
  readonly referrers: ReferrersIndex;
  private readonly source: SnapshotSource<Version>;
  private users = 1;

  constructor(source: SnapshotSource<Version>, identity: string, snapshot: Version) {
    this.source = source;
    this.identity = identity;
    this.snapshot = snapshot;
    this.referrers = new ReferrersIndex((digest) => this.readManifest(digest));
  }

  async release(): Promise<void> {
    this.users -= 1;
    if (this.users === 0) await this.snapshot.close();
  }

  async blob(digest: Digest): Promise<SnapshotBlob> {
    const blob = await this.snapshot.blob(digest);
    if (blob !== undefined) return blob;
    const { path, missingHint } = this.source;
    throw new ImgfsError('not-found', `${path} has no blob ${digest}`, { digest, path, hint: missingHint });
  }

  async open(blob: SnapshotBlob, range: ByteRange, options: CallOptions): Promise<Body> {
    if ('bytes' in blob) return memoryBody(blob.bytes, range);
    if (range.end === range.start) return memoryBody(new Uint8Array(0), range);
    this.users += 1;
    try {
      return releaseAfter(await blob.open(range, options), () => this.release());
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  async readManifest(digest: Digest): Promise<Uint8Array> {
    const blob = await this.blob(digest);
    const size = sizeOf(blob);
    if (size > maxManifestBytes) {
      throw new ImgfsError(
        'too-large',
        `read manifest ${digest}: ${size} bytes, the limit is ${maxManifestBytes}`,
        {
          digest,
        },
      );
    }
    const parts: Uint8Array[] = [];
    for await (const part of (await this.open(blob, { start: 0, end: size }, {})).chunks) parts.push(part);
    return Buffer.concat(parts);
  }
}

/** The same body; `release` is called once, when it ends, fails or is cancelled. */
function releaseAfter(body: Body, release: () => Promise<void>): Body {
  let released: Promise<void> | undefined;
  const once = (): Promise<void> => (released ??= release());
  return {
    ...body,
    chunks: (async function* chunks() {
      try {
        yield* body.chunks;
      } finally {
        await once();
      }
    })(),
    cancel: () => {
      body.cancel();
      // Closing what was opened for reading loses nothing.
      once().catch(() => undefined);
    },
  };
}

export class SnapshotStore<Version extends Snapshot = Snapshot>
  implements ImageStore, RepositoryLister, TagLister, BlobStatter, ReferrersFinder, SignatureKeeper
{
  readonly transport: TransportName;
  readonly id: string;
  readonly path: string;
  private readonly source: SnapshotSource<Version>;
  private readonly options: SnapshotStoreOptions;
  private current: Loaded<Version> | undefined;
  private loading: Promise<Loaded<Version>> | undefined;
  private closed = false;
  /** Until the event loop goes on: `current` was looked at when it was read. */
  private isFresh = false;

  /** Use {@link openSnapshotStore}. */
  constructor(source: SnapshotSource<Version>, options: SnapshotStoreOptions) {
    this.transport = source.transport;
    this.id = source.id;
    this.path = source.path;
    this.source = source;
    this.options = options;
  }

  /** Every image, also those without a name, in the order of the store. */
  async images(): Promise<readonly ImageEntry[]> {
    return (await this.version()).snapshot.images.entries;
  }

  /** What was read, for who knows its kind. */
  async snapshot(): Promise<Version> {
    return (await this.version()).snapshot;
  }

  async resolve(target: Target, options?: CallOptions): Promise<Resolved> {
    checkSignal(options, 'resolve');
    const version = await this.version();
    const { images } = version.snapshot;
    const { digest } = target;
    if (digest === undefined) return { descriptor: images.resolve(target, this.options.platform) };
    const entry = images.byDigestOf(digest);
    if (entry !== undefined && manifestKind(entry.descriptor.mediaType) !== undefined) {
      return { descriptor: entry.descriptor };
    }
    const bytes = await version.readManifest(digest);
    const { mediaType } = parseManifest(bytes);
    return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
  }

  async fetch(_repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    checkSignal(options, 'fetch');
    const { digest, size } = descriptor;
    const range = clipRange(options.range, size);
    const version = await this.version();
    const blob = await version.blob(digest);
    if (sizeOf(blob) !== size) {
      throw new ImgfsError(
        'integrity',
        `fetch blob ${digest}: ${this.path} has ${sizeOf(blob)} of ${size} bytes`,
        {
          digest,
          path: this.path,
        },
      );
    }
    return version.open(blob, range, options);
  }

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list repositories');
    const { last } = options;
    const { images } = (await this.version()).snapshot;
    yield* images.repositories().filter((name) => last === undefined || name > last);
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list tags');
    const { last } = options;
    const { images } = (await this.version()).snapshot;
    yield* images.tags(repository).filter((tag) => last === undefined || tag > last);
  }

  async statBlob(_repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor> {
    checkSignal(options, 'stat blob');
    const size = sizeOf(await (await this.version()).blob(digest));
    return { mediaType: mediaTypes.octetStream, digest, size };
  }

  async signatures(
    _repository: string,
    digest: Digest,
    options?: CallOptions,
  ): Promise<readonly Uint8Array[] | undefined> {
    checkSignal(options, 'read signatures');
    return (await this.version()).snapshot.signatures?.(digest);
  }

  async *referrers(
    _repository: string,
    subject: Digest,
    options: ReferrersOptions = {},
  ): AsyncGenerator<Descriptor> {
    checkSignal(options, 'list referrers');
    const { referrers, snapshot } = await this.version();
    yield* referrers.find(snapshot.images, subject, options.artifactType);
  }

  async close(): Promise<void> {
    this.closed = true;
    const { current } = this;
    this.current = undefined;
    await current?.release();
  }

  /** The store as it is now: one look when nothing changed. */
  private async version(): Promise<Loaded<Version>> {
    if (this.closed) throw new ImgfsError('bad-handle', `${this.id} was closed`);
    if (this.isFresh && this.current !== undefined) return this.current;
    const identity = await this.source.identity(this.current === undefined);
    if (this.current?.identity === identity) return this.current;
    this.loading ??= this.load().finally(() => {
      this.loading = undefined;
    });
    return this.loading;
  }

  /** Read the store. Called by {@link openSnapshotStore} and when it has changed. */
  async load(call: CallOptions = {}): Promise<Loaded<Version>> {
    const { identity, snapshot, isCurrent = false } = await this.source.load(call);
    const loaded = new Loaded(this.source, identity, snapshot);
    await this.current?.release();
    this.current = loaded;
    this.isFresh = isCurrent;
    // Half a millisecond of every opening: what is asked for at once is answered as of the opening.
    if (isCurrent) setImmediate(() => void (this.isFresh = false));
    if (this.closed) await this.close();
    return loaded;
  }
}

/** Open a store and read it. @throws what the source throws. */
export async function openSnapshotStore<Version extends Snapshot>(
  source: SnapshotSource<Version>,
  options: SnapshotStoreOptions & CallOptions = {},
): Promise<SnapshotStore<Version>> {
  const store = new SnapshotStore(source, options);
  try {
    await store.load(options);
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}
