/**
 * Spans: pieces of a layer that can be decoded alone. They lie one behind the other in the decoded archive and are
 * about 1 MiB long each.
 *
 * A record is 80 bytes in the byte order of the machine (`SpanRecord` in native/src/layer-indexer.h):
 *
 *     0 f64 in       first byte of the blob that is needed      36 u32 CRC-32 of the decoded bytes
 *     8 f64 inEnd    one behind the last                        40 sha256 of the blob's bytes [in, inEnd)
 *    16 f64 out      first decoded byte                         72 u32 bytes of window
 *    24 f64 outEnd   one behind the last                        76 u32 bytes of it as stored
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Turns } from '../turns.js';
import { littleEndian } from '../tar/entry-record.js';
import type { ByteRange } from '../../store/store.js';
import { BytePool } from './byte-pool.js';

export const spanRecordBytes = 80;

/** Checked in one go: 0.03 ms, 0.2 before V8 has optimized it. */
const recordsPerStep = 64;

/**
 * Where a span starts. `fresh`: gzip member, zstd frame or plain byte; `block`: between two deflate blocks; `inside`:
 * only reached by decoding the spans before it, from the last one that is not `inside`.
 */
export const startKinds = ['fresh', 'block', 'inside'] as const;
export type StartKind = (typeof startKinds)[number];

/**
 * By what a span is known to be right. `both`: sha256 of the blob's bytes `[in, inEnd)`, CRC-32 of what they decode to.
 * `input`: the sha256 alone, of an index that says nothing about decoded bytes (SOCI). `output`: sha256 of the decoded
 * bytes, which begin `skip` bytes behind what decoding at `in` gives first (eStargz, zstd:chunked). The places are those of `SpanCheck` in native/src/span-reader.h.
 */
export const spanChecks = ['both', 'input', 'output'] as const;
export type SpanCheck = (typeof spanChecks)[number];

export interface Span {
  readonly index: number;
  /** Bytes `[in, inEnd)` of the blob. With `bits` > 0 the first byte is shared with the span before. */
  readonly in: number;
  readonly inEnd: number;
  /** Bytes `[out, outEnd)` of the decoded archive. */
  readonly out: number;
  readonly outEnd: number;
  readonly kind: StartKind;
  /** High bits of the first byte that belong to the span: 0 to 7; 0 means whole bytes. */
  readonly bits: number;
  readonly check: SpanCheck;
  /** Of the decoded bytes; 0 unless `check` is `both`. */
  readonly crc: number;
  /** Decoded bytes that lie between `in` and the span; 0 unless `check` is `output`. */
  readonly skip: number;
  readonly sha256: Uint8Array;
  /** Bytes of dictionary for the decoder; 0: none. */
  readonly windowLength: number;
  /** Where the deflated window lies among the windows of the index, and its length there. */
  readonly windowOffset: number;
  readonly windowStored: number;
}

export interface SpanInput extends Omit<Span, 'index' | 'windowOffset' | 'check' | 'skip'> {
  /** Default `both`. */
  readonly check?: SpanCheck;
  readonly skip?: number;
}

/** Encode spans that do not come from the addon. */
export function encodeSpan(span: SpanInput): Uint8Array {
  const bytes = new Uint8Array(spanRecordBytes);
  const view = new DataView(bytes.buffer);
  [span.in, span.inEnd, span.out, span.outEnd].forEach((value, index) =>
    view.setFloat64(index * 8, value, littleEndian),
  );
  bytes[32] = startKinds.indexOf(span.kind);
  bytes[33] = span.bits;
  const check = span.check ?? 'both';
  bytes[34] = spanChecks.indexOf(check);
  view.setUint32(36, check === 'output' ? (span.skip ?? 0) : span.crc, littleEndian);
  bytes.set(span.sha256, 40);
  view.setUint32(72, span.windowLength, littleEndian);
  view.setUint32(76, span.windowStored, littleEndian);
  return bytes;
}

/** A record of a table. Records never change. */
class TableSpan implements Span {
  readonly index: number;
  readonly in: number;
  readonly inEnd: number;
  readonly out: number;
  readonly outEnd: number;
  readonly kind: StartKind;
  readonly bits: number;
  readonly check: SpanCheck;
  readonly crc: number;
  readonly skip: number;
  readonly windowLength: number;
  readonly windowOffset: number;
  readonly windowStored: number;
  private readonly pool: BytePool;
  private readonly at: number;

  constructor(pool: BytePool, at: number, index: number, windowOffset: number) {
    const numbers = pool.numbers();
    this.index = index;
    this.in = numbers.getFloat64(at, littleEndian);
    this.inEnd = numbers.getFloat64(at + 8, littleEndian);
    this.out = numbers.getFloat64(at + 16, littleEndian);
    this.outEnd = numbers.getFloat64(at + 24, littleEndian);
    this.kind = startKinds[numbers.getUint8(at + 32)] ?? 'inside';
    this.bits = numbers.getUint8(at + 33);
    this.check = spanChecks[numbers.getUint8(at + 34)] ?? 'both';
    const crcOrSkip = numbers.getUint32(at + 36, littleEndian);
    this.crc = this.check === 'both' ? crcOrSkip : 0;
    this.skip = this.check === 'output' ? crcOrSkip : 0;
    this.windowLength = numbers.getUint32(at + 72, littleEndian);
    this.windowOffset = windowOffset;
    this.windowStored = numbers.getUint32(at + 76, littleEndian);
    this.pool = pool;
    this.at = at;
  }

