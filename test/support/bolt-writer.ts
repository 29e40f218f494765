/** A bbolt file with given buckets, for tests to read: leaf pages, a branch page above them when they are many. */
export type BoltTree = { readonly [name: string]: Buffer | BoltTree };

const pageSize = 4096;
const headerBytes = 16;

function checksum(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

class Writer {
  readonly pages: Buffer[] = [];

  constructor() {
    // Two meta pages and a freelist.
    for (let at = 0; at < 3; at += 1) this.pages.push(Buffer.alloc(pageSize));
  }

  /** Page of a bucket's root. */
  bucket(tree: BoltTree): number {
    const entries = Object.entries(tree)
      .map(([name, value]) => {
        const isBucket = !Buffer.isBuffer(value);
        return { key: Buffer.from(name), isBucket, value: isBucket ? this.bucketValue(value) : value };
      })
      .sort((a, b) => Buffer.compare(a.key, b.key));
    const groups: (typeof entries)[] = [];
    for (let at = 0; at < Math.max(entries.length, 1); at += 20) groups.push(entries.slice(at, at + 20));
    const leaves = groups.map((group) => ({ key: group[0]?.key ?? Buffer.alloc(0), page: this.leaf(group) }));
    return leaves.length === 1 ? (leaves[0]?.page ?? 0) : this.branch(leaves);
  }

  private bucketValue(tree: BoltTree): Buffer {
    const value = Buffer.alloc(16);
    // Small buckets of plain keys are inside their parent, as bbolt does.
    const isSmall = Object.values(tree).every((item) => Buffer.isBuffer(item) && item.length < 100);
    if (isSmall && Object.keys(tree).length <= 3) {
      const elements = Object.entries(tree).map(([name, item]) => ({
        key: Buffer.from(name),
        isBucket: false,
        value: item as Buffer,
      }));
      return Buffer.concat([value, this.leafBytes(elements)]);
    }
    value.writeBigUInt64LE(BigInt(this.bucket(tree)), 0);
    return value;
  }

  private leafBytes(entries: readonly { key: Buffer; isBucket: boolean; value: Buffer }[]): Buffer {
    const head = Buffer.alloc(headerBytes + entries.length * 16);
    head.writeUInt16LE(0x02, 8);
    head.writeUInt16LE(entries.length, 10);
    let end = head.length;
    for (const [index, { key, isBucket, value }] of entries.entries()) {
      const at = headerBytes + index * 16;
      head.writeUInt32LE(isBucket ? 1 : 0, at);
      head.writeUInt32LE(end - at, at + 4);
      head.writeUInt32LE(key.length, at + 8);
      head.writeUInt32LE(value.length, at + 12);
      end += key.length + value.length;
    }
    return Buffer.concat([head, ...entries.flatMap(({ key, value }) => [key, value])]);
  }

  private leaf(entries: readonly { key: Buffer; isBucket: boolean; value: Buffer }[]): number {
    return this.add(this.leafBytes(entries));
  }

  private branch(children: readonly { key: Buffer; page: number }[]): number {
    const head = Buffer.alloc(headerBytes + children.length * 16);
    head.writeUInt16LE(0x01, 8);
    head.writeUInt16LE(children.length, 10);
    let end = head.length;
    for (const [index, { key, page }] of children.entries()) {
      const at = headerBytes + index * 16;
      head.writeUInt32LE(end - at, at);
      head.writeUInt32LE(key.length, at + 4);
      head.writeBigUInt64LE(BigInt(page), at + 8);
      end += key.length;
    }
    return this.add(Buffer.concat([head, ...children.map(({ key }) => key)]));
  }

  private add(bytes: Buffer): number {
    const count = Math.ceil(bytes.length / pageSize);
    const page = Buffer.alloc(count * pageSize);
    bytes.copy(page);
    const id = this.pages.reduce((sum, { length }) => sum + length / pageSize, 0);
    page.writeBigUInt64LE(BigInt(id), 0);
    page.writeUInt32LE(count - 1, 12);
    this.pages.push(page);
    return id;
  }
}

/** The meta page of a transaction: number 0 or 1. */
export function boltMeta(root: number, txid: bigint): Buffer {
  const page = Buffer.alloc(pageSize);
  page.writeUInt16LE(0x04, 8);
  const meta = page.subarray(headerBytes);
  meta.writeUInt32LE(0xed0cdaed, 0);
  meta.writeUInt32LE(2, 4);
  meta.writeUInt32LE(pageSize, 8);
  meta.writeBigUInt64LE(BigInt(root), 16);
  meta.writeBigUInt64LE(2n, 32);
  meta.writeBigUInt64LE(txid, 48);
  meta.writeBigUInt64LE(checksum(meta.subarray(0, 56)), 56);
  return page;
}

export function buildBolt(tree: BoltTree): Buffer {
  const writer = new Writer();
  const root = writer.bucket(tree);
  const file = Buffer.concat(writer.pages);
  // The older transaction has nothing.
  boltMeta(writer.bucket({}), 6n).copy(file, pageSize);
  boltMeta(root, 7n).copy(file, 0);
  return Buffer.concat([file, ...writer.pages.slice(-1)]);
}

/** As Go's `binary.PutVarint` writes a number that is not negative. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value) * 2n;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
