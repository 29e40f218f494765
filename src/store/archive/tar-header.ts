/**
 * Tar headers of archives of images, out of the parser that reads layers too.
 *
 * Strict where two readers could disagree about where the next header is: that is how one archive becomes two.
 */
import { refuseField } from '../../oci/json-fields.js';
import type { Name } from '../../oci/name.js';
import { blockSize, isZeroBlock, parseHeaderBlock } from '../tar/header-block.js';
import { parseDecimal, safeCount } from '../tar/number-field.js';
import { parsePax } from '../tar/pax.js';

export { isZeroBlock };
export const blockBytes = blockSize;

export interface TarHeader {
  /** Type flag; NUL reads as `0`. */
  readonly flag: string;
  /** Bytes as latin1: decoding is the caller's business. */
  readonly name: Name;
  readonly linkname: Name;
  readonly size: number;
}

/** Undefined for a block of zeros. @throws ImgfsError `invalid-content`, with `where` in the message. */
export function parseTarHeader(block: Buffer, where: string): TarHeader | undefined {
  if (isZeroBlock(block)) return undefined;
  const header = parseHeaderBlock(block);
  if (typeof header === 'string') return refuseField(where, `not a tar header: ${header}`);
  const size = safeCount(header.size);
  if (size === undefined) refuseField(where, 'a size that is negative or too large');
  const flag = String.fromCharCode(header.typeFlag || 0x30);
  return { flag, name: header.path, linkname: header.linkPath, size };
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
export function paxFields(bytes: Buffer, where: string): PaxFields {
  const records = parsePax(bytes);
  if (records === undefined) return refuseField(where, 'a malformed pax header');
  const text = (key: string): string | undefined => {
    const value = records.get(key as Name);
    return value === undefined ? undefined : Buffer.from(value).toString('latin1');
  };
  const [path, linkpath, length] = [text('path'), text('linkpath'), text('size')];
  const size = length === undefined ? undefined : safeCount(parseDecimal(length));
  if (length !== undefined && size === undefined) refuseField(where, 'a pax size that is no number');
  return {
    ...(path === undefined ? {} : { path }),
    ...(linkpath === undefined ? {} : { linkpath }),
    ...(size === undefined ? {} : { size }),
    sparse: [...records.keys()].some((key) => key.startsWith('GNU.sparse.')),
  };
}