  /** Made for who asks: it takes longer than all the others, and most only want places. */
  get sha256(): Uint8Array {
    return this.pool.all().slice(this.at + 40, this.at + 72);
  }
}

export class SpanTable {
  private readonly pool: BytePool;
  /** Where each window begins; one more than there are spans. */
  private readonly windowOffsets: number[] = [0];

  constructor(pool = new BytePool()) {
    this.pool = pool;
  }

  /**
   * A table of records that are kept. In turns: 30,000 spans of a layer of 10 GB are 15 ms.
   * @throws ImgfsError `invalid-content` when they do not follow each other, `interrupted`.
   */
  static async of(records: Uint8Array<ArrayBuffer>, turns: Turns): Promise<SpanTable> {
    const table = new SpanTable(new BytePool(records));
    const step = recordsPerStep * spanRecordBytes;
    for (let at = 0; at < records.length; at += step) {
      table.follow(at, Math.min(at + step, records.length));
      if (turns.step(recordsPerStep)) await turns.yield();
    }
    return table;
  }

  get count(): number {
    return this.pool.length / spanRecordBytes;
  }

  /** Length of the decoded archive as far as it is covered. */
  get outEnd(): number {
    return this.count === 0 ? 0 : this.outOf(this.count - 1).end;
  }

  /** Bytes of all windows, as stored. */
  get windowBytes(): number {
    return this.windowOffsets.at(-1) ?? 0;
  }

  /** Bytes of the windows of the first `count` spans, as stored. */
  windowBytesBefore(count: number): number {
    return this.windowOffsets[count] ?? this.windowBytes;
  }

  /** Take records. @throws ImgfsError `invalid-content` when they do not follow each other. */
  append(records: Uint8Array): void {
    const first = this.pool.append(records);
    this.follow(first, first + records.length);
  }

  /** Check the records in bytes `[from, to)` of the pool, and note where their windows are. */
  private follow(from: number, to: number): void {
    if ((to - from) % spanRecordBytes !== 0) throw damaged();
    const view = this.pool.numbers();
    let before = from === 0 ? 0 : view.getFloat64(from - spanRecordBytes + 24, littleEndian);
    let windows = this.windowBytes;
    for (let at = from; at < to; at += spanRecordBytes) {
      if (!isSound(view, at, before)) throw damaged();
      before = view.getFloat64(at + 24, littleEndian);
      windows += view.getUint32(at + 76, littleEndian);
      this.windowOffsets.push(windows);
    }
  }

  /** @throws RangeError where there is none. */
  get(index: number): Span {
    return new TableSpan(this.pool, this.place(index), index, this.windowOffsets[index] ?? 0);
  }

  /** `get(index).out` and `outEnd`: the decoded bytes of a span, without looking at the rest. */
  outOf(index: number): ByteRange {
    const at = this.place(index);
    const numbers = this.pool.numbers();
    return {
      start: numbers.getFloat64(at + 16, littleEndian),
      end: numbers.getFloat64(at + 24, littleEndian),
    };
  }

  /** `get(index).kind`, without looking at the rest. */
  kind(index: number): StartKind {
    return startKinds[this.pool.numbers().getUint8(this.place(index) + 32)] ?? 'inside';
  }

  /** Number of the span that holds decoded byte `position`; `count` when there is none. */
  find(position: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.pool.numbers().getFloat64(this.place(middle) + 24, littleEndian) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Records of spans `[from, to)`: valid until the table grows. */
  records(from: number, to: number): Uint8Array {
    return this.pool.all().subarray(from * spanRecordBytes, to * spanRecordBytes);
  }

  /** All records. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.pool.all();
  }

  private place(index: number): number {
    if (!(index >= 0 && index < this.count)) throw new RangeError(`no span ${index} of ${this.count}`);
    return index * spanRecordBytes;
  }
}

/** Whether the record at `at` follows one that ended at decoded byte `before`; at 0 is the first one. */
function isSound(view: DataView, at: number, before: number): boolean {
  const start = view.getFloat64(at, littleEndian);
  const outEnd = view.getFloat64(at + 24, littleEndian);
  return (
    view.getFloat64(at + 16, littleEndian) === before &&
    outEnd >= before &&
    view.getFloat64(at + 8, littleEndian) >= start &&
    start >= 0 &&
    Number.isSafeInteger(outEnd) &&
    (startKinds[view.getUint8(at + 32)] !== 'inside' || at > 0) &&
    view.getUint8(at + 33) <= 7 &&
    view.getUint32(at + 72, littleEndian) <= 32768
  );
}

function damaged(): ImgfsError {
  return new ImgfsError('invalid-content', 'read layer index: its spans do not follow each other');
}
