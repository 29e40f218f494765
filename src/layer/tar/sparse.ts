/** Maps of sparse files: GNU's old format in header blocks, and formats 0.0, 0.1 and 1.0 through PAX. */
import { nameFromBytes, type Name } from '../../oci/name.js';
import { parseNumber, parseDecimal, safeCount } from '../../store/tar/number-field.js';
import { sparseMapKey, type PaxRecords } from '../../store/tar/pax.js';
import type { SparsePiece } from './tar-entry.js';

/** More pieces than this are refused: 2^20 pieces are 16 MiB of map for one file. */
export const maxSparsePieces = 1 << 20;

/**
 * Pairs of 12-byte numbers in a header block from `start`, `count` at most; an empty offset field ends the list.
 * Undefined when a number is malformed.
 */
export function readOldPieces(block: Uint8Array, start: number, count: number): SparsePiece[] | undefined {
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < count; index += 1) {
    const at = start + index * 24;
    if (block[at] === 0) break;
    const offset = safeCount(parseNumber(block.subarray(at, at + 12)));
    const length = safeCount(parseNumber(block.subarray(at + 12, at + 24)));
    if (offset === undefined || length === undefined) return undefined;
    pieces.push({ offset, length });
  }
  return pieces;
}

/** What PAX records say about a sparse file; `map` is undefined when the map lies before the data (1.0). */
export interface PaxSparse {
  readonly name: Name | undefined;
  readonly size: number | undefined;
  readonly map: readonly SparsePiece[] | undefined;
}

function text(records: PaxRecords, key: string): string {
  const value = records.get(key as Name);
  return value === undefined ? '' : nameFromBytes(value);
}

function parseMap(records: PaxRecords): readonly SparsePiece[] | undefined {
  const map = text(records, sparseMapKey);
  const numbers = map === '' ? [] : map.split(',');
  const count = safeCount(parseDecimal(text(records, 'GNU.sparse.numblocks')));
  if (count === undefined || numbers.length !== count * 2 || count > maxSparsePieces) return undefined;
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    const offset = safeCount(parseDecimal(numbers[index] ?? ''));
    const length = safeCount(parseDecimal(numbers[index + 1] ?? ''));
    if (offset === undefined || length === undefined) return undefined;
    pieces.push({ offset, length });
  }
  return pieces;
}

/** Undefined: not sparse (or of an unknown version, read as stored). A string is the reason it is malformed. */
export function readPaxSparse(records: PaxRecords): PaxSparse | string | undefined {
  const version = `${text(records, 'GNU.sparse.major')}.${text(records, 'GNU.sparse.minor')}`;
  const isOld =
    version === '0.0' || version === '0.1' || (version === '.' && text(records, sparseMapKey) !== '');
  if (!isOld && version !== '1.0') return undefined;
  const sizeText = text(records, 'GNU.sparse.size') || text(records, 'GNU.sparse.realsize');
  const size = sizeText === '' ? undefined : safeCount(parseDecimal(sizeText));
  if (sizeText !== '' && size === undefined) return 'sparse file has a malformed size';
  const map = isOld ? parseMap(records) : undefined;
  if (isOld && map === undefined) return 'sparse map is malformed';
  const name = text(records, 'GNU.sparse.name') as Name;
  return { name: name === '' ? undefined : name, size, map };
}

/** Sorted, disjoint, inside the file, and exactly as long as what is stored. */
export function isValidMap(pieces: readonly SparsePiece[], size: number, storedSize: number): boolean {
  let end = 0;
  let stored = 0;
  for (const piece of pieces) {
    // Both are below 2^53, so their sum is exact enough to be compared.
    if (piece.offset < end || piece.offset + piece.length > size) return false;
    end = piece.offset + piece.length;
    stored += piece.length;
  }
  return stored === storedSize;
}

/** Reads the map of format 1.0: decimal lines in whole blocks before the data. */
export class SparseMapReader {
  readonly pieces: SparsePiece[] = [];
  private expected: number | undefined;
  private pendingOffset: number | undefined;
  private digits = '';

  /** Take one block. `done`: the map is complete, the rest of the block is padding. */
  push(block: Uint8Array): 'more' | 'done' | 'malformed' {
    for (const byte of block) {
      if (byte !== 0x0a) {
        if (byte < 0x30 || byte > 0x39 || this.digits.length > 18) return 'malformed';
        this.digits += String.fromCharCode(byte);
        continue;
      }
      const number = safeCount(parseDecimal(this.digits));
      if (number === undefined) return 'malformed';
      this.digits = '';
      if (!this.take(number)) return 'malformed';
      if (this.isComplete()) return 'done';
    }
    return 'more';
  }

  private take(number: number): boolean {
    if (this.expected === undefined) {
      this.expected = number;
      return number <= maxSparsePieces;
    }
    if (this.pendingOffset === undefined) {
      this.pendingOffset = number;
    } else {
      this.pieces.push({ offset: this.pendingOffset, length: number });
      this.pendingOffset = undefined;
    }
    return true;
  }

  private isComplete(): boolean {
    return this.pieces.length === this.expected;
  }
}
