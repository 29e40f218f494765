/**
 * One entry of a table of contents as eStargz and zstd:chunked have it, checked field by field.
 *
 * Sources: stargz-snapshotter's docs/estargz.md and estargz/types.go (`TOCEntry`), containers/storage's
 * pkg/chunked/internal/minimal/compression.go (`FileMetadata`). Both are Go's JSON of a tar header: numbers that are
 * zero and texts that are empty are left out.
 */
import { nameFromText, type Name } from '../../oci/name.js';
import { clampNs } from '../../store/tar/pax.js';
import type { EntryKind } from '../tar/tar-entry.js';
import { foreignError } from './foreign-error.js';
import { parseTime } from './rfc3339.js';

/** `chunk`: more of the file before. */
export type TocKind = Exclude<EntryKind, 'other'> | 'chunk';

export interface TocEntry {
  readonly kind: TocKind;
  readonly name: Name;
  readonly linkName: Name;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<Name, Uint8Array>;
  /** Where the gzip member or zstd frame begins in the blob; 0: none. */
  readonly offset: number;
  /** One behind the frames of the whole file; 0: not said. */
  readonly endOffset: number;
  /** Decoded bytes between `offset` and the chunk. */
  readonly innerOffset: number;
  /** Offset of the chunk in its file. */
  readonly chunkOffset: number;
  /** 0: up to the end of the file. */
  readonly chunkSize: number;
  /** sha256 of the chunk's decoded bytes; undefined when it is not said. */
  readonly chunkDigest: Buffer | undefined;
  /** sha256 of the file; undefined when it is not said, or that of the chunk is. */
  readonly digest: Buffer | undefined;
}

const kinds: Readonly<Record<string, TocKind>> = {
  dir: 'directory',
  reg: 'file',
  symlink: 'symlink',
  hardlink: 'hardlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
  chunk: 'chunk',
};

const noXattrs: ReadonlyMap<Name, Uint8Array> = new Map();

type Fields = Readonly<Record<string, unknown>>;

function own(fields: Fields, key: string): unknown {
  return Object.hasOwn(fields, key) ? (fields[key] ?? undefined) : undefined;
}

/** A count: not negative, exactly representable. */
function count(fields: Fields, key: string): number {
  const value = own(fields, key) ?? 0;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw foreignError(`${key} is ${typeof value === 'number' ? value : 'no number'}`);
}

/** An id as Go's tar header has it: what does not fit into 32 bits is cut, as chown(2) would. */
function id(fields: Fields, key: string): number {
  const value = own(fields, key) ?? 0;
  if (typeof value === 'number' && Number.isSafeInteger(value)) {
    return value >= 0 && value < 2 ** 32 ? value : Number(BigInt.asUintN(32, BigInt(value)));
  }
  throw foreignError(`${key} is no whole number`);
}

/**
 * A name. JSON has text only: Go writes U+FFFD for bytes that are none, and which these were is lost.
 */
export function tocName(value: unknown, what: string): Name {
  if (value === undefined) return '' as Name;
  if (typeof value !== 'string') throw foreignError(`${what} is no text`);
  // oxlint-disable-next-line no-control-regex -- the ASCII range
  if (/^[\u0000-\u007f]*$/.test(value)) return value as Name;
  if (value.includes('\ufffd') || /\p{Surrogate}/u.test(value))
    throw foreignError(`${what} holds bytes that JSON cannot carry`);
  return nameFromText(value);
}

/** `sha256:` and 64 lower-case hex digits. */
export function tocDigest(value: unknown, what: string): Buffer | undefined {
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value))
    return Buffer.from(value.slice(7), 'hex');
  throw foreignError(`${what} is no sha256 digest`);
}

function xattrsOf(value: unknown): ReadonlyMap<Name, Uint8Array> {
  if (value === undefined) return noXattrs;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw foreignError('xattrs is no object');
  const entries = Object.entries(value);
  if (entries.length === 0) return noXattrs;
  return new Map(
    entries.map(([key, text]) => {
      const bytes = Buffer.from(typeof text === 'string' ? text : '', 'base64');
      // Buffer skips what it does not know.
      if (text !== null && bytes.toString('base64') !== text)
        throw foreignError('an extended attribute is not base64');
      return [tocName(key, 'an extended attribute'), bytes];
    }),
  );
}

function timeOf(value: unknown): bigint {
  if (value === undefined || value === '') return 0n;
  const time = typeof value === 'string' ? parseTime(value) : undefined;
  if (time === undefined) throw foreignError('modtime is no time');
  return clampNs(time);
}

/** Zeros are in the layer like everything else, and are known by the same digest. */
function checkChunkType(value: unknown): void {
  if (value !== undefined && value !== '' && value !== 'zeros') throw foreignError('chunkType is not known');
}

/** @throws ImgfsError `invalid-content`. */
export function parseTocEntry(value: unknown): TocEntry {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw foreignError('an entry is no object');
  const fields = value as Fields;
  const type = own(fields, 'type');
  const kind = typeof type === 'string' && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (kind === undefined) throw foreignError('the type of an entry is not known');
  const isDevice = kind === 'char' || kind === 'block';
  checkChunkType(own(fields, 'chunkType'));
  const chunkDigest = tocDigest(own(fields, 'chunkDigest'), 'chunkDigest');
  return {
    kind,
    name: tocName(own(fields, 'name'), 'a name'),
    linkName:
      kind === 'symlink' || kind === 'hardlink' ? tocName(own(fields, 'linkName'), 'a link') : ('' as Name),
    mode: id(fields, 'mode') & 0o7777,
    uid: id(fields, 'uid'),
    gid: id(fields, 'gid'),
    size: kind === 'file' ? count(fields, 'size') : 0,
    mtimeNs: timeOf(own(fields, 'modtime')),
    devMajor: isDevice ? id(fields, 'devMajor') : 0,
    devMinor: isDevice ? id(fields, 'devMinor') : 0,
    xattrs: xattrsOf(own(fields, 'xattrs')),
    offset: count(fields, 'offset'),
    endOffset: count(fields, 'endOffset'),
    innerOffset: count(fields, 'innerOffset'),
    chunkOffset: count(fields, 'chunkOffset'),
    chunkSize: count(fields, 'chunkSize'),
    chunkDigest,
    digest: chunkDigest === undefined ? tocDigest(own(fields, 'digest'), 'digest') : undefined,
  };
}
