/** What most entries lack: link target, xattrs, device numbers, map of holes. Packed behind each other in a pool. */
import type { Name } from '../../oci/name.js';
import { littleEndian } from '../tar/entry-record.js';
import type { SparsePiece, TarEntry } from '../tar/tar-entry.js';
import type { BytePool } from './byte-pool.js';

export type EntryExtras = Pick<TarEntry, 'linkPath' | 'xattrs' | 'devMajor' | 'devMinor' | 'sparse'>;

const fixedBytes = 20;
const notSparse = 0xffff_ffff;

export const noExtras: EntryExtras = {
  linkPath: '' as Name,
  xattrs: new Map(),
  devMajor: 0,
  devMinor: 0,
  sparse: undefined,
};

export function needsExtras(entry: EntryExtras): boolean {
  return (
    entry.linkPath !== '' ||
    entry.xattrs.size > 0 ||
    entry.devMajor !== 0 ||
    entry.devMinor !== 0 ||
    entry.sparse !== undefined
  );
}

/** u32 link length, xattr count, sparse count, major, minor; link; xattrs (u32, u32, name, value); pieces (f64, f64). */
export function encodeExtras(entry: EntryExtras): Uint8Array {
  const pieces = entry.sparse ?? [];
  const xattrs = [...entry.xattrs];
  const xattrBytes = xattrs.reduce((sum, [name, value]) => sum + 8 + name.length + value.length, 0);
  const bytes = Buffer.alloc(fixedBytes + entry.linkPath.length + xattrBytes + pieces.length * 16);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields = [
    entry.linkPath.length,
    xattrs.length,
    entry.sparse === undefined ? notSparse : pieces.length,
    entry.devMajor,
    entry.devMinor,
  ];
  fields.forEach((value, index) => view.setUint32(index * 4, value, littleEndian));
  let at = fixedBytes + bytes.write(entry.linkPath, fixedBytes, 'latin1');
  for (const [name, value] of xattrs) {
    view.setUint32(at, name.length, littleEndian);
    view.setUint32(at + 4, value.length, littleEndian);
    at += 8 + bytes.write(name, at + 8, 'latin1');
    bytes.set(value, at);
    at += value.length;
  }
  for (const piece of pieces) {
    view.setFloat64(at, piece.offset, littleEndian);
    view.setFloat64(at + 8, piece.length, littleEndian);
    at += 16;
  }
  return bytes;
}

/** Inverse of `encodeExtras` for the bytes at `start` of the pool. */
export function decodeExtras(pool: BytePool, start: number): EntryExtras {
  const view = pool.view(start, pool.length - start);
  const field = (index: number): number => view.getUint32(index * 4, littleEndian);
  const name = (at: number, length: number): Name => pool.name(start + at, length) as Name;
  const linkPath = name(fixedBytes, field(0));
  let at = fixedBytes + linkPath.length;
  const xattrs = new Map<Name, Uint8Array>();
  for (let left = field(1); left > 0; left -= 1) {
    const nameLength = view.getUint32(at, littleEndian);
    const valueLength = view.getUint32(at + 4, littleEndian);
    const valueAt = at + 8 + nameLength;
    xattrs.set(
      name(at + 8, nameLength),
      new Uint8Array(view.buffer, view.byteOffset + valueAt, valueLength).slice(),
    );
    at = valueAt + valueLength;
  }
  const count = field(2);
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < (count === notSparse ? 0 : count); index += 1) {
    const offset = view.getFloat64(at + index * 16, littleEndian);
    pieces.push({ offset, length: view.getFloat64(at + index * 16 + 8, littleEndian) });
  }
  const sparse = count === notSparse ? undefined : pieces;
  return { linkPath, xattrs, devMajor: field(3), devMinor: field(4), sparse };
}
