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
import type { SpanReader } from './span-bytes.js';
import { openSpanReader } from './span-reader.js';

const spansDecoded = counter('imgfs_layer_spans_decoded_total', 'Spans of layers that were decoded');

/** Decoders that stand in the middle of a run: 80 KB each, and a layer read by many has few runs in use at once. */
const maxReaders = 8;
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
  /** Takes every span that was decoded and checked. */
  readonly keep: (span: Span, bytes: Uint8Array) => Promise<void>;
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
   * Fetch and decode a span, and on the way those before it in its run.
   * @throws ImgfsError `integrity`, `invalid-content`, `unsupported`, and whatever the blob's reader throws.
   */
  async load(span: Span, options?: ReadOptions): Promise<Uint8Array> {
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

  private async decode(start: number, span: Span, options?: ReadOptions): Promise<Uint8Array> {
    const { spans } = this.parts;
    const standing = await this.takeReader(start, span.index);
    let bytes = new Uint8Array(0) as Uint8Array;
    while (standing.next <= span.index) {
      options?.signal?.throwIfAborted();
      const first = spans.get(standing.next);
      const input = await this.fetch(first, span, options);
      for (let current = first; ; current = spans.get(standing.next)) {
        bytes = await this.decodeOne(standing, current, input.subarray(current.in - first.in), options);
        if (current.index === span.index || spans.get(standing.next).inEnd > first.in + input.length) break;
      }
    }
    this.putReader(start, standing);
    return bytes;
  }

  private async takeReader(start: number, index: number): Promise<Standing> {
    const standing = this.standing.get(start);
    this.standing.delete(start);
    if (standing !== undefined && standing.next <= index) return standing;
    const { format, spans, readWindow } = this.parts;
    const span = spans.get(start);
    const window = span.windowStored === 0 ? new Uint8Array(0) : await readWindow(span);
    return { reader: await openSpanReader(format, span, window), next: start };
  }

  private putReader(start: number, standing: Standing): void {
    const { spans } = this.parts;
    if (standing.next >= spans.count || spans.kind(standing.next) !== 'inside') return;
    this.standing.set(start, standing);
    const [oldest] = this.standing.keys();
    if (this.standing.size > maxReaders && oldest !== undefined) this.standing.delete(oldest);
  }

  /** Bytes of the blob from `first` to `last`, or of as many spans before it as are asked for at once. */
  private async fetch(first: Span, last: Span, options?: ReadOptions): Promise<Uint8Array> {
    const { spans, blob } = this.parts;
    let end = last.inEnd;
    if (end - first.in > maxRequestBytes) {
      end = first.inEnd;
      for (let index = first.index + 1; index < last.index; index += 1) {
        const { inEnd } = spans.get(index);
        if (inEnd - first.in > maxRequestBytes) break;
        end = inEnd;
      }
    }
    const input = new Uint8Array(end - first.in);
    const got = await blob.read(input, 0, input.length, first.in, options);
    if (got === input.length) return input;
    throw new ImgfsError('integrity', `read layer: blob ends before byte ${end}`);
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
