/**
 * Writes FlatBuffers (flatbuffers.dev, "FlatBuffer internals") from the end to the beginning, as the format wants it:
 * what is referred to lies behind what refers to it. Offsets given out count from the end.
 */

export type FlatField =
  | { readonly slot: number; readonly kind: 'offset'; readonly value: number }
  | {
      readonly slot: number;
      readonly kind: 'int64' | 'int32' | 'uint32' | 'int8';
      readonly value: number;
      readonly byDefault?: number;
    };

const widths = { offset: 4, int64: 8, int32: 4, uint32: 4, int8: 1 } as const;

export class FlatBuilder {
  private bytes = Buffer.alloc(64 << 10);
  private head = this.bytes.length;
  private widest = 4;
  /** vtables written, by their content. */
  private readonly vtables = new Map<string, number>();

  private get offset(): number {
    return this.bytes.length - this.head;
  }

  /** A string; its bytes need be no UTF-8. */
  string(value: Uint8Array | string): number {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    this.align(4, bytes.length + 1);
    this.move(1);
    this.bytes[this.head] = 0;
    return this.lengthPrefixed(bytes);
  }

  byteVector(bytes: Uint8Array): number {
    this.align(4, bytes.length);
    return this.lengthPrefixed(bytes);
  }

  /** A vector of strings or tables. */
  vector(offsets: readonly number[]): number {
    this.align(4, offsets.length * 4);
    for (const offset of offsets.toReversed()) this.reference(offset);
    this.move(4);
    this.bytes.writeUInt32LE(offsets.length, this.head);
    return this.offset;
  }

  /** A table; fields that have their default are left out. */
  table(fields: readonly FlatField[]): number {
    const before = this.offset;
    const places: number[] = [];
    for (const field of fields) {
      if (field.kind !== 'offset' && field.value === (field.byDefault ?? 0)) continue;
      this.put(field);
      places[field.slot] = this.offset;
    }
    this.align(4, 4);
    this.move(4);
    const table = this.offset;
    const slots = Array.from({ length: places.length }, (_, slot) =>
      places[slot] === undefined ? 0 : table - places[slot],
    );
    const vtable = this.vtable([4 + slots.length * 2, table - before, ...slots]);
    this.bytes.writeInt32LE(vtable - table, this.bytes.length - table);
    return table;
  }

  /** The buffer, with this table as its root. */
  finish(root: number): Uint8Array {
    this.align(this.widest, 4);
    this.reference(root);
    return this.bytes.subarray(this.head);
  }

  private vtable(numbers: readonly number[]): number {
    const key = numbers.join(' ');
    const known = this.vtables.get(key);
    if (known !== undefined) return known;
    this.move(numbers.length * 2);
    for (const [index, value] of numbers.entries()) this.bytes.writeUInt16LE(value, this.head + index * 2);
    this.vtables.set(key, this.offset);
    return this.offset;
  }

  private put(field: FlatField): void {
    const width = widths[field.kind];
    this.align(width, 0);
    if (field.kind === 'offset') {
      this.reference(field.value);
      return;
    }
    this.move(width);
    if (field.kind === 'int64') this.bytes.writeBigInt64LE(BigInt(field.value), this.head);
    else if (field.kind === 'int32') this.bytes.writeInt32LE(field.value, this.head);
    else if (field.kind === 'uint32') this.bytes.writeUInt32LE(field.value, this.head);
    else this.bytes.writeInt8(field.value, this.head);
  }

  private reference(offset: number): void {
    this.move(4);
    this.bytes.writeUInt32LE(this.offset - offset, this.head);
  }

  private lengthPrefixed(bytes: Uint8Array): number {
    this.move(bytes.length);
    this.bytes.set(bytes, this.head);
    this.move(4);
    this.bytes.writeUInt32LE(bytes.length, this.head);
    return this.offset;
  }

  /** Fill up so that what is `behind` bytes further on lies at a multiple of `width` from the end. */
  private align(width: number, behind: number): void {
    this.widest = Math.max(this.widest, width);
    const over = (this.offset + behind) % width;
    if (over > 0) {
      this.move(width - over);
      this.bytes.fill(0, this.head, this.head + width - over);
    }
  }

  private move(count: number): void {
    if (count > this.head) {
      const grown = Buffer.alloc(Math.max(this.bytes.length * 2, this.bytes.length + count));
      grown.set(this.bytes.subarray(this.head), grown.length - this.offset);
      this.head += grown.length - this.bytes.length;
      this.bytes = grown;
    }
    this.head -= count;
  }
}
