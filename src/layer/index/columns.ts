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

export class ColumnTable<Shape extends Readonly<Record<string, ColumnType>>> {
  private readonly shape: Shape;
  private capacity: number;
  /** Rows in use. */
  count: number;
  /** The columns; replaced when the table grows, so do not keep them. */
  columns: Columns<Shape>;

  constructor(shape: Shape, capacity = 256) {
    this.shape = shape;
    this.capacity = capacity;
    this.count = 0;
    this.columns = this.allocate(capacity);
  }

  /** Make room for one more row and return its number. */
  add(): number {
    if (this.count === this.capacity) this.resize(Math.ceil(this.capacity * 1.5));
    return this.count++;
  }

  /** Give back what was kept for growth. */
  trim(): void {
    if (this.capacity > this.count) this.resize(this.count);
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
    table.capacity = count;
    return table;
  }

  private allocate(capacity: number): Columns<Shape> {
    const made = Object.entries(this.shape).map(([key, type]) => [key, new constructors[type](capacity)]);
    return Object.fromEntries(made) as Columns<Shape>;
  }

  private resize(capacity: number): void {
    const grown = this.allocate(Math.max(capacity, this.count, 16)) as Record<string, Column>;
    for (const key of Object.keys(this.shape)) {
      const old = (this.columns as Record<string, Column>)[key] as Column;
      (grown[key] as Uint8Array).set(old.subarray(0, this.count) as Uint8Array);
    }
    this.columns = grown as Columns<Shape>;
    this.capacity = Math.max(capacity, this.count, 16);
  }
}
