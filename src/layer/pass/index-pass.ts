/**
 * The index pass: streams a blob once and learns its entries, its spans and whether it is what its digest says.
 */
import type { BlobReader } from '../../content/content.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { counter } from '../../observe/metrics.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, digestHex } from '../../oci/digest.js';
import { isForeignLayer } from '../../oci/media-type.js';
import type { EntryTable } from '../index/entry-table.js';
import type { IndexWriter } from '../index/index-file.js';
import type { SpanTable } from '../index/span-table.js';
import type { IndexerStep, LayerFormat } from '../native/layer-addon.js';
import type { DecodedFile } from '../read/decoded-file.js';
import { tarError } from '../tar/tar-error.js';
import { Turns } from '../turns.js';
import { appendEntries } from './append-entries.js';
import { detectBytes, detectFormat } from './detect-format.js';
import { startIndexer } from './indexer.js';
import type { LayerIndexer } from './layer-indexer.js';
import { checkLimits, type DecodeLimits } from './limits.js';

const bytesIndexed = counter(
  'imgfs_layer_indexed_bytes_total',
  'Bytes of layer blobs that went through an index pass',
);
const layersIndexed = counter('imgfs_layer_passes_total', 'Index passes that were finished');

/** Bytes of the blob in one step: 10 ms of work on a pool thread, and two of them are in memory. */
const chunkBytes = 256 * 1024;

/** A pass that waits for its bytes half of the time has time for more than the index. */
const idleShare = 0.5;

/** A larger blob is not fetched whole just to say who is to blame: 40 s at 200 Mbit/s. */
const maxBlameBytes = 2 ** 30;

/** Where a pass stands and what it can leave behind for another one. */
export interface PassJournal {
  /** What came out of a step, in order. */
  record(step: IndexerStep, indexer: LayerIndexer): Promise<void>;
}

export interface PassParts {
  readonly descriptor: Descriptor;
  readonly blob: BlobReader;
  readonly table: EntryTable;
  readonly spans: SpanTable;
  /** Takes the windows. */
  readonly writer: Pick<IndexWriter, 'appendWindows'>;
  readonly limits: DecodeLimits;
  readonly signal: AbortSignal;
  /** Where decoded bytes may be kept, and whether they should be: asked before each step. */
  readonly decoded: DecodedFile | undefined;
  readonly wantsDecoded: (format: LayerFormat, outBytes: number, isIdle: boolean) => boolean;
  /** Told once, when the first bytes were seen. */
  readonly onFormat: (format: LayerFormat) => void;
  /** Told after each step. */
  readonly onProgress: (inBytes: number, outBytes: number) => void;
  readonly journal?: PassJournal;
  /** Go on from here instead of the start. */
  readonly resume?: { readonly saved: Uint8Array; readonly inBytes: number; readonly outBytes: number };
}

export interface PassResult {
  readonly format: LayerFormat;
  readonly decodedSize: number;
}

/** One pass; use it once. */
export class IndexPass {
  private readonly parts: PassParts;
  private readonly turns: Turns;
  private keepFrom: number | undefined;
  private outTotal = 0;
  /** The line is slower than the processor. */
  private isIdle = false;
  /** A buffer that nobody uses. */
  private spare: Uint8Array | undefined;

  constructor(parts: PassParts) {
    this.parts = parts;
    this.turns = new Turns(parts.signal);
    this.outTotal = parts.resume?.outBytes ?? 0;
  }

  /**
   * @throws ImgfsError `integrity` when the blob is not what its digest says, `invalid-content` when it is no archive,
   *   `too-large`, `unsupported`, and whatever the blob's reader throws.
   */
  async run(): Promise<PassResult> {
    const { blob, descriptor, resume } = this.parts;
    const head = new Uint8Array(Math.min(detectBytes, blob.size));
    await this.read(head, 0);
    const format = detectFormat(head, descriptor.mediaType);
    this.parts.onFormat(format);
    const algorithm = digestAlgorithm(descriptor.digest);
    const options = { format, algorithm, blobSize: blob.size };
    const indexer = startIndexer(resume === undefined ? options : { ...options, saved: resume.saved });
    if (indexer === undefined) throw new ImgfsError('internal', 'index layer: saved state is of no use');
    const last = await this.streamOrBlame(indexer, format, resume?.inBytes ?? 0);
    this.verify(last);
    layersIndexed.add();
    return { format, decodedSize: last.outTotal };
  }

  private async streamOrBlame(
    indexer: LayerIndexer,
    format: LayerFormat,
    from: number,
  ): Promise<IndexerStep> {
    try {
      return await this.stream(indexer, format, from);
    } catch (error) {
      return this.blame(error);
    }
  }

