/**
 * Decodes spans. A run is a span at which decoding can start and those behind it that are only reached through it; it is
 * decoded as far as somebody needs it, and its decoder is kept for who goes on.
 */
import type { BlobReader, ReadOptions } from '../../content/content.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { counter } from '../../observe/metrics.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import type { Span, SpanTable } from '../index/span-table.js';
import type { LayerFormat } from '../native/layer-addon.js';
import type { DecodedFile } from './decoded-file.js';
import { indexMismatch, type SpanReader, type SpansDone } from './span-bytes.js';
import { openSpanReader } from './span-reader.js';

const spansDecoded = counter('imgfs_layer_spans_decoded_total', 'Spans of layers that were decoded');

/** Decoders that stand in the middle of a run: 80 KB each, and a layer read by many has few runs in use at once. */
const maxReaders = 8;
/** A disk that took no more is asked again after so long. */
const refusalMs = 10_000;
/** Compressed bytes of a run asked for at once: 16 spans of 350 KB. More come piece by piece. */
const maxRequestBytes = 6 << 20;

export interface SpanRunsParts {
  readonly format: LayerFormat;
  readonly blob: BlobReader;
  readonly spans: SpanTable;
  /** Deflated window of a span. */
  readonly readWindow: (span: Span) => Promise<Uint8Array>;
  /** Read a range of the blob from its store, past the cache: what is cached may be damaged. */
  readonly readDirect: (range: ByteRange, options?: CallOptions) => Promise<Uint8Array>;
  /** Where decoded bytes are kept; undefined: nowhere on disk. */
  readonly decoded: DecodedFile | undefined;
  /** Takes every span that was decoded and checked in memory. */
  readonly keep: (span: Span, bytes: Uint8Array) => Promise<void>;
}

export interface LoadOptions extends ReadOptions {
  /** The bytes are wanted, whatever is on disk. */
  readonly inMemory?: boolean;
}

/** A decoder that stands before span `next`. */
interface Standing {
  readonly reader: SpanReader;
  next: number;
}

export class SpanRuns {
  private readonly parts: SpanRunsParts;
  /** By number of a run's first span; the one used last is last. */
  private readonly standing = new Map<number, Standing>();
  /** The end of the work under way on a run. */
  private readonly locks = new Map<number, Promise<unknown>>();
  /** Until then nothing is decoded from file to file. */
  private refusedUntil = 0;
  private closed = false;

  constructor(parts: SpanRunsParts) {
    this.parts = parts;
  }

  /** Number of the span at which decoding starts to reach `index`. */
  startOf(index: number): number {
    const { spans } = this.parts;
    let start = index;
    while (start > 0 && spans.kind(start) === 'inside') start -= 1;
    return start;
  }

  /**
   * Fetch and decode a span, and on the way those before it in its run. Undefined when it is on disk now, where that can
   * be; else its bytes.
   * @throws ImgfsError `integrity`, `invalid-content`, `unsupported`, and whatever the blob's reader throws.
   */
  async load(span: Span, options?: LoadOptions): Promise<Uint8Array | undefined> {
    const start = this.startOf(span.index);
    const before = this.locks.get(start) ?? Promise.resolve();
    const work = before.catch(() => undefined).then(() => this.decode(start, span, options));
    this.locks.set(start, work);
    try {
      return await work;
    } finally {
      if (this.locks.get(start) === work) this.locks.delete(start);
    }
  }

  private async decode(start: number, span: Span, options?: LoadOptions): Promise<Uint8Array | undefined> {
    let standing = await this.takeReader(start, span.index);
    let bytes: Uint8Array | undefined;
    const onDiskTo = options?.inMemory === true ? span.index : span.index + 1;
    try {
      while (standing.next <= span.index) {
        options?.signal?.throwIfAborted();
        const stopped = await this.decodeOnDisk(standing, onDiskTo, options);
        if (stopped === 'unwritten') {
          standing.reader.close();
          standing = await this.takeReader(start, span.index);
        } else if (standing.next <= span.index) bytes = await this.decodeInMemory(standing, span, options);
      }
    } catch (error) {
      standing.reader.close();
      throw error;
    }
    this.putReader(start, standing);
    return bytes;
  }

  /** Give back all decoders. Loads under way end as they would, and keep theirs no longer. */
  close(): void {
    this.closed = true;
    for (const { reader } of this.standing.values()) reader.close();
    this.standing.clear();
  }

