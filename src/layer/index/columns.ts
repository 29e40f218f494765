import type { Turns } from '../turns.js';

/** Columns of numbers that grow together: 50 bytes for an entry instead of 300 for an object. */

type Column =
  | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

const constructors = {
  f64: Float64Array,
  i64: BigInt64Array,
  u32: Uint32Array,
  u16: Uint16Array,
  u8: Uint8Array,
} as const;

/** What a column holds. Widest first, so that columns one behind the other in a file are aligned. */
export type ColumnType = keyof typeof constructors;

type Columns<Shape extends Readonly<Record<string, ColumnType>>> = {
  -readonly [Key in keyof Shape]: InstanceType<(typeof constructors)[Shape[Key]]> & Column;
};

/** Rows there is room for at least. */
const minCapacity = 256;

export class ColumnTable<Shape extends Readonly<Record<string, ColumnType>>> {
  private readonly shape: Shape;
  /** Rows that all columns have room for. */
  private room = 0;
  /** Rows in use. */
  count: number;
  /** The columns; each is replaced when it grows, so do not keep them. */
  columns: Columns<Shape>;

  constructor(shape: Shape, capacity = minCapacity) {
    this.shape = shape;
    this.count = 0;
    this.columns = this.allocate(capacity);
    this.measure();
  }

  /** Make room for one more row and return its number. */
  add(): number {
    if (this.count >= this.room) this.grow();
    return this.count++;
  }

  /** Give back what was kept for growth. */
  async trim(turns: Turns): Promise<void> {
    const columns = this.columns as Record<string, Column>;
    for (const [key, column] of Object.entries(columns)) {
      if (column.length <= this.count) continue;
      columns[key] = column.slice(0, this.count);
      await turns.copied(this.count * column.BYTES_PER_ELEMENT);
    }
    this.measure();
  }

  /** Forget rows from `count` on. */
  truncate(count: number): void {
    this.count = Math.min(this.count, count);
  }

  /** Bytes of one row. */
  get rowBytes(): number {
    return Object.values(this.shape).reduce((sum, type) => sum + constructors[type].BYTES_PER_ELEMENT, 0);
  }

  /** The rows in use as bytes, column by column, in the byte order of the machine. */
  toBytes(): Uint8Array<ArrayBuffer>[] {
    return Object.keys(this.shape).map((key) => {
      const column = (this.columns as Record<string, Column>)[key] as Column;
      return new Uint8Array(column.buffer, column.byteOffset, this.count * column.BYTES_PER_ELEMENT);
    });
  }

  /** Take rows as `toBytes` gives them. `bytes` starts at a multiple of 8 of its buffer, which is kept. */
  static fromBytes<S extends Readonly<Record<string, ColumnType>>>(
    shape: S,
    count: number,
    bytes: Uint8Array<ArrayBuffer>,
  ): ColumnTable<S> {
    const table = new ColumnTable(shape, 0);
    let at = bytes.byteOffset;
    for (const [key, type] of Object.entries(shape)) {
      const constructor = constructors[type];
      (table.columns as Record<string, Column>)[key] = new constructor(bytes.buffer, at, count);
      at += count * constructor.BYTES_PER_ELEMENT;
    }
    table.count = count;
    table.measure();
    return table;
  }

  private allocate(capacity: number): Columns<Shape> {
    // A little more for each, so that they do not grow all at once: a million rows are 50 MB.
    const made = Object.entries(this.shape).map(([key, type], place) => [
      key,
      new constructors[type](Math.ceil(capacity * (1 + place / 32))),
    ]);
    return Object.fromEntries(made) as Columns<Shape>;
  }

  private measure(): void {
    this.room = Math.min(
      ...Object.values(this.columns as Record<string, Column>).map(({ length }) => length),
    );
  }

  private grow(): void {
    const columns = this.columns as Record<string, Column>;
    for (const [key, column] of Object.entries(columns)) {
      if (column.length > this.count) continue;
      const grown = new constructors[this.shape[key] ?? 'u8'](Math.max(16, Math.ceil(column.length * 1.5)));
      (grown as Uint8Array).set(column as Uint8Array);
      columns[key] = grown;
    }
    this.measure();
  }
}
