/**
 * The cache on disk: an OCI image layout that other tools can read, plus partial blobs and known tags.
 *
 * Put together here: what is open (`blob-table`), what fits (`ledger`), what must stay (`pins`), what is small
 * (`small-blobs`), what is known of tags (`ref-log`).
 */
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import { gauge } from '../observe/metrics.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestAlgorithm, digestHex, isDigest, type Digest } from '../oci/digest.js';
import type { CallOptions } from '../store/store.js';
import type { BlobContext } from './blob-context.js';
import { DiskBlobReader, type BlobLender } from './blob-reader.js';
import { BlobTable } from './blob-table.js';
import { algorithms, blobKind, partialKind, type InUse } from './cache-kinds.js';
import { CachePaths, digestOfPartial } from './cache-paths.js';
import type {
  BlobReader,
  BlobSource,
  BlobStatus,
  ContentCache,
  IntegrityListener,
  OpenOptions,
  ReadAllOptions,
  RefStore,
} from './content.js';
import { DiskHealth } from './disk-health.js';
import { replayJournal } from './extent-journal.js';
import { HelperPool } from './helper-pool.js';
import type { EvictableKind, KindLedger, KindUsage } from './kind-list.js';
import { Ledger, onDisk } from './ledger.js';
import { listFolder } from './list-folder.js';
import { MemoryBlobReader } from './memory-blob-reader.js';
import { MemoryShelf } from './memory-shelf.js';
import { Pins, type Pin } from './pins.js';
import { pinImage, type PinOptions } from './pin-image.js';
import { prepareDirectory } from './prepare-directory.js';
import { readLarge } from './read-large.js';
import { RefLog } from './ref-log.js';
import { isSmall, matches, mismatch, SmallBlobs } from './small-blobs.js';
import { VerifiedRanges } from './verified-ranges.js';
import { isStamped, stampSeconds } from './verified-stamp.js';
import { namesIn, verifyBlobs, type VerifyOptions, type VerifyReport } from './verify-cache.js';

/** Last uses are written down at most this often for a blob: eviction works in days, not minutes. */
const touchEveryMs = 10 * 60_000;

/** How a cache is opened. */
export interface DiskCacheOptions {
  readonly directory: string;
  /** Bound on bytes on disk. Default 10 GiB. */
  readonly maxBytes?: number;
  /** `strict`: no byte of a blob is read before the whole has matched. Default `default`. */
  readonly verify?: 'default' | 'strict';
  /** Transfers of one blob at the same time. Default 3. */
  readonly connections?: number;
}

/** How full the cache is, in bytes on disk. */
export interface CacheUsage {
  readonly bytes: number;
  readonly maxBytes: number;
  /** False while the cache is still being listed: numbers are too small. */
  readonly known: boolean;
  readonly kinds: Readonly<Record<string, KindUsage>>;
  readonly pins: number;
}

export class DiskCache implements ContentCache {
  readonly directory: string;
  readonly refs: RefStore;
  readonly #paths: CachePaths;
  readonly #strict: boolean;
  readonly #pool = new HelperPool();
  readonly #ledger: Ledger;
  readonly #health = new DiskHealth();
  readonly #table: BlobTable;
  readonly #lender: BlobLender;
  readonly #small: SmallBlobs;
  readonly #pins: Pins;
  readonly #context: BlobContext;
  readonly #blobLedgers = new Map<string, KindLedger>();
  readonly #touched = new Map<Digest, number>();
  readonly #listeners = new Set<IntegrityListener>();
  readonly #writable: boolean;
  #closed: Promise<void> | undefined;

  private constructor(options: DiskCacheOptions, paths: CachePaths, writable: boolean) {
    this.directory = paths.directory;
    this.#paths = paths;
    this.#writable = writable;
    this.#strict = options.verify === 'strict';
    this.refs = new RefLog(paths.refs);
    this.#ledger = new Ledger(
      options.maxBytes ?? 10 * 2 ** 30,
      (folder, onPart) => listFolder(this.#pool, folder, onPart),
      () => this.#pins.refresh(),
    );
    const inUse: InUse = {
      isOpen: (digest) => this.#table.isOpen(digest),
      isPinned: (digest) => this.#pins.has(digest),
    };
    // Folders are listed in this order: what another process has, and names meanwhile, is found in one at least.
    const partials = this.#ledger.register(partialKind(paths, inUse));
    for (const algorithm of algorithms) {
      this.#blobLedgers.set(algorithm, this.#ledger.register(blobKind(paths, algorithm, inUse)));
    }
    this.#context = this.#makeContext(options, partials);
    this.#table = new BlobTable(this.#context);
    this.#lender = {
      acquire: (source) => this.#table.acquire(source),
      release: (blob) => this.#table.release(blob),
      verifiedRanges: new VerifiedRanges(),
    };
    this.#small = new SmallBlobs(this.#context);
    this.#pins = new Pins(paths, (descriptor) => this.#small.atHand(descriptor));
    gauge('imgfs_content_cache_bytes', 'Bytes of the cache on disk.', () => this.#ledger.bytes);
  }

