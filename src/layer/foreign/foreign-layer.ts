/**
 * A layer whose first touch goes through the index that its image brought: names are there at once, and a file costs its
 * chunks. When much was read of it, or when its whole archive is wanted, it is gone through once, and our own index
 * takes over; so it is when the index turns out to be wrong.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobReader, ContentCache } from '../../content/content.js';
import type { SharedFile } from '../../content/shared-file.js';
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { counter } from '../../observe/metrics.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import { EntryTable } from '../index/entry-table.js';
import type { IndexOrigin } from '../index/index-file.js';
import type { Layer, LayerBacking, LayerProgress } from '../layer.js';
import type { LayerSource } from '../layer-source.js';
import type { LayerFormat } from '../native/layer-addon.js';
import type { DecodeLimits } from '../pass/limits.js';
import { DecodedFile, layerKey } from '../read/decoded-file.js';
import { LayerData } from '../read/layer-data.js';
import { readFromStore } from '../read/read-from-store.js';
import { untilAborted } from '../until-aborted.js';
import type { Binding } from './binding.js';
import { foreignError } from './foreign-error.js';
import { keepIndex, openKept, type KeptIndex } from './foreign-file.js';
import { loadForeign } from './load-foreign.js';
import { firstDifference } from './same-rows.js';

const log = createLogger('layer');
const used = counter(
  'imgfs_layer_foreign_indexes_total',
  'Indexes of eStargz, zstd:chunked and SOCI that were used',
);
const refused = counter(
  'imgfs_layer_foreign_refused_total',
  'Such indexes that could not be used or were wrong',
);

/**
 * Part of the blob that is read piece by piece before all of it is fetched: who has read an eighth goes on, and by then
 * a request for each chunk has cost more time than the rest of the transfer needs.
 */
const streamFromPart = 1 / 8;
/** Below this many bytes, 40 ms of transfer at 25 MB/s, it is not worth looking at. */
const streamFromBytes = 1 << 20;

export interface ForeignLayerParts {
  readonly source: LayerSource;
  readonly binding: Binding;
  readonly cache: ContentCache;
  readonly limits: DecodeLimits;
  /** True when our own index of the layer is on disk. */
  readonly hasOwn: () => Promise<boolean>;
  /** The layer with our own index, made when there is none. */
  readonly openOwn: () => Promise<Layer>;
  /** The rows of the index that came with the image were found to be those of our own. */
  readonly onSame: (identity: string) => void;
  /** They were not: trees that were made of them are wrong. */
  readonly onOutdated: (identity: string) => void;
  /** Told when files grew, for the bound of the cache. */
  readonly onIndexed?: (key: string, bytes: number) => void;
  readonly onDecoded?: (key: string, bytes: number) => void;
}

/** Name of the files of an index that came with an image: that of the layer, and what binds it. */
export function foreignKey(descriptor: Descriptor, binding: Binding): string {
  return `${layerKey(descriptor.digest)}~${binding.key}`;
}

interface InUse {
  readonly index: KeptIndex;
  readonly data: LayerData;
  readonly decoded: DecodedFile | undefined;
}

export class ForeignLayer implements Layer {
  private readonly parts: ForeignLayerParts;
  private readonly blob: BlobReader;
  private readonly abort = new AbortController();
  private readonly empty = new EntryTable();
  private foreign: InUse | undefined;
  private own: Layer | undefined;
  /** Reads go to our own index. */
  private usesOwn = false;
  /** Why the layer cannot be used any more. */
  private failure: ImgfsError | undefined;
  private ready: Promise<void> = Promise.resolve();
  private isReady = false;
  private ownReady: Promise<void> | undefined;
  private readBytes = 0;
  /** Why the index that came with the image is not used. */
  refusal: string | undefined;

  private constructor(parts: ForeignLayerParts, blob: BlobReader) {
    this.parts = parts;
    this.blob = blob;
  }

  /** Open the layer; finding its index goes on in the background. @throws as `ContentCache.open`. */
  static async open(parts: ForeignLayerParts, options?: CallOptions): Promise<ForeignLayer> {
    const blob = await parts.cache.open(parts.source, { ...options, verify: 'ranges' });
    const layer = new ForeignLayer(parts, blob);
    layer.ready = layer.begin().then(() => {
      layer.isReady = true;
    });
    layer.ready.catch(() => undefined);
    return layer;
  }

  get descriptor(): Descriptor {
    return this.parts.source.descriptor;
  }

  /** Names the rows: those of our own index are the same in every image. */
  get identity(): string {
    const { digest } = this.descriptor;
    return this.foreign === undefined ? digest : `${digest}~${this.parts.binding.key}`;
  }

  get table(): EntryTable {
    if (this.usesOwn && this.own !== undefined) return this.own.table;
    return this.foreign?.index.table ?? this.empty;
  }

