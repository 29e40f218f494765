/** PAX extended headers (POSIX.1-2001 pax, "pax Extended Header"): records `<length> <key>=<value>\n`. */
import { nameFromBytes, type Name } from '../../oci/name.js';

/** Values by key, both as bytes. A key that comes twice has its last value. */
export type PaxRecords = ReadonlyMap<Name, Uint8Array>;

const sparseOffset = 'GNU.sparse.offset';
const sparseLength = 'GNU.sparse.numbytes';
export const sparseMapKey = 'GNU.sparse.map' as Name;

/** In these a NUL would cut the value short for readers written in C: such an archive means two things at once. */
const textKeys = new Set(['path', 'linkpath', 'uname', 'gname']);

const comma = 0x2c;
const newline = 0x0a;

interface Record {
  readonly key: Name;
  readonly value: Uint8Array;
  /** Where the next record begins. */
  readonly next: number;
}

function parseRecord(bytes: Uint8Array, start: number): Record | undefined {
  const space = bytes.indexOf(0x20, start);
  // 20 digits are more than any length needs: do not build a number from a megabyte of digits.
  if (space < 0 || space - start > 20) return undefined;
  const digits = nameFromBytes(bytes.subarray(start, space));
  if (!/^[0-9]+$/.test(digits)) return undefined;
  const next = start + Number(digits);
  // The shortest record is `5 a=\n`.
  if (next - start < 5 || next > bytes.length || next <= space + 1 || bytes[next - 1] !== newline)
    return undefined;
  const equals = bytes.indexOf(0x3d, space + 1);
  if (equals < 0 || equals >= next - 1 || equals === space + 1) return undefined;
  const key = nameFromBytes(bytes.subarray(space + 1, equals));
  const value = bytes.subarray(equals + 1, next - 1);
  if (textKeys.has(key) ? value.includes(0) : key.includes('\0')) return undefined;
  return { key, value, next };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length + 1, 0) - 1);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
    if (at < joined.length) joined[at] = comma;
    at += 1;
  }
  return joined;
}

/**
 * Parse the payload of an `x` header. Undefined when it is malformed. The repeated offset and length records of
 * sparse format 0.0 are gathered under `GNU.sparse.map`, as format 0.1 writes them.
 */
export function parsePax(bytes: Uint8Array): PaxRecords | undefined {
  const records = new Map<Name, Uint8Array>();
  const sparse: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const record = parseRecord(bytes, at);
    if (record === undefined) return undefined;
    at = record.next;
    if (record.key === sparseOffset || record.key === sparseLength) {
      const wanted = sparse.length % 2 === 0 ? sparseOffset : sparseLength;
      if (record.key !== wanted || record.value.includes(comma)) return undefined;
      sparse.push(record.value);
    } else {
      records.set(record.key, record.value);
    }
  }
  if (sparse.length > 0) records.set(sparseMapKey, join(sparse));
  return records;
}

const nsPerSecond = 1_000_000_000n;

/** `[-]seconds[.fraction]` in nanoseconds; digits behind the ninth are cut. Undefined when malformed. */
export function parsePaxTime(text: string): bigint | undefined {
  const match = /^(-?)([0-9]{1,18})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) return undefined;
  const fraction = (match[3] ?? '').slice(0, 9).padEnd(9, '0');
  const ns = BigInt(match[2] ?? '0') * nsPerSecond + BigInt(fraction);
  return match[1] === '-' ? -ns : ns;
}

/** Seconds as nanoseconds, kept within 64 bits: years 1677 to 2262. */
export function clampNs(ns: bigint): bigint {
  const max = (1n << 63n) - 1n;
  if (ns > max) return max;
  return ns < -max - 1n ? -max - 1n : ns;
}