  #makeContext(options: DiskCacheOptions, partials: KindLedger): BlobContext {
    return {
      paths: this.#paths,
      pool: this.#pool,
      ledger: this.#ledger,
      partials,
      shelf: new MemoryShelf(),
      connections: Math.max(1, options.connections ?? 3),
      diskUsable: () => this.#writable && this.#health.usable(),
      noteTrouble: (error) => this.#health.note(error),
      freeDisk: (error) => this.#health.free(error, (bytes) => this.#ledger.free(bytes)),
      touch: (digest) => this.#touch(digest),
      blobNamed: (digest, bytes) => this.#blobLedger(digest).own(digestHex(digest), onDisk(bytes)),
      blobGone: (digest) => this.#blobLedger(digest).delete(digestHex(digest)),
      blobAdded: (digest, bytes) => this.#blobLedger(digest).set(digestHex(digest), onDisk(bytes)),
      blobFailed: (blob, error, sourceAtFault) => {
        this.#table.failed(blob, error, sourceAtFault);
        this.#small.forget(blob.key.digest);
        for (const listener of this.#listeners) listener(blob.key.digest, error);
      },
    };
  }

  /**
   * Open a cache; the directory is made if need be. Its entries are counted in the background.
   * @throws ImgfsError `config` when the directory is something else.
   */
  static async open(options: DiskCacheOptions): Promise<DiskCache> {
    const paths = new CachePaths(options.directory);
    const cache = new DiskCache(options, paths, await prepareDirectory(paths));
    cache.#ledger.listInBackground();
    return cache;
  }

