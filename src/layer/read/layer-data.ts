/**
 * The decoded archive of a layer at any offset: spans on disk are read, others are fetched, decoded and kept.
 */
import { LRUCache } from 'lru-cache';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { counter } from '../../observe/metrics.js';
import type { ByteRange, CallOptions } from '../../store/store.js';
import type { Span } from '../index/span-table.js';
import { untilAborted } from '../until-aborted.js';
import { maxAheadBytes } from './fetch-ahead.js';
import { Readers, type Reader } from './readers.js';
import { SpanRuns, type LoadOptions, type SpanRunsParts } from './span-runs.js';

const log = createLogger('layer');
const spansPresent = counter(
  'imgfs_layer_spans_present_total',
  'Spans of layers that were found decoded on disk',
);

/** Spans kept in memory when the disk does not take them. */
const shelfBytes = 16 << 20;
/** Compressed bytes of neighbouring spans that are asked for in one go. */
const maxJoinedBytes = 8 << 20;
/** Spans of some 150 KB that are looked at in one go: 1 ms. */
const maxChecked = 16;
/** Decoded bytes kept ready for a reader that goes straight on: a quarter of a second of decoding. */
const maxDecodedAheadBytes = 8 << 20;

export interface LayerDataParts extends Omit<SpanRunsParts, 'keep'> {
  /** The index turned out to be wrong. */
  readonly onBadIndex?: () => void;
}

export class LayerData {
  private readonly parts: LayerDataParts;
  private readonly runs: SpanRuns;
  private readonly readers: Readers;
  private readonly loading = new Map<number, Promise<Uint8Array | undefined>>();
  private readonly shelf = new LRUCache<number, Uint8Array>({
    maxSize: shelfBytes,
    sizeCalculation: (bytes) => bytes.length + 1,
  });

  constructor(parts: LayerDataParts) {
    this.parts = parts;
    this.runs = new SpanRuns({ ...parts, keep: (span, bytes) => this.keep(span, bytes) });
    this.readers = new Readers({
      ...parts,
      startOf: (index) => this.runs.startOf(index),
      isThere: (index) => parts.decoded?.mayHave(index) === true,
    });
  }

  /** Give back decoders. What is under way ends as it would. */
  close(): void {
    this.runs.close();
  }

  /** Note that a file was opened whose bytes begin at `start`: who goes through the layer may read them without asking. */
  passed(start: number): void {
    const reader = this.readers.passing(start);
    if (reader !== undefined) this.goAhead(reader, this.parts.spans.find(start));
  }

