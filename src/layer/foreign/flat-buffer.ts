/**
 * Reads FlatBuffers (flatbuffers.dev, "FlatBuffer internals") without trust: every offset is checked against the buffer.
 *
 * A table begins with a signed offset back to its vtable; the vtable has its own length, that of the table, and for each
 * field where it lies in the table, 0 when it is left out. Strings, vectors and tables are reached by offsets forward.
 */
import { foreignError } from './foreign-error.js';

/** The fields of one table; `slot` counts them in the order of the schema. */
export class FlatTable {
  private readonly view: DataView;
  private readonly start: number;
  private readonly vtable: number;
  private readonly slots: number;

  private constructor(view: DataView, start: number) {
    this.view = view;
    this.start = start;
    need(view, start, 4);
    this.vtable = start - view.getInt32(start, true);
    need(view, this.vtable, 4);
    const length = view.getUint16(this.vtable, true);
    need(view, this.vtable, length);
    this.slots = (length - 4) >> 1;
  }

  /** The root table of a buffer. @throws ImgfsError `invalid-content`, as all methods. */
  static root(bytes: Uint8Array): FlatTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return new FlatTable(view, follow(view, 0));
  }

  /** A whole number of 64 bits that is exactly representable. */
  int64(slot: number): number {
    const at = this.field(slot, 8);
    if (at === undefined) return 0;
    const value = this.view.getBigInt64(at, true);
    if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER))
      return Number(value);
    throw foreignError('a number in it is too large');
  }

  int32(slot: number): number {
    const at = this.field(slot, 4);
    return at === undefined ? 0 : this.view.getInt32(at, true);
  }

  uint32(slot: number): number {
    const at = this.field(slot, 4);
    return at === undefined ? 0 : this.view.getUint32(at, true);
  }

  int8(slot: number, byDefault: number): number {
    const at = this.field(slot, 1);
    return at === undefined ? byDefault : this.view.getInt8(at);
  }

  /** Bytes of a string or of a vector of bytes: a view, not a copy. */
  bytes(slot: number): Uint8Array {
    const at = this.field(slot, 4);
    return at === undefined ? new Uint8Array(0) : bytesAt(this.view, follow(this.view, at));
  }

  table(slot: number): FlatTable | undefined {
    const at = this.field(slot, 4);
    return at === undefined ? undefined : new FlatTable(this.view, follow(this.view, at));
  }

  /** Length of a vector of offsets. */
  count(slot: number): number {
    return this.vector(slot).count;
  }

  tableIn(slot: number, index: number): FlatTable {
    return new FlatTable(this.view, follow(this.view, this.element(slot, index)));
  }

  bytesIn(slot: number, index: number): Uint8Array {
    return bytesAt(this.view, follow(this.view, this.element(slot, index)));
  }

  private element(slot: number, index: number): number {
    const { start, count } = this.vector(slot);
    if (index >= count) throw foreignError('it is cut off');
    return start + index * 4;
  }

  private vector(slot: number): { readonly start: number; readonly count: number } {
    const at = this.field(slot, 4);
    if (at === undefined) return { start: 0, count: 0 };
    const start = follow(this.view, at);
    need(this.view, start, 4);
    const count = this.view.getUint32(start, true);
    need(this.view, start + 4, count * 4);
    return { start: start + 4, count };
  }

  /** Where a field of `length` bytes lies; undefined when it is left out. */
  private field(slot: number, length: number): number | undefined {
    if (slot >= this.slots) return undefined;
    const offset = this.view.getUint16(this.vtable + 4 + slot * 2, true);
    if (offset === 0) return undefined;
    need(this.view, this.start + offset, length);
    return this.start + offset;
  }
}

function need(view: DataView, at: number, length: number): void {
  if (at < 0 || at + length > view.byteLength) throw foreignError('it is cut off');
}

function follow(view: DataView, at: number): number {
  need(view, at, 4);
  return at + view.getUint32(at, true);
}

function bytesAt(view: DataView, at: number): Uint8Array {
  need(view, at, 4);
  const length = view.getUint32(at, true);
  need(view, at + 4, length);
  return new Uint8Array(view.buffer, view.byteOffset + at + 4, length);
}
