/**
 * The decoded archive of a layer at any offset: spans on disk are read, others are fetched, decoded and kept.
 */
import { LRUCache } from 'lru-cache';
import type { BlobReader } from '../../content/content.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { counter } from '../../observe/metrics.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import type { Span, SpanTable } from '../index/span-table.js';
import type { LayerFormat } from '../native/layer-addon.js';
import type { DecodedFile } from './decoded-file.js';
import type { SpanReader } from './span-bytes.js';
import { openSpanReader } from './span-reader.js';

const log = createLogger('layer');
const spansDecoded = counter('imgfs_layer_spans_decoded_total', 'Spans of layers that were decoded');
const spansPresent = counter(
  'imgfs_layer_spans_present_total',
  'Spans of layers that were found decoded on disk',
);

/** Spans decoded ahead of a reader that goes straight on: 8 MiB, a quarter of a second of decoding. */
const maxAhead = 8;

/** Spans kept in memory when the disk does not take them: 16 MiB at most 4 MiB each. */
const shelfBytes = 16 << 20;

export interface LayerDataParts {
  readonly format: LayerFormat;
  readonly blob: BlobReader;
  readonly spans: SpanTable;
  /** Deflated window of a span. */
  readonly readWindow: (span: Span) => Promise<Uint8Array>;
  /** Undefined: nothing can be kept on disk. */
  readonly decoded: DecodedFile | undefined;
  /** Read a range of the blob from its store, past the cache: what is cached may be damaged. */
  readonly readDirect: (range: ByteRange, options?: CallOptions) => Promise<Uint8Array>;
  /** The index turned out to be wrong. */
  readonly onBadIndex?: () => void;
}

/** A reader that stands before a span and can go on with it. */
interface Run {
  readonly reader: SpanReader;
  next: number;
}

export class LayerData {
  private readonly parts: LayerDataParts;
  private readonly loading = new Map<number, Promise<Uint8Array | undefined>>();
  private readonly shelf = new LRUCache<number, Uint8Array>({
    maxSize: shelfBytes,
    sizeCalculation: (bytes) => bytes.length + 1,
  });
  /** The last reader of a run of spans that depend on each other; used by one at a time. */
  private run: Run | undefined;
  private runLock: Promise<unknown> = Promise.resolve();
  private lastSpan = -2;
  private ahead = 0;

  constructor(parts: LayerDataParts) {
    this.parts = parts;
  }

  /**
   * Read `buffer.length` decoded bytes at `position`; the number is short only where the spans end.
   * @throws ImgfsError `integrity`, `invalid-content`, `unsupported`, and whatever the blob's reader throws.
   */
  async read(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    const { spans } = this.parts;
    let done = 0;
    for (let index = spans.find(position); index < spans.count && done < buffer.length; index += 1) {
      const span = spans.get(index);
      const from = position + done - span.out;
      const length = Math.min(buffer.length - done, span.outEnd - span.out - from);
      await this.readSpan(span, from, buffer.subarray(done, done + length), options);
      done += length;
    }
    return done;
  }

  /** Decode everything in `range` onto disk. @throws as `read`; `cache-full` when it cannot be kept. */
  async fill(range: ByteRange, options?: CallOptions): Promise<void> {
    const { spans, decoded } = this.parts;
    for (let index = spans.find(range.start); index < spans.count; index += 1) {
      const span = spans.get(index);
      if (span.out >= range.end) return;
      options?.signal?.throwIfAborted();
      const bytes = await this.ensure(span, options);
      if (decoded?.isPresent(index) !== true && bytes !== undefined) {
        throw new ImgfsError('cache-full', 'read layer: decoded bytes cannot be kept on disk');
      }
    }
  }

  /** Ranges of the decoded archive that are on disk and checked: sorted, joined; only those that touch `within`. */
  present(within?: ByteRange): ByteRange[] {
    const { spans, decoded } = this.parts;
    const ranges: { start: number; end: number }[] = [];
    if (decoded === undefined) return ranges;
    for (let index = within === undefined ? 0 : spans.find(within.start); index < spans.count; index += 1) {
      const { out, outEnd } = spans.get(index);
      if (within !== undefined && out >= within.end) break;
      if (!decoded.isPresent(index)) continue;
      const last = ranges.at(-1);
      if (last?.end === out) last.end = outEnd;
      else ranges.push({ start: out, end: outEnd });
    }
    return ranges;
  }

  private async readSpan(span: Span, from: number, into: Uint8Array, options?: CallOptions): Promise<void> {
    const bytes = await this.ensure(span, options);
    this.readAhead(span.index);
    if (bytes !== undefined) {
      into.set(bytes.subarray(from, from + into.length));
      return;
    }
    const read = await this.parts.decoded?.readAt(into, span.out + from);
    if (read === into.length) return;
    // Somebody cut the file: decode again, and answer from memory.
    into.set((await this.load(span, options)).subarray(from, from + into.length));
  }