  get format(): LayerFormat | undefined {
    return this.own?.format ?? this.foreign?.index.facts.format;
  }

  get origin(): IndexOrigin | undefined {
    return this.usesOwn ? this.own?.origin : this.foreign?.index.facts.origin;
  }

  get decodedSize(): number | undefined {
    return this.own?.decodedSize;
  }

  get isVerified(): boolean {
    return this.usesOwn
      ? this.own?.isVerified === true
      : this.foreign !== undefined && this.parts.binding.trust === 'manifest';
  }

  progress(): LayerProgress {
    const { failure, blob } = this;
    if (failure === undefined && this.own !== undefined && (this.usesOwn || !this.isReady))
      return this.own.progress();
    const state = failure === undefined ? (this.isReady ? 'ready' : 'indexing') : 'failed';
    return {
      state,
      inBytes: this.readBytes,
      outBytes: 0,
      blobBytes: blob.size,
      entries: this.table.count,
      error: failure,
    };
  }

  async whenReady(options?: CallOptions): Promise<void> {
    await untilAborted(this.ready, options?.signal);
    if (this.failure !== undefined) throw this.failure;
    if (this.usesOwn) await this.own?.whenReady(options);
  }

  async whenChanged(options?: CallOptions): Promise<void> {
    if (this.usesOwn && this.own !== undefined) await this.own.whenChanged(options);
    else await this.whenReady(options);
  }

  async whenIndexed(options?: CallOptions): Promise<void> {
    await untilAborted(this.ready, options?.signal);
    await untilAborted(this.startOwn(), options?.signal);
    await this.own?.whenIndexed(options);
  }

  async readDecoded(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    return (await this.requireOwn(options)).readDecoded(buffer, position, options);
  }

  async fillDecoded(range: ByteRange, options?: CallOptions): Promise<void> {
    await (await this.requireOwn(options)).fillDecoded(range, options);
  }

  async fetchAhead(range: ByteRange, options?: CallOptions): Promise<void> {
    // Chunk by chunk less is fetched than the whole.
    if (this.usesOwn) await this.own?.fetchAhead(range, options);
  }

  async readEntry(row: number, buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    await this.whenReady(options);
    if (!this.usesOwn && this.foreign !== undefined) {
      try {
        return await this.readChunks(this.foreign, row, buffer, position, options);
      } catch (error) {
        await this.distrust(error, options);
      }
    }
    if (this.own === undefined) throw new ImgfsError('internal', 'read layer: no index');
    return this.own.readEntry(row, buffer, position, options);
  }

  /** Chunks are read through us: what is wrong with one of them shows when it is read. */
  backing(): LayerBacking | undefined {
    return this.usesOwn ? this.own?.backing() : undefined;
  }

  sharedFile(): SharedFile | undefined {
    return this.usesOwn ? this.own?.sharedFile() : undefined;
  }

  passed(start: number): void {
    if (this.usesOwn) this.own?.passed(start);
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.ready.catch(() => undefined);
    await this.ownReady?.catch(() => undefined);
    this.foreign?.data.close();
    await this.foreign?.index.close();
    await this.foreign?.decoded?.close();
    if (this.usesOwn && this.foreign !== undefined) await this.removeFiles();
    await this.own?.close();
    await this.blob.close();
  }

  private get key(): string {
    return foreignKey(this.descriptor, this.parts.binding);
  }

  private get indexPath(): string {
    return join(this.parts.cache.directory, 'index', `${this.key}.lidx`);
  }

  private async begin(): Promise<void> {
    if (!(await this.parts.hasOwn())) {
      try {
        await this.useForeign();
        if (this.parts.binding.trust === 'nobody') this.startOwn().catch(() => undefined);
        return;
      } catch (error) {
        this.abort.signal.throwIfAborted();
        this.refuse(toImgfsError(error));
      }
    }
    this.own = await this.parts.openOwn();
    this.usesOwn = true;
  }

  private refuse(error: ImgfsError): void {
    this.refusal = error.message;
    refused.add();
    const { digest } = this.descriptor;
    log.warn('index of the image is not used', {
      digest,
      kind: this.parts.binding.kind,
      cause: error.message,
    });
  }

  private async useForeign(): Promise<void> {
    const { parts, blob, indexPath } = this;
    const { digest } = this.descriptor;
    const { signal } = this.abort;
    const kept = await openKept(indexPath, digest, blob.size);
    const index =
      kept ??
      (await keepIndex(indexPath, digest, blob.size, await loadForeign({ ...parts, blob }, { signal })));
    parts.onIndexed?.(this.key, index.size);
    const decoded = await this.openDecoded();
    const { facts, spans } = index;
    const data = new LayerData({
      format: facts.format,
      blob: this.counted(),
      spans,
      readWindow: (span) => index.readWindow(span),
      decoded,
      readDirect: (range, options) => readFromStore(parts.source, range, options),
    });
    this.foreign = { index, data, decoded };
    used.add();
  }