  /** Read ahead by one chunk while the one before is worked on. */
  private async stream(indexer: LayerIndexer, format: LayerFormat, from: number): Promise<IndexerStep> {
    const { size } = this.parts.blob;
    let at = from;
    let coming = this.chunk(at);
    const startedAt = performance.now();
    for (let waitedMs = 0; ;) {
      const askedAt = performance.now();
      const chunk = await coming;
      const now = performance.now();
      waitedMs += now - askedAt;
      this.isIdle = waitedMs > idleShare * (now - startedAt);
      at += chunk.length;
      const isLast = at >= size;
      // A failed read is reported when its turn comes, not while this chunk is worked on.
      coming = isLast ? Promise.resolve(chunk) : this.chunk(at);
      coming.catch(() => undefined);
      const step = await this.consume(indexer, format, chunk, isLast);
      if (isLast) return step;
      this.spare = new Uint8Array(chunk.buffer);
    }
  }

  private async consume(
    indexer: LayerIndexer,
    format: LayerFormat,
    chunk: Uint8Array,
    isLast: boolean,
  ): Promise<IndexerStep> {
    for (let at = 0; ;) {
      this.parts.signal.throwIfAborted();
      this.chooseKeeping(indexer, format);
      const step = await indexer.step(chunk.subarray(at), isLast);
      await this.take(step, indexer);
      at += step.consumed;
      bytesIndexed.add(step.consumed);
      if (at >= chunk.length) return step;
    }
  }

  private async take(step: IndexerStep, indexer: LayerIndexer): Promise<void> {
    const { table, spans, writer, limits, onProgress, journal } = this.parts;
    if (step.error !== '') throw this.stepError(step);
    await appendEntries(table, step.entries, this.turns);
    if (step.windows.length > 0) await writer.appendWindows(step.windows);
    const before = spans.count;
    spans.append(step.spans);
    await this.markKept(before, step.decodedLost);
    this.outTotal = step.outTotal;
    checkLimits(limits, step.inTotal, step.outTotal);
    await journal?.record(step, indexer);
    onProgress(step.inTotal, step.outTotal);
  }

  private chooseKeeping(indexer: LayerIndexer, format: LayerFormat): void {
    const { decoded, wantsDecoded } = this.parts;
    if (decoded === undefined) return;
    const wanted = wantsDecoded(format, this.outTotal, this.isIdle);
    if (wanted === (this.keepFrom !== undefined)) return;
    indexer.keepDecoded(wanted ? decoded.fd : -1);
    this.keepFrom = wanted ? this.outTotal : undefined;
  }

  /** Spans that were written from their first byte on are on disk now. */
  private async markKept(before: number, lost: boolean): Promise<void> {
    const { decoded, spans } = this.parts;
    if (lost) this.keepFrom = Infinity;
    if (decoded === undefined) return;
    const keptFrom = this.keepFrom ?? Infinity;
    let first = before;
    while (first < spans.count && spans.outOf(first).start < keptFrom) first += 1;
    if (first < spans.count) await decoded.written(spans, first, spans.count);
  }

  private stepError(step: IndexerStep): ImgfsError {
    if (step.errorIsTar) return tarError(step.error, step.errorOffset);
    const { digest, mediaType } = this.parts.descriptor;
    return new ImgfsError('invalid-content', `index layer: ${step.error} (at byte ${step.errorOffset})`, {
      digest,
      hint: isForeignLayer(mediaType)
        ? 'this is a foreign layer: its bytes come from elsewhere'
        : 'the blob can still be read as it is stored',
    });
  }

  /**
   * Bytes that do not decode are either a bad layer or a good one that arrived damaged: only the digest of the whole
   * tells. @throws always.
   */
  private async blame(failure: unknown): Promise<never> {
    const { blob, signal } = this.parts;
    if (!isImgfsError(failure, 'invalid-content') || blob.size > maxBlameBytes) throw failure;
    try {
      await blob.fill({ start: 0, end: blob.size }, { signal });
    } catch (other) {
      throw isImgfsError(other, 'integrity') ? other : failure;
    }
    throw failure;
  }

  private verify(last: IndexerStep): void {
    const { descriptor, blob } = this.parts;
    // An algorithm that the indexer does not know: the cache has verified the whole, or nothing has.
    const isRight =
      last.digest === '' ? blob.status().verified : last.digest === digestHex(descriptor.digest);
    if (isRight && last.inTotal === descriptor.size) return;
    throw new ImgfsError(
      'integrity',
      `index layer: ${last.inTotal} bytes do not match ${descriptor.digest}`,
      {
        digest: descriptor.digest,
        hint: 'the store served wrong bytes; try again, or fetch the image from elsewhere',
      },
    );
  }

  private async chunk(at: number): Promise<Uint8Array> {
    // One is read into while the other is worked on: new memory for each would cost a tenth of the pass.
    const buffer = this.spare ?? new Uint8Array(chunkBytes);
    this.spare = undefined;
    const chunk = buffer.subarray(0, Math.min(chunkBytes, this.parts.blob.size - at));
    await this.read(chunk, at);
    return chunk;
  }

  private async read(into: Uint8Array, at: number): Promise<void> {
    const { blob, signal } = this.parts;
    for (let done = 0; done < into.length;) {
      const got = await blob.read(into, done, into.length - done, at + done, { signal, toTheEnd: true });
      if (got === 0)
        throw new ImgfsError('integrity', `index layer: blob ends at byte ${at + done} of ${blob.size}`);
      done += got;
    }
  }
}