  /**
   * Read `buffer.length` decoded bytes at `position`; the number is short only where the spans end.
   * @throws ImgfsError `integrity`, `invalid-content`, `unsupported`, and whatever the blob's reader throws.
   */
  async read(buffer: Uint8Array, position: number, options?: CallOptions): Promise<number> {
    const { spans } = this.parts;
    await this.join({ start: position, end: position + buffer.length }, options);
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
    await this.join(range, options);
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
      const { start, end } = spans.outOf(index);
      if (within !== undefined && start >= within.end) break;
      if (!decoded.isPresent(index)) continue;
      const last = ranges.at(-1);
      if (last?.end === start) last.end = end;
      else ranges.push({ start, end });
    }
    return ranges;
  }

  private async readSpan(span: Span, from: number, into: Uint8Array, options?: CallOptions): Promise<void> {
    const bytes = await this.ensure(span, options);
    if (bytes !== undefined) {
      into.set(bytes.subarray(from, from + into.length));
      return;
    }
    const { decoded } = this.parts;
    if (decoded?.isPresent(span.index) === true) {
      const { epoch } = decoded;
      decoded.touch(span.index);
      const read = await decoded.readAt(into, span.out + from);
      if (read === into.length && decoded.epoch === epoch) return;
    }
    // Somebody cut the file, or its room was given back meanwhile: decode again, and answer from memory.
    const again = await this.load(span, { ...options, inMemory: true });
    if (again === undefined) throw new ImgfsError('internal', 'read layer: no bytes');
    into.set(again.subarray(from, from + into.length));
  }

  /**
   * Note a read of `range`: what goes through several runs is fetched together, and a reader that goes straight on
   * finds what comes next fetched and decoded.
   */
  private async join(range: ByteRange, options?: CallOptions): Promise<void> {
    const { spans, blob, decoded } = this.parts;
    const reader = this.readers.at(range.start, range.end);
    const first = spans.find(range.start);
    if (reader.pattern.isSequential) return this.goAhead(reader, first);
    const last = Math.min(spans.count - 1, spans.find(range.end - 1));
    let missing = first;
    while (missing <= last && decoded?.isPresent(missing) === true) missing += 1;
    if (missing > last || this.runs.startOf(missing) === this.runs.startOf(last)) return;
    const { in: start } = spans.get(this.runs.startOf(missing));
    const end = Math.min(spans.get(last).inEnd, start + maxJoinedBytes);
    // What stands in the way of this shows again, and is told, when the spans are read.
    await blob.fill({ start, end }, { ...options, exact: true }).catch(() => undefined);
    options?.signal?.throwIfAborted();
  }

  /** A reader that goes on is at span `from`. */
  private goAhead(reader: Reader, from: number): void {
    const { pattern, fetching } = reader;
    const { spans } = this.parts;
    if (from >= spans.count) return;
    const at = spans.get(Math.min(spans.count - 1, spans.find(pattern.position)));
    fetching.advance(from, at.in, pattern.ahead(maxAheadBytes));
    const until = pattern.position + pattern.ahead(maxDecodedAheadBytes);
    reader.decodedTo = this.decodeAhead(Math.max(from, reader.decodedTo), fetching.askedTo, until);
    pattern.ready(until);
  }

  /** Decode spans `[from, to)` that begin before decoded byte `until`; the number of the next one. */
  private decodeAhead(from: number, to: number, until: number): number {
    const { spans, decoded } = this.parts;
    if (decoded === undefined) return from;
    let index = from;
    while (index < to && spans.get(index).out < until) {
      if (decoded.isPresent(index) || this.loading.has(index)) index += 1;
      else index = decoded.isUnchecked(index) ? this.startCheck(index) : this.startRun(index, to);
    }
    return index;
  }

  /** Begin to decode a run from span `from` on, as far as it goes before `to`; the number of the next span. */
  private startRun(from: number, to: number): number {
    const { spans, decoded } = this.parts;
    let end = from + 1;
    while (
      end < to &&
      spans.kind(end) === 'inside' &&
      decoded?.mayHave(end) === false &&
      !this.loading.has(end)
    )
      end += 1;
    return this.startAhead(from, end, this.load(spans.get(end - 1)));
  }

  /** Begin to look at spans from `from` on that an earlier process decoded; the number of the next span. */
  private startCheck(from: number): number {
    const { spans, decoded } = this.parts;
    const most = Math.min(from + maxChecked, spans.count);
    let end = from + 1;
    while (end < most && decoded?.isUnchecked(end) === true && !this.loading.has(end)) end += 1;
    return this.startAhead(from, end, decoded?.checkAll(spans, from, end));
  }

  private startAhead(from: number, end: number, work: Promise<unknown> | undefined): number {
    // Who waits for one of them and finds nothing does it again, and is told what is wrong.
    const made = Promise.resolve(work).then(
      () => undefined,
      (error: unknown) => {
        log.debug('reading ahead failed', { error: String(error) });
        return undefined;
      },
    );
    for (let index = from; index < end; index += 1) this.remember(index, made);
    return end;
  }

  /** Make the span readable: undefined when it is on disk, else its bytes. */
  private async ensure(span: Span, options?: CallOptions): Promise<Uint8Array | undefined> {
    const { decoded } = this.parts;
    for (;;) {
      if (decoded?.isPresent(span.index) === true) return undefined;
      const shelved = this.shelf.get(span.index);
      if (shelved !== undefined) return shelved;
      const under = this.loading.get(span.index);
      if (under === undefined) break;
      const bytes = await untilAborted(under, options?.signal);
      if (bytes !== undefined) return bytes;
    }
    const made = this.checkOrLoad(span);
    this.remember(span.index, made);
    return untilAborted(made, options?.signal);
  }

  private remember(index: number, made: Promise<Uint8Array | undefined>): void {
    this.loading.set(index, made);
    const forget = (): void => {
      if (this.loading.get(index) === made) this.loading.delete(index);
    };
    made.then(forget, forget);
  }

  private async checkOrLoad(span: Span): Promise<Uint8Array | undefined> {
    const { decoded } = this.parts;
    if (decoded?.isUnchecked(span.index) === true)
      await decoded.checkAll(this.parts.spans, span.index, span.index + 1);
    if (decoded?.isPresent(span.index) === true) {
      spansPresent.add();
      return undefined;
    }
    return this.load(span);
  }

  /** Fetch and decode; keeps the bytes on disk, else on the shelf. */
  private async load(span: Span, options?: LoadOptions): Promise<Uint8Array | undefined> {
    try {
      // Exactly what is needed: who goes on finds it fetched ahead.
      return await this.runs.load(span, { ...options, exact: true });
    } catch (error) {
      if (error instanceof ImgfsError && error.code === 'invalid-content') this.parts.onBadIndex?.();
      throw error;
    }
  }

  private async keep(span: Span, bytes: Uint8Array): Promise<void> {
    const { decoded } = this.parts;
    if (decoded?.isPresent(span.index) === true) return;
    if ((await decoded?.write(span, bytes)) !== true) this.shelf.set(span.index, bytes);
  }
}
