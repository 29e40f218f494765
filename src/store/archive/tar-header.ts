/**
 * One 512-byte tar header (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
 *
 * Strict where two readers could disagree about where the next header is: that is how one archive becomes two.
 */
import { refuseField } from '../../oci/json-fields.js';

export const blockBytes = 512;

export interface TarHeader {
  /** Type flag; NUL reads as `0`. */
  readonly flag: string;
  /** Bytes as latin1: decoding is the caller's business. */
  readonly name: string;
  readonly linkname: string;
  readonly size: number;
}

/** Undefined for a block of zeros. @throws ImgfsError `invalid-content`, with `where` in the message. */
export function parseTarHeader(block: Buffer, where: string): TarHeader | undefined {
  if (isZeroBlock(block)) return undefined;
  checkSum(block, where);
  const flag = String.fromCharCode(block[156] || 0x30);
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(block, 345, 500) : '';
  const name = text(block, 0, 100);
  return {
    flag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkname: text(block, 157, 257),
    size: number(block, 124, 136, where),
  };
}

const zeros = Buffer.alloc(blockBytes);

export function isZeroBlock(block: Buffer): boolean {
  return block.equals(zeros);
}

function text(block: Buffer, start: number, end: number): string {
  const nul = block.indexOf(0, start);
  return block.toString('latin1', start, nul >= start && nul < end ? nul : end);
}

/** Octal digits, or base 256 when the first bit is set. */
function number(block: Buffer, start: number, end: number, where: string): number {
  const first = block[start] ?? 0;
  if ((first & 0x80) !== 0) {
    const value = BigInt(`0x${block.toString('hex', start + 1, end)}`);
    if (first === 0x80 && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    return refuseField(where, 'a size that is negative or too large');
  }
  const digits = text(block, start, end).trim();
  return /^[0-7]*$/.test(digits)
    ? Number.parseInt(digits || '0', 8)
    : refuseField(where, 'a size that is no number');
}

/** The sum of all bytes, the checksum itself read as spaces; some old writers added signed bytes. */
function checkSum(block: Buffer, where: string): void {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockBytes; at += 1) {
    const value = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += value;
    signed += value > 127 ? value - 256 : value;
  }
  const written = Number.parseInt(text(block, 148, 156).trim(), 8);
  if (written !== unsigned && written !== signed)
    refuseField(where, 'not a tar header: the checksum is wrong');
}

/** What pax records of an extended header say about the next member. */
export interface PaxFields {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
  /** The content is not stored as it is (`GNU.sparse.*`). */
  readonly sparse: boolean;
}

/** Parse `length key=value\n` records. @throws ImgfsError `invalid-content`. */
export function parsePax(bytes: Buffer, where: string): PaxFields {
  const fields = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space);
    const end = at + Number(digits);
    if (!/^[1-9][0-9]{0,8}$/.test(digits) || end > bytes.length || end <= space || bytes[end - 1] !== 0x0a) {
      refuseField(where, 'a malformed pax header');
    }
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) refuseField(where, 'a malformed pax header');
    fields.set(bytes.toString('latin1', space + 1, equals), bytes.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  const [path, linkpath, size] = ['path', 'linkpath', 'size'].map((key) => fields.get(key));
  if (size !== undefined && !(/^[0-9]{1,16}$/.test(size) && Number.isSafeInteger(Number(size)))) {
    refuseField(where, 'a pax size that is no number');
  }
  return {
    ...(path === undefined ? {} : { path }),
    ...(linkpath === undefined ? {} : { linkpath }),
    ...(size === undefined ? {} : { size: Number(size) }),
    sparse: [...fields.keys()].some((key) => key.startsWith('GNU.sparse.')),
  };
}
