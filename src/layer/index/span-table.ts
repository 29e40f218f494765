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
 *    32 u8 kind, 33 u8 bits
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { littleEndian } from '../tar/entry-record.js';
import { BytePool } from './byte-pool.js';

export const spanRecordBytes = 80;

/**
 * Where a span starts. `fresh`: gzip member, zstd frame or plain byte; `block`: between two deflate blocks; `inside`:
 * only reached by decoding the spans before it, from the last one that is not `inside`.
 */
export const startKinds = ['fresh', 'block', 'inside'] as const;
export type StartKind = (typeof startKinds)[number];

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
  readonly crc: number;
  readonly sha256: Uint8Array;
  /** Bytes of dictionary for the decoder; 0: none. */
  readonly windowLength: number;
  /** Where the deflated window lies among the windows of the index, and its length there. */
  readonly windowOffset: number;
  readonly windowStored: number;
}

export interface SpanInput extends Omit<Span, 'index' | 'windowOffset'> {}

/** Encode spans that do not come from the addon. */
export function encodeSpan(span: SpanInput): Uint8Array {
  const bytes = new Uint8Array(spanRecordBytes);
  const view = new DataView(bytes.buffer);
  [span.in, span.inEnd, span.out, span.outEnd].forEach((value, index) =>
    view.setFloat64(index * 8, value, littleEndian),
  );
  bytes[32] = startKinds.indexOf(span.kind);
  bytes[33] = span.bits;
  view.setUint32(36, span.crc, littleEndian);
  bytes.set(span.sha256, 40);
  view.setUint32(72, span.windowLength, littleEndian);
  view.setUint32(76, span.windowStored, littleEndian);
  return bytes;
}

export class SpanTable {
  private readonly pool: BytePool;
  /** Where each window begins; one more than there are spans. */
  private readonly windowOffsets: number[] = [0];

  constructor(records?: Uint8Array<ArrayBuffer>) {
    this.pool = new BytePool(records === undefined ? undefined : new Uint8Array(0));
    if (records !== undefined) this.append(records);
  }

  get count(): number {
    return this.pool.length / spanRecordBytes;
  }

  /** Length of the decoded archive as far as it is covered. */
  get outEnd(): number {
    return this.count === 0 ? 0 : this.get(this.count - 1).outEnd;
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
    if (records.length % spanRecordBytes !== 0) throw damaged();
    for (let at = 0; at < records.length; at += spanRecordBytes) {
      const before = this.outEnd;
      this.pool.append(records.subarray(at, at + spanRecordBytes));
      this.windowOffsets.push(this.windowBytes + this.view(this.count - 1).getUint32(76, littleEndian));
      const span = this.get(this.count - 1);
      const ordered = span.out === before && span.outEnd >= span.out && span.inEnd >= span.in && span.in >= 0;
      const starts = span.kind !== 'inside' || span.index > 0;
      if (
        !ordered ||
        !starts ||
        span.bits > 7 ||
        span.windowLength > 32768 ||
        !Number.isSafeInteger(span.outEnd)
      ) {
        throw damaged();
      }
    }
  }

  get(index: number): Span {
    const view = this.view(index);
    const start = index * spanRecordBytes;
    const windowOffset = this.windowOffsets[index] ?? 0;
    return {
      index,
      in: view.getFloat64(0, littleEndian),
      inEnd: view.getFloat64(8, littleEndian),
      out: view.getFloat64(16, littleEndian),
      outEnd: view.getFloat64(24, littleEndian),
      kind: startKinds[view.getUint8(32)] ?? 'inside',
      bits: view.getUint8(33),
      crc: view.getUint32(36, littleEndian),
      sha256: this.pool.all().slice(start + 40, start + 72),
      windowLength: view.getUint32(72, littleEndian),
      windowOffset,
      windowStored: view.getUint32(76, littleEndian),
    };
  }

  /** `get(index).kind`, without looking at the rest. */
  kind(index: number): StartKind {
    return startKinds[this.view(index).getUint8(32)] ?? 'inside';
  }

  /** Number of the span that holds decoded byte `position`; `count` when there is none. */
  find(position: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.view(middle).getFloat64(24, littleEndian) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** All records. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.pool.all();
  }

  private view(index: number): DataView {
    return this.pool.view(index * spanRecordBytes, spanRecordBytes);
  }
}

function damaged(): ImgfsError {
  return new ImgfsError('invalid-content', 'read layer index: its spans do not follow each other');
}
