/** One 512-byte header block (POSIX.1-1988 ustar, GNU tar, star, and the unnamed form of Unix V7). */
import { nameFromBytes, type Name } from '../../oci/name.js';
import { parseNumber, parseOctal } from './number-field.js';

/** Archives are made of blocks of this many bytes. */
export const blockSize = 512;

export type HeaderFormat = 'v7' | 'ustar' | 'star' | 'gnu';

export interface HeaderBlock {
  readonly format: HeaderFormat;
  readonly typeFlag: number;
  readonly path: Name;
  readonly linkPath: Name;
  /** Numbers as written; ranges are the caller's business. */
  readonly mode: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly size: bigint;
  /** Whole seconds since the epoch. */
  readonly mtime: bigint;
  readonly devMajor: bigint;
  readonly devMinor: bigint;
}

/** True when all bytes are zero: the end-of-archive mark. */
export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Bytes of a text field up to the first NUL. */
export function textField(block: Uint8Array, start: number, length: number): Name {
  const field = block.subarray(start, start + length);
  const end = field.indexOf(0);
  return nameFromBytes(end < 0 ? field : field.subarray(0, end));
}

/** Both sums are in use: of unsigned bytes (POSIX), and of signed ones (old Unix). */
function checksumMatches(block: Uint8Array): boolean {
  const written = parseOctal(block.subarray(148, 156));
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockSize; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    signed += byte > 0x7f ? byte - 0x100 : byte;
  }
  return written === unsigned || written === signed;
}

function formatOf(block: Uint8Array): HeaderFormat {
  const magic = nameFromBytes(block.subarray(257, 265));
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return nameFromBytes(block.subarray(508, 512)) === 'tar\0' ? 'star' : 'ustar';
}

/**
 * The leading part of the path. GNU has other things in its place, but writers of Go before 1.8 put one there all
 * the same: then the times that belong there are not numbers (Go does the same to read them).
 */
function prefixOf(block: Uint8Array, format: HeaderFormat): Name {
  if (format === 'ustar') return textField(block, 345, 155);
  if (format === 'star') return textField(block, 345, 131);
  if (format === 'v7') return '' as Name;
  const times = [block.subarray(345, 357), block.subarray(357, 369)];
  if (times.every((field) => field[0] === 0 || parseNumber(field) !== undefined)) return '' as Name;
  const prefix = textField(block, 345, 155);
  // oxlint-disable-next-line no-control-regex -- the ASCII range
  return /^[\u0000-\u007f]*$/.test(prefix) ? prefix : ('' as Name);
}

/** Read a header. Returns the reason, as text, when it is not one. */
export function parseHeaderBlock(block: Uint8Array): HeaderBlock | string {
  if (!checksumMatches(block)) return 'header checksum does not match';
  const format = formatOf(block);
  const hasDevice = format !== 'v7';
  const numbers = [
    parseNumber(block.subarray(100, 108)),
    parseNumber(block.subarray(108, 116)),
    parseNumber(block.subarray(116, 124)),
    parseNumber(block.subarray(124, 136)),
    parseNumber(block.subarray(136, 148)),
    hasDevice ? parseNumber(block.subarray(329, 337)) : 0n,
    hasDevice ? parseNumber(block.subarray(337, 345)) : 0n,
  ];
  const [mode, uid, gid, size, mtime, devMajor, devMinor] = numbers;
  if (
    mode === undefined ||
    uid === undefined ||
    gid === undefined ||
    size === undefined ||
    mtime === undefined ||
    devMajor === undefined ||
    devMinor === undefined
  ) {
    return 'header holds a malformed number';
  }
  const base = textField(block, 0, 100);
  const prefix = prefixOf(block, format);
  return {
    format,
    typeFlag: block[156] ?? 0,
    path: (prefix === '' ? base : `${prefix}/${base}`) as Name,
    linkPath: textField(block, 157, 100),
    mode,
    uid,
    gid,
    size,
    mtime,
    devMajor,
    devMinor,
  };
}
