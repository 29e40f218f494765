/**
 * Reading a bbolt file (go.etcd.io/bbolt, page.go, db.go): buckets and keys, nothing else. The file is another
 * program's and may be damaged: every position is checked against it before it is followed.
 *
 *   page    id u64, flags u16, count u16, overflow u32, then `count` elements of 16 bytes
 *   branch  pos u32, ksize u32, page u64          leaf  flags u32, pos u32, ksize u32, vsize u32
 *   meta    magic u32, version u32, page size u32, flags u32, root u64, sequence u64, freelist u64, pages u64,
 *           txid u64, FNV-1a-64 of what is before it
 */
import { refuseField } from '../../oci/json-fields.js';

const magic = 0xed0cdaed;
const headerBytes = 16;
const elementBytes = 16;
const metaBytes = 64;
const flagBranch = 0x01;
const flagLeaf = 0x02;
const bucketFlag = 0x01;

/** A B+ tree of pages of 4 KiB is five deep at a terabyte. */
const maxDepth = 32;

export interface BoltMeta {
  readonly pageSize: number;
  readonly root: number;
  /** Number of the last transaction in it. */
  readonly txid: bigint;
}

/** FNV-1a, 64 bits. */
function checksum(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

function metaAt(file: Buffer, offset: number): BoltMeta | undefined {
  const meta = file.subarray(offset + headerBytes, offset + headerBytes + metaBytes);
  if (meta.length < metaBytes || meta.readUInt32LE(0) !== magic || meta.readUInt32LE(4) !== 2)
    return undefined;
  if (meta.readBigUInt64LE(56) !== checksum(meta.subarray(0, 56))) return undefined;
  const pageSize = meta.readUInt32LE(8);
  const root = meta.readBigUInt64LE(16);
  const isSane =
    pageSize >= 512 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0 && root < 1n << 40n;
  return isSane ? { pageSize, root: Number(root), txid: meta.readBigUInt64LE(48) } : undefined;
}

/** Sizes of pages that operating systems have. */
const pageSizes = [4096, 8192, 16_384, 65_536];

/** Enough of the file to find both meta pages. */
export const metaWindowBytes = 65_536 + headerBytes + metaBytes;

/**
 * The valid meta page of the latest transaction, out of the beginning of the file.
 * @throws ImgfsError `invalid-content` when there is none.
 */
export function latestMeta(head: Buffer, what: string): BoltMeta {
  const metas = [0, ...pageSizes].flatMap((offset) => metaAt(head, offset) ?? []);
  const [first, ...others] = metas;
  if (first === undefined) return refuseField(what, 'no bbolt file, or both of its meta pages are damaged');
  return others.reduce((best, meta) => (meta.txid > best.txid ? meta : best), first);
}

/** Where a bucket is: a page of the file, or bytes in the value of its parent. */
type Root = { readonly page: number } | { readonly inline: Buffer };

export class BoltBucket {
  private readonly file: Buffer;
  private readonly pageSize: number;
  private readonly root: Root;
  private readonly what: string;

  constructor(file: Buffer, pageSize: number, root: Root, what: string) {
    this.file = file;
    this.pageSize = pageSize;
    this.root = root;
    this.what = what;
  }

  /** Buckets in this one, by name, in order. */
  *buckets(): Generator<readonly [name: Buffer, bucket: BoltBucket]> {
    for (const { key, value, isBucket } of this.elements()) if (isBucket) yield [key, this.child(value)];
  }

  /** The bucket of a name; undefined when there is none. */
  bucket(name: string): BoltBucket | undefined {
    const wanted = Buffer.from(name);
    for (const { key, value, isBucket } of this.elements())
      if (isBucket && key.equals(wanted)) return this.child(value);
    return undefined;
  }

  /** The value of a key; undefined when there is none. */
  value(name: string): Buffer | undefined {
    const wanted = Buffer.from(name);
    for (const { key, value, isBucket } of this.elements()) if (!isBucket && key.equals(wanted)) return value;
    return undefined;
  }

  private child(value: Buffer): BoltBucket {
    if (value.length < headerBytes) refuseField(this.what, 'a bucket that is cut short');
    const page = value.readBigUInt64LE(0);
    if (page > BigInt(this.file.length)) refuseField(this.what, 'a page behind the end');
    const root = page === 0n ? { inline: value.subarray(headerBytes) } : { page: Number(page) };
    return new BoltBucket(this.file, this.pageSize, root, this.what);
  }

  private *elements(): Generator<Element> {
    // Pages are in one tree: more visits than pages are a loop.
    const budget = { pages: Math.ceil(this.file.length / this.pageSize) + 1 };
    yield* this.walk('inline' in this.root ? this.root.inline : this.page(this.root.page), 0, budget);
  }

  private page(id: number): Buffer {
    const start = id * this.pageSize;
    if (start + headerBytes > this.file.length) refuseField(this.what, `page ${id} is behind the end`);
    const end = start + (this.file.readUInt32LE(start + 12) + 1) * this.pageSize;
    if (end > this.file.length) refuseField(this.what, `page ${id} ends behind the end`);
    return this.file.subarray(start, end);
  }

  private *walk(page: Buffer, depth: number, budget: { pages: number }): Generator<Element> {
    budget.pages -= 1;
    if (depth > maxDepth || budget.pages < 0) refuseField(this.what, 'pages that lead in a circle');
    if (page.length < headerBytes) refuseField(this.what, 'a page that is cut short');
    const flags = page.readUInt16LE(8);
    const count = page.readUInt16LE(10);
    if (headerBytes + count * elementBytes > page.length)
      refuseField(this.what, 'more elements than fit a page');
    for (let index = 0; index < count; index += 1) {
      const at = headerBytes + index * elementBytes;
      if (flags === flagLeaf) yield this.leaf(page, at);
      else if (flags === flagBranch) {
        const child = page.readBigUInt64LE(at + 8);
        if (child > BigInt(this.file.length)) refuseField(this.what, 'a page behind the end');
        yield* this.walk(this.page(Number(child)), depth + 1, budget);
      } else refuseField(this.what, `a page of kind ${flags} among keys`);
    }
  }

  private leaf(page: Buffer, at: number): Element {
    const key = at + page.readUInt32LE(at + 4);
    const value = key + page.readUInt32LE(at + 8);
    const end = value + page.readUInt32LE(at + 12);
    if (end > page.length) refuseField(this.what, 'a key or value that ends behind its page');
    return {
      isBucket: (page.readUInt32LE(at) & bucketFlag) !== 0,
      key: page.subarray(key, value),
      value: page.subarray(value, end),
    };
  }
}

interface Element {
  readonly isBucket: boolean;
  readonly key: Buffer;
  readonly value: Buffer;
}

/** The root of a file that is in memory. @throws ImgfsError `invalid-content`. */
export function openBolt(file: Buffer, what: string): BoltBucket {
  const { pageSize, root } = latestMeta(file, what);
  return new BoltBucket(file, pageSize, { page: root }, what);
}

/** A signed number as Go's `binary.PutVarint` writes it: zig-zag, seven bits in a byte. Undefined when it is none. */
export function readVarint(bytes: Uint8Array): number | undefined {
  let value = 0n;
  for (const [index, byte] of bytes.entries()) {
    if (index > 9) return undefined;
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte >= 0x80) continue;
    const signed = (value >> 1n) ^ -(value & 1n);
    return signed >= 0n && signed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(signed) : undefined;
  }
  return undefined;
}
