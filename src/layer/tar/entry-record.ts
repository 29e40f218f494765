/**
 * An entry as bytes: what the native parser hands over, in the byte order of the machine. `native/src/tar/entry.cc`
 * writes the same, byte for byte.
 *
 *     0 u32 length of the record     24 f64 size            64 u32 path length
 *     4 u8  kind                     32 i64 mtime in ns      68 u32 link length
 *     5 u8  type flag                40 f64 header offset    72 u32 number of xattrs
 *     6 u16 mode                     48 f64 data offset      76 u32 number of sparse pieces, 2^32-1: not sparse
 *     8 u32 uid, gid, major, minor   56 f64 stored size      80 path, link, xattrs, pieces
 *
 * An xattr is u32 name length, u32 value length, name, value; a piece is f64 offset, f64 length.
 */
import { nameFromBytes, nameToBytes, type Name } from '../../oci/name.js';
import { entryKinds, type SparsePiece, type TarEntry } from './tar-entry.js';

/** Byte order of this machine, for DataView. */
export const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

const fixedBytes = 80;
const notSparse = 0xffff_ffff;

/** Encode one entry. */
export function encodeEntry(entry: TarEntry): Uint8Array {
  const xattrs = [...entry.xattrs].map(([name, value]) => [nameToBytes(name), value] as const);
  const xattrBytes = xattrs.reduce((sum, [name, value]) => sum + 8 + name.length + value.length, 0);
  const pieces = entry.sparse ?? [];
  const total = fixedBytes + entry.path.length + entry.linkPath.length + xattrBytes + pieces.length * 16;
  const bytes = Buffer.alloc(total);
  const view = new DataView(bytes.buffer, bytes.byteOffset, total);
  view.setUint32(0, total, littleEndian);
  view.setUint8(4, entryKinds.indexOf(entry.kind));
  view.setUint8(5, entry.typeFlag);
  view.setUint16(6, entry.mode, littleEndian);
  [entry.uid, entry.gid, entry.devMajor, entry.devMinor].forEach((value, index) =>
    view.setUint32(8 + index * 4, value, littleEndian),
  );
  view.setFloat64(24, entry.size, littleEndian);
  view.setBigInt64(32, entry.mtimeNs, littleEndian);
  view.setFloat64(40, entry.headerOffset, littleEndian);
  view.setFloat64(48, entry.dataOffset, littleEndian);
  view.setFloat64(56, entry.storedSize, littleEndian);
  const sparseCount = entry.sparse === undefined ? notSparse : pieces.length;
  [entry.path.length, entry.linkPath.length, xattrs.length, sparseCount].forEach((value, index) =>
    view.setUint32(64 + index * 4, value, littleEndian),
  );
  let at = fixedBytes;
  at += bytes.write(entry.path, at, 'latin1');
  at += bytes.write(entry.linkPath, at, 'latin1');
  for (const [name, value] of xattrs) {
    view.setUint32(at, name.length, littleEndian);
    view.setUint32(at + 4, value.length, littleEndian);
    bytes.set(name, at + 8);
    bytes.set(value, at + 8 + name.length);
    at += 8 + name.length + value.length;
  }
  for (const piece of pieces) {
    view.setFloat64(at, piece.offset, littleEndian);
    view.setFloat64(at + 8, piece.length, littleEndian);
    at += 16;
  }
  return bytes;
}

function decodeXattrs(view: DataView, start: number, count: number): [Map<Name, Uint8Array>, number] {
  const xattrs = new Map<Name, Uint8Array>();
  let at = start;
  for (let index = 0; index < count; index += 1) {
    const nameLength = view.getUint32(at, littleEndian);
    const valueLength = view.getUint32(at + 4, littleEndian);
    const nameAt = view.byteOffset + at + 8;
    const name = nameFromBytes(new Uint8Array(view.buffer, nameAt, nameLength));
    // Copied: the value outlives the batch it came in.
    xattrs.set(name, new Uint8Array(view.buffer, nameAt + nameLength, valueLength).slice());
    at += 8 + nameLength + valueLength;
  }
  return [xattrs, at];
}

function decodePieces(view: DataView, start: number, count: number): SparsePiece[] | undefined {
  if (count === notSparse) return undefined;
  return Array.from({ length: count }, (_, index) => ({
    offset: view.getFloat64(start + index * 16, littleEndian),
    length: view.getFloat64(start + index * 16 + 8, littleEndian),
  }));
}

/** Decode the record at `start`; `next` is where the one behind it begins. The bytes are our own parser's. */
export function decodeEntry(bytes: Uint8Array, start: number): { entry: TarEntry; next: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.byteLength - start);
  const pathLength = view.getUint32(64, littleEndian);
  const linkLength = view.getUint32(68, littleEndian);
  const text = (at: number, length: number): Name =>
    nameFromBytes(bytes.subarray(start + at, start + at + length));
  const [xattrs, piecesAt] = decodeXattrs(
    view,
    fixedBytes + pathLength + linkLength,
    view.getUint32(72, littleEndian),
  );
  const entry: TarEntry = {
    kind: entryKinds[view.getUint8(4)] ?? 'other',
    typeFlag: view.getUint8(5),
    path: text(fixedBytes, pathLength),
    linkPath: text(fixedBytes + pathLength, linkLength),
    mode: view.getUint16(6, littleEndian),
    uid: view.getUint32(8, littleEndian),
    gid: view.getUint32(12, littleEndian),
    size: view.getFloat64(24, littleEndian),
    mtimeNs: view.getBigInt64(32, littleEndian),
    devMajor: view.getUint32(16, littleEndian),
    devMinor: view.getUint32(20, littleEndian),
    headerOffset: view.getFloat64(40, littleEndian),
    dataOffset: view.getFloat64(48, littleEndian),
    storedSize: view.getFloat64(56, littleEndian),
    xattrs,
    sparse: decodePieces(view, piecesAt, view.getUint32(76, littleEndian)),
  };
  return { entry, next: start + view.getUint32(0, littleEndian) };
}