  #blobLedger(digest: Digest): KindLedger {
    const ledger = this.#blobLedgers.get(digestAlgorithm(digest));
    if (ledger === undefined) throw new ImgfsError('internal', `no folder for ${digest}`);
    return ledger;
  }

  #touch(digest: Digest): void {
    const now = Date.now();
    this.#blobLedger(digest).touch(digestHex(digest));
    if (now - (this.#touched.get(digest) ?? 0) < touchEveryMs) return;
    this.#touched.set(digest, now);
    if (this.#touched.size > 10_000) this.#touched.clear();
    void this.#touchPath(digest).catch(() => undefined);
  }

  async #touchPath(digest: Digest): Promise<void> {
    const path = this.#paths.blob(digest);
    if (!isStamped(digest, await fs.stat(path))) return;
    await fs.utimes(path, Date.now() / 1000, stampSeconds(digest));
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new ImgfsError('bad-handle', 'the cache is closed');
  }

  async open(source: BlobSource, options: OpenOptions = {}): Promise<BlobReader> {
    this.#checkOpen();
    const { descriptor } = source;
    if (descriptor.data !== undefined && matches(descriptor, descriptor.data)) {
      return new MemoryBlobReader(descriptor, descriptor.data);
    }
    const inMemory = this.#small.peek(descriptor.digest);
    if (inMemory !== undefined) {
      await this.#small.written(descriptor.digest);
      if (!this.#context.diskUsable() && inMemory.length === descriptor.size) {
        return new MemoryBlobReader(descriptor, inMemory);
      }
    }
    const verify = options.verify ?? (this.#strict ? 'strict' : 'default');
    return new DiskBlobReader(this.#lender, source, await this.#table.acquire(source), verify);
  }

  async readAll(source: BlobSource, options: ReadAllOptions): Promise<Uint8Array> {
    this.#checkOpen();
    const { descriptor } = source;
    if (descriptor.size > options.maxBytes) {
      throw new ImgfsError(
        'too-large',
        `read blob ${descriptor.digest}: ${descriptor.size} bytes, the limit is ${options.maxBytes}`,
        {
          operation: 'read blob',
          digest: descriptor.digest,
          hint: 'no tool writes such a document: read its bytes as a blob (`imgfs blob get`, `@blobs/`) if you must',
        },
      );
    }
    if (!isSmall(descriptor)) return readLarge(this, this.#pool, source, options);
    return this.#small.read(source, options);
  }

  put(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    if (!matches(descriptor, bytes)) return Promise.reject(mismatch(descriptor, bytes, 'the caller'));
    this.#small.keep(descriptor.digest, bytes);
    return Promise.resolve();
  }

  /** How much of a blob is on disk or in memory. Asks no store. */
  async status(digest: Digest): Promise<BlobStatus> {
    const open = this.#table.find(digest)?.status();
    if (open !== undefined && open.state !== 'absent') return open;
    const inMemory = this.#small.peek(digest);
    const size = inMemory?.length;
    if (size !== undefined) return { state: 'complete', presentBytes: size, size, verified: true };
    const complete = await fs.lstat(this.#paths.blob(digest)).catch(() => undefined);
    if (complete?.isFile() === true) {
      const { size } = complete;
      return { state: 'complete', presentBytes: size, size, verified: isStamped(digest, complete) };
    }
    return this.#partialStatus(digest);
  }

  async #partialStatus(digest: Digest): Promise<BlobStatus> {
    try {
      const folder = this.#paths.partial(digest);
      const data = await fs.stat(join(folder, 'data'));
      const journal = await fs.stat(join(folder, 'ranges'));
      const text = await fs.readFile(join(folder, 'ranges'), 'utf8');
      const { bytes } = replayJournal(text, { digest, size: data.size }, data, journal.mtimeMs);
      if (bytes > 0) return { state: 'partial', presentBytes: bytes, size: data.size, verified: false };
    } catch {
      // Nothing there, or nothing that can be used.
    }
    return { state: 'absent', presentBytes: 0, size: undefined, verified: false };
  }

  async *list(): AsyncIterable<{ readonly digest: Digest; readonly status: BlobStatus }> {
    const seen = new Set<Digest>();
    for (const algorithm of algorithms) {
      for (const name of await namesIn(join(this.#paths.blobs, algorithm))) {
        const digest = `${algorithm}:${name}`;
        if (!isDigest(digest)) continue;
        const status = await this.status(digest);
        seen.add(digest);
        if (status.state !== 'absent') yield { digest, status };
      }
    }
    for (const name of await namesIn(this.#paths.partials)) {
      const digest = digestOfPartial(name);
      if (digest === undefined || seen.has(digest)) continue;
      seen.add(digest);
      const status = await this.status(digest);
      if (status.state !== 'absent') yield { digest, status };
    }
  }

  onIntegrityFailure(listener: IntegrityListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Put a kind of file of a room above under the bound of the cache. */
  registerKind(kind: EvictableKind): KindLedger {
    return this.#ledger.register(kind);
  }

  /** Promise room for `bytes` of a registered kind. Undefined when there is none: do without keeping them. */
  reserve(bytes: number): ReturnType<Ledger['reserve']> {
    return this.#ledger.reserve(bytes);
  }

  /** Fetch an image whole and never evict it, until `unpin`. @throws ImgfsError `cache-full`, and as readers do. */
  async pin(source: BlobSource, options: PinOptions): Promise<void> {
    this.#checkOpen();
    await pinImage(this, source, options, async (blobs) => {
      await Promise.all(blobs.map((blob) => this.#onDisk(blob)));
      await this.#pins.add(options.name, source.descriptor);
    });
  }

  /** Wait until a blob has its name on disk. @throws ImgfsError `cache-full` when it did not get there. */
  async #onDisk({ digest, size }: Descriptor): Promise<void> {
    // Nothing was kept of an empty blob so far, but other tools look for its file.
    if (size === 0) this.#small.keep(digest, new Uint8Array(0));
    await this.#small.written(digest);
    await this.#table.find(digest)?.finalized;
    const stat = await fs.stat(this.#paths.blob(digest)).catch(() => undefined);
    if (stat?.size === size) return;
    throw new ImgfsError('cache-full', `pin: blob ${digest} could not be kept on disk`, {
      operation: 'pin image',
      digest,
      path: this.directory,
      hint: 'free disk space, raise --cache-size, or unpin images',
    });
  }

  /** Returns how many pins of that name or digest there were. */
  unpin(nameOrDigest: string): Promise<number> {
    return this.#pins.remove(nameOrDigest);
  }

  /** Pinned images, in the order in which they were pinned. */
  pins(): Promise<readonly Pin[]> {
    return this.#pins.list();
  }

  /** Evict down to `maxBytes` (default: everything that is neither pinned nor open). */
  async prune(options: { readonly maxBytes?: number } = {}): Promise<{ entries: number; bytes: number }> {
    await this.#ledger.rescan();
    return this.#ledger.evictTo(options.maxBytes ?? 0);
  }

  /** Hash every blob again. */
  async verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    await this.#pins.refresh();
    return verifyBlobs(
      this.#context,
      (digest) => this.#pins.has(digest),
      (digest) => {
        this.#blobLedger(digest).delete(digestHex(digest));
        this.#small.forget(digest);
      },
      options,
    );
  }

  /** Bytes on disk, as far as known by now. */
  async usage(options: CallOptions & { readonly wait?: boolean } = {}): Promise<CacheUsage> {
    if (options.wait === true) await this.#ledger.rescan();
    return {
      bytes: this.#ledger.bytes,
      maxBytes: this.#ledger.maxBytes,
      known: this.#ledger.scanned,
      kinds: this.#ledger.usage(),
      pins: (await this.#pins.list()).length,
    };
  }

  /** Write down what must stay, and let go of files and helpers. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#ledger.close();
    await this.#table.close();
    await this.#small.close();
    await this.#pool.stop();
    await this.#ledger.settled();
  }
}

/** Open the cache. @throws ImgfsError `config` when the directory is something else. */
export function openContentCache(options: DiskCacheOptions): Promise<DiskCache> {
  return DiskCache.open(options);
}
