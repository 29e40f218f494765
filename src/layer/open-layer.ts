/**
 * One layer, open for reading: its index when there is one, else a pass that makes it.
 */
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BlobReader, BlobSource, ContentCache } from '../content/content.js';
import type { SharedFile } from '../content/shared-file.js';
import { ImgfsError, isImgfsError, toImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import type { ByteRange, CallOptions } from '../store/store.js';
import { EntryTable } from './index/entry-table.js';
import { IndexFile, type IndexFacts, type IndexOrigin } from './index/index-file.js';
import { SpanTable, type Span } from './index/span-table.js';
import type { Layer, LayerBacking, LayerProgress } from './layer.js';
import { layerAddon, type LayerFormat } from './native/layer-addon.js';
import { IndexBuild, isLasting } from './pass/build-index.js';
import type { DecodeLimits } from './pass/limits.js';
import { defaultCommitBytes } from './pass/pass-journal.js';
import { DecodedFile, layerKey } from './read/decoded-file.js';
import { LayerData } from './read/layer-data.js';
import { readFromStore } from './read/read-from-store.js';
import { readSparse } from './read/sparse-data.js';
import { Waiters } from './waiters.js';

const log = createLogger('layer');

/** Decoded bytes of one layer that a pass keeps without being asked where they are dear: a tenth of the default cache. */
const keptUnasked = 2 ** 30;

export interface OpenLayerParts {
  readonly source: BlobSource;
  readonly cache: ContentCache;
  readonly limits: DecodeLimits;
  /** Give out entries and data before the blob's digest is known to match. */
  readonly deferred: boolean;
  /** Bytes of the blob between two entries of the journal of a pass. */
  readonly commitBytes?: number;
  /** Told when files grew, for the bound of the cache. */
  readonly onIndexed?: (key: string, bytes: number) => void;
  readonly onDecoded?: (key: string, bytes: number) => void;
}

type State = 'indexing' | 'ready' | 'failed';

export class OpenLayer implements Layer {
  table = new EntryTable();
  private readonly parts: OpenLayerParts;
  private readonly blob: BlobReader;
  private readonly abort = new AbortController();
  private readonly waiters = new Waiters();
  private state: State = 'indexing';
  private error: ImgfsError | undefined;
  private facts: IndexFacts | undefined;
  private spans = new SpanTable();
  private index: IndexFile | undefined;
  /** Closed with the layer. */
  private readonly retired: { close(): Promise<void> }[] = [];
  private decoded: DecodedFile | undefined;
  private data: LayerData | undefined;
  private shared: SharedFile | undefined;
  private passFormat: LayerFormat | undefined;
  private pass: Promise<void> = Promise.resolve();
  private inBytes = 0;
  private outBytes = 0;
  private readWanted = false;
  private badIndex = false;

  private constructor(parts: OpenLayerParts, blob: BlobReader) {
    this.parts = parts;
    this.blob = blob;
  }

  /** Open the layer; a pass that is needed goes on in the background. @throws as `ContentCache.open`. */
  static async open(parts: OpenLayerParts, options?: CallOptions): Promise<OpenLayer> {
    // Every range is checked by a digest of our own: a strict cache need not fetch the whole for one file.
    const blob = await parts.cache.open(parts.source, { ...options, verify: 'ranges' });
    const layer = new OpenLayer(parts, blob);
    try {
      await layer.prepare();
    } catch (error) {
      await layer.close();
      throw error;
    }
    return layer;
  }

  get descriptor(): BlobSource['descriptor'] {
    return this.parts.source.descriptor;
  }

  get identity(): string {
    return this.descriptor.digest;
  }

  get isVerified(): boolean {
    return this.state === 'ready';
  }

  get format(): LayerFormat | undefined {
    return this.facts?.format ?? this.passFormat;
  }

  get origin(): IndexOrigin | undefined {
    return this.facts?.origin;
  }

  get decodedSize(): number | undefined {
    return this.facts?.decodedSize;
  }

  progress(): LayerProgress {
    const { state, inBytes, outBytes, error } = this;
    return { state, inBytes, outBytes, blobBytes: this.blob.size, entries: this.table.count, error };
  }

  async whenReady(options?: CallOptions): Promise<void> {
    while (!this.checkReady()) await this.waiters.wait(options?.signal);
  }

  async whenChanged(options?: CallOptions): Promise<void> {
    if (!this.checkReady()) await this.waiters.wait(options?.signal);
  }

  whenIndexed(options?: CallOptions): Promise<void> {
    return this.whenReady(options);
  }

  async readDecoded(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    return this.withIndex(position + buffer.length, options, (data) => data.read(buffer, position, options));
  }

  async fillDecoded(range: ByteRange, options?: CallOptions): Promise<void> {
    await this.withIndex(range.end, options, (data) => data.fill(range, options));
  }

  async fetchAhead(range: ByteRange, options?: CallOptions): Promise<void> {
    if (this.state === 'ready') await this.blob.fill(range, { ...options, exact: true });
  }

  async readEntry(row: number, buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    // An entry that the pass has not come to yet has no size.
    while (row >= this.table.count && !this.checkReady()) await this.waiters.wait(options?.signal);
    const { table } = this;
    const size = table.kind(row) === 'file' ? table.size(row) : 0;
    const into = buffer.subarray(0, Math.max(0, Math.min(buffer.length, size - position)));
    if (into.length === 0) return 0;
    const start = table.dataOffset(row);
    const sparse = table.sparse(row);
    const got =
      sparse === undefined
        ? await this.readDecoded(into, start + position, options)
        : await readSparse(sparse, into, position, (part, offset) =>
            this.readDecoded(part, start + offset, options),
          );
    if (got === into.length) return got;
    throw new ImgfsError('invalid-content', 'read layer: its decoded archive ends within a file');
  }

  backing(): LayerBacking | undefined {
    const { decoded, data } = this;
    // Deferred reads go through us until the digest has matched: who reads by itself could not be told that it did not.
    if (decoded === undefined || data === undefined || this.state !== 'ready') return undefined;
    return {
      fd: decoded.fd,
      present: (within) => data.present(within),
      hold: (range) => {
        data.passed(range.start);
        return decoded.hold(range);
      },
    };
  }

  sharedFile(): SharedFile | undefined {
    const { decoded, facts } = this;
    if (decoded === undefined || facts === undefined || this.state !== 'ready') return undefined;
    this.shared ??= {
      fd: decoded.fd,
      size: facts.decodedSize,
      present: () => this.data?.present() ?? [],
      attach: (reader) => decoded.attach(reader),
    };
    return this.shared;
  }

  passed(start: number): void {
    if (this.state === 'ready') this.data?.passed(start);
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.pass.catch(() => undefined);
    this.settle('failed', new ImgfsError('bad-handle', 'read layer: it was closed'));
    this.data?.close();
    await this.index?.close();
    for (const retired of this.retired) await retired.close();
    await this.decoded?.close();
    await this.blob.close();
  }

  /** Give back room of decoded spans; returns bytes freed. */
  async shrinkDecoded(): Promise<number> {
    if (this.state !== 'ready') return 0;
    return (await this.decoded?.shrink(this.spans)) ?? 0;
  }

  private get key(): string {
    return layerKey(this.descriptor.digest);
  }

  private get indexPath(): string {
    return join(this.parts.cache.directory, 'index', `${this.key}.lidx`);
  }

  private async prepare(): Promise<void> {
    // A disk that takes nothing costs what could be kept, and nothing else.
    await mkdir(dirname(this.indexPath), { recursive: true, mode: 0o700 }).catch(() => undefined);
    const index = await this.loadIndex();
    if (index !== undefined) await this.useIndex(index);
    else this.startPass();
  }

  private async loadIndex(): Promise<IndexFile | undefined> {
    try {
      const index = await IndexFile.open(this.indexPath, this.descriptor.digest);
      if (index === undefined || index.facts.blobSize === this.blob.size) return index;
      await index.close();
    } catch (error) {
      log.info('layer index is made anew', {
        digest: this.descriptor.digest,
        cause: toImgfsError(error).message,
      });
    }
    await rm(this.indexPath, { force: true }).catch(() => undefined);
    return undefined;
  }

  private async useIndex(index: IndexFile): Promise<void> {
    this.index = index;
    this.table = index.table;
    this.spans = index.spans;
    this.facts = index.facts;
    this.inBytes = index.facts.blobSize;
    this.outBytes = index.facts.decodedSize;
    await this.openDecoded(index.facts.format);
    this.makeData(index.facts.format, (span) => index.readWindow(span));
    this.badIndex = false;
    this.parts.onIndexed?.(this.key, index.size);
    this.settle('ready', undefined);
  }

  private async openDecoded(format: LayerFormat): Promise<void> {
    // A plain archive is its own decoded form.
    if (format === 'plain' || this.decoded !== undefined) return;
    const onGrow = (bytes: number): void => this.parts.onDecoded?.(this.key, bytes);
    const folder = join(this.parts.cache.directory, 'decoded');
    this.decoded = await DecodedFile.open(folder, this.descriptor.digest, { onGrow }).catch(
      (error: unknown) => {
        log.warn('cannot keep decoded layers', { error: String(error) });
        return undefined;
      },
    );
  }

  private makeData(format: LayerFormat, readWindow: (span: Span) => Promise<Uint8Array>): void {
    const { blob, spans, decoded } = this;
    const onBadIndex = (): void => {
      this.badIndex = true;
    };
    const readDirect = (range: ByteRange, options?: CallOptions): Promise<Uint8Array> =>
      readFromStore(this.parts.source, range, options);
    this.data?.close();
    this.data = new LayerData({ format, blob, spans, readWindow, decoded, readDirect, onBadIndex });
  }

  private startPass(): void {
    this.state = 'indexing';
    this.pass = this.runPass().catch((error: unknown) => {
      this.settle('failed', toImgfsError(error, 'index layer'));
    });
  }

  private async runPass(): Promise<void> {
    await this.openDecoded('gzip');
    const build = await IndexBuild.prepare(this.indexPath, this.descriptor.digest);
    try {
      await this.runBuild(build);
    } catch (error) {
      if (!build.isResumed || !isLasting(error)) throw error;
      // What the earlier pass left may be what is wrong.
      log.warn('index pass starts over', {
        digest: this.descriptor.digest,
        error: toImgfsError(error).message,
      });
      await this.decoded?.forget();
      await this.runBuild(await IndexBuild.prepare(this.indexPath, this.descriptor.digest));
    }
  }

  private async runBuild(build: IndexBuild): Promise<void> {
    // What the pass was given is checked by the digest of the whole: all of it must be of one blob.
    const blob = await this.parts.cache.open(this.parts.source, { verify: 'default' });
    try {
      await this.build(build, blob);
    } finally {
      await blob.close();
    }
  }

  private async build(build: IndexBuild, blob: BlobReader): Promise<void> {
    const { descriptor } = this;
    this.table = build.table;
    this.spans = build.spans;
    const { facts, isWritten } = await build.run({
      commitBytes: this.parts.commitBytes ?? defaultCommitBytes,
      descriptor,
      blob,
      limits: this.parts.limits,
      signal: this.abort.signal,
      decoded: this.decoded,
      wantsDecoded: (format, outBytes, isIdle) => this.wantsDecoded(format, outBytes, isIdle),
      onFormat: (format) => {
        this.passFormat = format;
        this.makeData(format, (span) => build.readWindow(span));
      },
      onProgress: (inBytes, outBytes) => this.onProgress(inBytes, outBytes),
    });
    const index = isWritten ? await IndexFile.open(this.indexPath, descriptor.digest) : undefined;
    if (index === undefined) {
      // A disk that takes nothing, or a cache that was deleted just now: the layer can be read all the same.
      this.retired.push(build);
      this.facts = facts;
      this.settle('ready', undefined);
      return;
    }
    // The table in memory is the same, and others may hold on to it.
    const { table } = this;
    await this.useIndex(index);
    this.table = table;
  }

  private wantsDecoded(format: LayerFormat, outBytes: number, isIdle: boolean): boolean {
    if (format === 'plain') return false;
    // zstd has few places to start at, and without the addon gzip has none: what was decoded is worth its room. Else it
    // is decoded again, in 3 ms, where somebody reads: writing all of it takes a quarter of a pass, which is nothing to
    // one that waits for its line anyway.
    const isDear = isIdle || format === 'zstd' || layerAddon() === undefined;
    return this.readWanted || (isDear && outBytes < keptUnasked);
  }

  private onProgress(inBytes: number, outBytes: number): void {
    this.inBytes = inBytes;
    this.outBytes = outBytes;
    this.waiters.wake();
  }

  /** Wait until the archive is known up to `end`, then read; once more when the index proved wrong. */
  private async withIndex<T>(
    end: number,
    options: CallOptions | undefined,
    read: (data: LayerData) => Promise<T>,
  ): Promise<T> {
    this.readWanted = true;
    const isKnown = (): boolean => this.parts.deferred && this.spans.outEnd >= end;
    while (!this.checkReady() && !isKnown()) await this.waiters.wait(options?.signal);
    try {
      return await read(this.requireData());
    } catch (error) {
      if (!isImgfsError(error, 'invalid-content') || !this.badIndex || this.state !== 'ready') throw error;
      await this.rebuild();
      await this.whenReady(options);
      return read(this.requireData());
    }
  }

  private requireData(): LayerData {
    if (this.data === undefined) throw new ImgfsError('internal', 'read layer: no data');
    return this.data;
  }

  /** The index on disk is damaged: make it anew. Rows stay what they are, for the blob is the same. */
  private async rebuild(): Promise<void> {
    if (this.state !== 'ready' || !this.badIndex) return;
    this.badIndex = false;
    log.warn('layer index is damaged and is made anew', { digest: this.descriptor.digest });
    // Reads under way may still use it.
    if (this.index !== undefined) this.retired.push(this.index);
    this.index = undefined;
    this.state = 'indexing';
    await rm(this.indexPath, { force: true }).catch(() => undefined);
    await this.decoded?.forget();
    this.startPass();
  }

  private checkReady(): boolean {
    if (this.state === 'failed') throw this.error ?? new ImgfsError('internal', 'read layer: failed');
    return this.state === 'ready';
  }

  private settle(state: State, error: ImgfsError | undefined): void {
    this.state = state;
    this.error = error;
    this.waiters.wake();
  }
}
