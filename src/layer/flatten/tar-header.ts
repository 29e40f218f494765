/**
 * Headers of a flattened archive, encoded at once and always alike: POSIX ustar, with pax records (POSIX.1-2001) for
 * what does not fit. Made on demand for any entry, so there is no stream here as tar-stream has it.
 */
import type { Name } from '../../oci/name.js';
import type { NodeAttributes } from '../merge/merged-tree.js';

export const blockBytes = 512;

/** One entry of the archive. Names are bytes (latin1). */
export interface FlatEntry {
  /** Path in the archive; of directories with a slash at the end. */
  readonly path: Name;
  readonly attributes: NodeAttributes;
  /** Target of a symbolic link, or path of the file that a hard link names. */
  readonly link: Name;
  readonly isHardLink: boolean;
  readonly xattrs: ReadonlyMap<Name, Uint8Array>;
}

const maxNameField = 100;
/** Up to the end of the device numbers; the rest of the block is zeros. */
const usedBytes = 345;
/** Largest number in a field of eight and of twelve octal digits. */
const maxId = 0o7777777;
const maxSize = 0o77777777777;
const nsPerSecond = 1_000_000_000n;
const maxPlainTimeNs = BigInt(maxSize) * nsPerSecond;

/** Whole blocks that `bytes` take. */
export function padded(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

/** Bytes of content behind the header. */
export function contentBytes({ attributes, isHardLink }: FlatEntry): number {
  return attributes.kind === 'file' && !isHardLink ? attributes.size : 0;
}

/** What decides how long a header is, without the names themselves. */
export interface HeaderShape {
  readonly pathLength: number;
  readonly linkLength: number;
  readonly attributes: NodeAttributes;
  readonly hasXattrs: boolean;
}

/** True when one block holds all of an entry: then its header is 512 bytes, and need not be made to know that. */
export function fitsUstar({ pathLength, linkLength, attributes, hasXattrs }: HeaderShape): boolean {
  const { uid, gid, size, mtimeNs } = attributes;
  return (
    !hasXattrs &&
    pathLength <= maxNameField &&
    linkLength <= maxNameField &&
    uid <= maxId &&
    gid <= maxId &&
    size <= maxSize &&
    isPlainTime(mtimeNs)
  );
}

/** Whole seconds that eleven octal digits hold. */
function isPlainTime(mtimeNs: bigint): boolean {
  return mtimeNs >= 0n && mtimeNs % nsPerSecond === 0n && mtimeNs <= maxPlainTimeNs;
}

/** Header blocks of an entry; a multiple of 512 bytes. */
export function flatHeader(entry: FlatEntry): Buffer {
  const records = paxRecords(entry);
  if (records.length === 0) return ustarBlock(entry);
  const pax = Buffer.alloc(blockBytes + padded(records.length));
  paxBlock(entry.path, records.length).copy(pax);
  records.copy(pax, blockBytes);
  return Buffer.concat([pax, ustarBlock(entry)]);
}

function paxRecords(entry: FlatEntry): Buffer {
  const { path, link, attributes, xattrs } = entry;
  const { uid, gid, mtimeNs } = attributes;
  const records: string[] = [];
  const add = (key: string, value: string): void => void records.push(paxRecord(key, value));
  if (path.length > maxNameField) add('path', path);
  if (link.length > maxNameField) add('linkpath', link);
  if (contentBytes(entry) > maxSize) add('size', String(contentBytes(entry)));
  if (uid > maxId) add('uid', String(uid));
  if (gid > maxId) add('gid', String(gid));
  if (!isPlainTime(mtimeNs)) add('mtime', decimalSeconds(mtimeNs));
  if (!entry.isHardLink)
    for (const [name, value] of xattrs) add(`SCHILY.xattr.${name}`, Buffer.from(value).toString('latin1'));
  return Buffer.from(records.join(''), 'latin1');
}

/** `<length> <key>=<value>\n`, the length counting itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/** Seconds with a fraction, as pax wants them; negative ones round towards the past in the header. */
function decimalSeconds(ns: bigint): string {
  const sign = ns < 0n ? '-' : '';
  const size = ns < 0n ? -ns : ns;
  const fraction = String(size % nsPerSecond)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${sign}${size / nsPerSecond}${fraction === '' ? '' : `.${fraction}`}`;
}

const typeFlags = {
  file: '0',
  directory: '5',
  symlink: '2',
  char: '3',
  block: '4',
  fifo: '6',
} as const;

function ustarBlock(entry: FlatEntry): Buffer {
  const { path, link, attributes, isHardLink } = entry;
  const { mode, uid, gid, mtimeNs, devMajor, devMinor, kind } = attributes;
  const size = contentBytes(entry);
  const seconds = mtimeNs < 0n ? 0n : mtimeNs / nsPerSecond;
  return headerBlock({
    name: path.slice(0, maxNameField),
    mode,
    uid: Math.min(uid, maxId),
    gid: Math.min(gid, maxId),
    size: size > maxSize ? 0 : size,
    mtime: seconds > BigInt(maxSize) ? 0 : Number(seconds),
    type: isHardLink ? '1' : typeFlags[kind],
    link: link.slice(0, maxNameField),
    devMajor,
    devMinor,
  });
}

function paxBlock(path: Name, size: number): Buffer {
  return headerBlock({
    name: `PaxHeaders/${path.split('/').findLast((part) => part !== '') ?? ''}`.slice(0, maxNameField),
    mode: 0o644,
    uid: 0,
    gid: 0,
    size,
    mtime: 0,
    type: 'x',
    link: '',
    devMajor: 0,
    devMinor: 0,
  });
}

interface HeaderFields {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly type: string;
  readonly link: string;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** One block (POSIX.1-1988 ustar). */
function headerBlock(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number): void =>
    void block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  block.write(fields.name, 0, 'latin1');
  octal(fields.mode, 100, 7);
  octal(fields.uid, 108, 7);
  octal(fields.gid, 116, 7);
  octal(fields.size, 124, 11);
  octal(fields.mtime, 136, 11);
  block.write('        ', 148, 'latin1');
  block.write(fields.type, 156, 'latin1');
  block.write(fields.link, 157, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  octal(fields.devMajor & maxId, 329, 7);
  octal(fields.devMinor & maxId, 337, 7);
  let sum = 0;
  for (let at = 0; at < usedBytes; at += 1) sum += block[at] ?? 0;
  block.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  return block;
}