  private async openDecoded(): Promise<DecodedFile | undefined> {
    const folder = join(this.parts.cache.directory, 'decoded');
    const onGrow = (bytes: number): void => this.parts.onDecoded?.(this.key, bytes);
    return DecodedFile.open(folder, this.descriptor.digest, {
      onGrow,
      suffix: `~${this.parts.binding.key}`,
    }).catch((error: unknown) => {
      log.warn('cannot keep decoded layers', { error: String(error) });
      return undefined;
    });
  }

  /** The blob, noting how much of it is read. */
  private counted(): BlobReader {
    const { blob } = this;
    const note = (bytes: number): void => this.noteRead(bytes);
    return {
      descriptor: blob.descriptor,
      size: blob.size,
      read: (buffer, offset, length, position, options) => {
        note(length);
        return blob.read(buffer, offset, length, position, options);
      },
      fill: (range, options) => blob.fill(range, options),
      backing: () => blob.backing(),
      status: () => blob.status(),
      close: () => blob.close(),
    };
  }

  private noteRead(bytes: number): void {
    this.readBytes += bytes;
    if (this.ownReady !== undefined || this.readBytes < streamFromBytes) return;
    if (this.readBytes >= this.blob.size * streamFromPart) this.startOwn().catch(() => undefined);
  }

  private async readChunks(
    { index, data }: InUse,
    row: number,
    buffer: Uint8Array,
    position: number,
    options?: CallOptions,
  ): Promise<number> {
    const { table } = index;
    const size = table.kind(row) === 'file' ? table.size(row) : 0;
    const into = buffer.subarray(0, Math.max(0, Math.min(buffer.length, size - position)));
    if (into.length === 0) return 0;
    const got = await data.read(into, table.dataOffset(row) + position, options);
    if (got === into.length) return got;
    throw foreignError('it ends within a file');
  }

  /** What was read does not fit the index: have our own. @throws the error, when that does not help. */
  private async distrust(error: unknown, options?: CallOptions): Promise<void> {
    const isWrong = isImgfsError(error, 'integrity') || isImgfsError(error, 'invalid-content');
    if (!isWrong && !isImgfsError(error, 'unsupported')) throw error;
    this.refuse(toImgfsError(error));
    await untilAborted(this.startOwn(), options?.signal);
    if (!this.usesOwn) throw this.failure ?? error;
  }

  private async requireOwn(options?: CallOptions): Promise<Layer> {
    await this.whenIndexed(options);
    if (this.own === undefined) throw new ImgfsError('internal', 'read layer: no index');
    return this.own;
  }

  /** Have our own index, and use it if it says the same. One at a time; tried again after a failure. */
  private startOwn(): Promise<void> {
    if (this.usesOwn) return Promise.resolve();
    this.ownReady ??= this.takeOver().catch((error: unknown) => {
      this.ownReady = undefined;
      const cause = toImgfsError(error);
      // Nothing vouches for names and bytes but the digest of the layer.
      if (this.parts.binding.trust !== 'manifest' && isLastingFailure(cause)) this.failure = cause;
      throw cause;
    });
    return this.ownReady;
  }

  private async takeOver(): Promise<void> {
    const { signal } = this.abort;
    this.own ??= await this.parts.openOwn();
    if (this.own.progress().state === 'failed') {
      await this.own.close();
      this.own = await this.parts.openOwn();
    }
    await this.own.whenReady({ signal });
    const { foreign } = this;
    if (foreign === undefined) return;
    const difference = await firstDifference(foreign.index.table, this.own.table, { signal });
    if (difference === undefined) {
      this.usesOwn = true;
      this.parts.onSame(this.identity);
      return;
    }
    this.refuse(foreignError(difference));
    this.failure = new ImgfsError(
      'stale',
      `read layer: the index of the image says something else: ${difference}`,
      {
        digest: this.descriptor.digest,
        hint: 'look the path up again: the layer is shown as it is',
      },
    );
    this.parts.onOutdated(this.identity);
  }

  private async removeFiles(): Promise<void> {
    const folder = join(this.parts.cache.directory, 'decoded');
    await rm(this.indexPath, { force: true }).catch(() => undefined);
    await DecodedFile.remove(folder, this.descriptor.digest, `~${this.parts.binding.key}`).catch(
      () => undefined,
    );
  }
}

function isLastingFailure({ code }: ImgfsError): boolean {
  return code === 'integrity' || code === 'invalid-content' || code === 'too-large' || code === 'unsupported';
}