  /** Decode spans before number `to` from file to file, as far as that goes. */
  private async decodeOnDisk(
    standing: Standing,
    to: number,
    options?: ReadOptions,
  ): Promise<SpansDone['stopped']> {
    const { spans, blob, decoded } = this.parts;
    const { reader } = standing;
    const { betweenFiles } = reader;
    if (betweenFiles === undefined || decoded === undefined || Date.now() < this.refusedUntil)
      return 'unread';
    while (standing.next < to) {
      const from = standing.next;
      const end = this.requestEnd(from, to);
      if (!(await this.isFetched({ start: spans.get(from).in, end: spans.get(end - 1).inEnd }, options)))
        return 'unread';
      const files = blob.backing();
      if (files === undefined) return 'unread';
      const { done, stopped } = await decoded.take(spans, from, (fd) =>
        betweenFiles.call(reader, spans.records(from, end), { blob: files.fd, decoded: fd }),
      );
      standing.next += done;
      spansDecoded.add(done);
      if (stopped === 'wrongIndex') throw indexMismatch(spans.get(standing.next));
      if (stopped === 'unwritten') this.refusedUntil = Date.now() + refusalMs;
      if (stopped !== 'ok') return stopped;
    }
    return 'ok';
  }

  /** Decode spans up to `span`, or as many as are asked for at once; the bytes of the last one. */
  private async decodeInMemory(standing: Standing, span: Span, options?: ReadOptions): Promise<Uint8Array> {
    const { spans } = this.parts;
    const first = spans.get(standing.next);
    const input = await this.fetch(first, span, options);
    for (let current = first; ; current = spans.get(standing.next)) {
      const bytes = await this.decodeOne(standing, current, input.subarray(current.in - first.in), options);
      if (current.index === span.index || spans.get(standing.next).inEnd > first.in + input.length)
        return bytes;
    }
  }

  /** Have a range of the blob on disk; false when the disk does not take it. */
  private async isFetched(range: ByteRange, options?: ReadOptions): Promise<boolean> {
    try {
      await this.parts.blob.fill(range, options);
      return true;
    } catch (error) {
      if (!isImgfsError(error, 'cache-full')) throw error;
      this.refusedUntil = Date.now() + refusalMs;
      return false;
    }
  }

  private async takeReader(start: number, index: number): Promise<Standing> {
    const standing = this.standing.get(start);
    this.standing.delete(start);
    if (standing !== undefined && standing.next <= index) return standing;
    standing?.reader.close();
    const { format, spans, readWindow } = this.parts;
    const span = spans.get(start);
    const window = span.windowStored === 0 ? new Uint8Array(0) : await readWindow(span);
    return { reader: await openSpanReader(format, span, window), next: start };
  }

  private putReader(start: number, standing: Standing): void {
    const { spans } = this.parts;
    const isDone = standing.next >= spans.count || spans.kind(standing.next) !== 'inside';
    if (isDone || this.closed) {
      standing.reader.close();
      return;
    }
    this.standing.set(start, standing);
    const [oldest] = this.standing.entries();
    if (this.standing.size <= maxReaders || oldest === undefined) return;
    this.standing.delete(oldest[0]);
    oldest[1].reader.close();
  }

  /** Bytes of the blob from `first` to `last`, or of as many spans before it as are asked for at once. */
  private async fetch(first: Span, last: Span, options?: ReadOptions): Promise<Uint8Array> {
    const { spans, blob } = this.parts;
    const end = spans.get(this.requestEnd(first.index, last.index + 1) - 1).inEnd;
    const input = new Uint8Array(end - first.in);
    const got = await blob.read(input, 0, input.length, first.in, options);
    if (got === input.length) return input;
    throw new ImgfsError('integrity', `read layer: blob ends before byte ${end}`);
  }

  /** One behind the last span before `to` that is asked for together with `from`. */
  private requestEnd(from: number, to: number): number {
    const { spans } = this.parts;
    const { in: start } = spans.get(from);
    let end = to;
    while (end > from + 1 && spans.get(end - 1).inEnd - start > maxRequestBytes) end -= 1;
    return end;
  }

  private async decodeOne(
    standing: Standing,
    span: Span,
    from: Uint8Array,
    options?: CallOptions,
  ): Promise<Uint8Array> {
    const { readDirect, keep } = this.parts;
    const input = from.subarray(0, span.inEnd - span.in);
    const output = new Uint8Array(span.outEnd - span.out);
    try {
      await standing.reader.next({ span, input }, output);
    } catch (error) {
      if (!isImgfsError(error, 'integrity')) throw error;
      // The reader has not taken any of it yet, so it can be given the right bytes.
      const direct = await readDirect({ start: span.in, end: span.inEnd }, options);
      await standing.reader.next({ span, input: direct }, output);
    }
    standing.next += 1;
    spansDecoded.add();
    await keep(span, output);
    return output;
  }
}