  /** Make the span readable: undefined when it is on disk, else its bytes. */
  private async ensure(span: Span, options?: CallOptions): Promise<Uint8Array | undefined> {
    const { decoded } = this.parts;
    if (decoded?.isPresent(span.index) === true) return undefined;
    const shelved = this.shelf.get(span.index);
    if (shelved !== undefined) return shelved;
    const under = this.loading.get(span.index);
    if (under !== undefined) return abortable(under, options?.signal);
    const made = this.checkOrLoad(span);
    this.loading.set(span.index, made);
    made.finally(() => this.loading.delete(span.index)).catch(() => undefined);
    return abortable(made, options?.signal);
  }

  private async checkOrLoad(span: Span): Promise<Uint8Array | undefined> {
    const { decoded } = this.parts;
    if ((await decoded?.check(span)) === true) {
      spansPresent.add();
      return undefined;
    }
    return this.load(span);
  }

  /** Fetch and decode; keeps the bytes on disk, else on the shelf. */
  private async load(span: Span, options?: CallOptions): Promise<Uint8Array> {
    try {
      const bytes = await (span.kind === 'inside' || this.startsRun(span)
        ? this.loadInRun(span, options)
        : this.decodeOne(await this.open(span), span, options));
      return bytes;
    } catch (error) {
      if (error instanceof ImgfsError && error.code === 'invalid-content') this.parts.onBadIndex?.();
      throw error;
    }
  }

  private startsRun(span: Span): boolean {
    const { spans } = this.parts;
    return span.index + 1 < spans.count && spans.get(span.index + 1).kind === 'inside';
  }

  private async open(span: Span): Promise<SpanReader> {
    const window = span.windowStored === 0 ? new Uint8Array(0) : await this.parts.readWindow(span);
    return openSpanReader(this.parts.format, span, window);
  }

  private async decodeOne(reader: SpanReader, span: Span, options?: CallOptions): Promise<Uint8Array> {
    const input = new Uint8Array(span.inEnd - span.in);
    const got = await this.parts.blob.read(input, 0, input.length, span.in, options);
    if (got !== input.length) {
      throw new ImgfsError('integrity', `read layer: blob ends before byte ${span.inEnd}`);
    }
    const output = new Uint8Array(span.outEnd - span.out);
    try {
      await reader.next({ span, input }, output);
    } catch (error) {
      if (!isImgfsError(error, 'integrity')) throw error;
      // The reader has not taken any of it yet, so it can be given the right bytes.
      const direct = await this.parts.readDirect({ start: span.in, end: span.inEnd }, options);
      await reader.next({ span, input: direct }, output);
    }
    spansDecoded.add();
    const kept = (await this.parts.decoded?.write(span, output)) === true;
    if (!kept) this.shelf.set(span.index, output);
    return output;
  }

  /** Spans that depend on each other: decode from where it can start, or go on where the last reader stands. */
  private async loadInRun(span: Span, options?: CallOptions): Promise<Uint8Array> {
    const work = this.runLock.then(async () => {
      const { spans } = this.parts;
      let start = span.index;
      while (spans.get(start).kind === 'inside') start -= 1;
      let run = this.run;
      this.run = undefined;
      if (run === undefined || run.next < start || run.next > span.index) {
        run = { reader: await this.open(spans.get(start)), next: start };
      }
      let bytes = new Uint8Array(0) as Uint8Array;
      while (run.next <= span.index) {
        options?.signal?.throwIfAborted();
        bytes = await this.decodeOne(run.reader, spans.get(run.next), options);
        run.next += 1;
      }
      this.run = run;
      return bytes;
    });
    this.runLock = work.catch(() => undefined);
    return work;
  }

  /** A reader that goes straight on finds the next spans decoded. */
  private readAhead(index: number): void {
    if (index === this.lastSpan) return;
    this.ahead = index === this.lastSpan + 1 ? Math.min(maxAhead, this.ahead * 2 || 1) : 0;
    this.lastSpan = index;
    const { spans, decoded } = this.parts;
    if (decoded === undefined) return;
    const last = Math.min(spans.count - 1, index + this.ahead);
    for (let next = index + 1; next <= last; next += 1) {
      if (decoded.isPresent(next) || this.loading.has(next)) continue;
      this.ensure(spans.get(next)).catch((error: unknown) =>
        log.debug('reading ahead failed', { error: String(error) }),
      );
    }
  }
}

/** The promise, or the abort, whichever is first: work that others wait for as well goes on. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(new ImgfsError('interrupted', 'read layer: interrupted'));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
