/**
 * The members of a tar file, by seeking from header to header: contents are not read. A 5 GB archive of 100 layers
 * costs 100 reads of 4 KiB.
 */
import { posix } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { refuseField } from '../../oci/json-fields.js';
import type { CallOptions } from '../store.js';
import {
  blockBytes,
  isZeroBlock,
  paxFields,
  parseTarHeader,
  type PaxFields,
  type TarHeader,
} from './tar-header.js';

/** Enough to tell a compression. */
export const headBytes = 6;

export interface TarMember {
  /** Without `./` in front and `/` at the end. */
  readonly name: string;
  readonly type: 'file' | 'symlink' | 'link' | 'other';
  /** Where the content begins in the file. */
  readonly offset: number;
  readonly size: number;
  /** Target of a link. */
  readonly linkname: string;
  /** First bytes of the content, where they were read along with the header; at most {@link headBytes}. */
  readonly head?: Buffer;
}

/** Reads at a position; short only at the end of the file. */
export type PositionedRead = (buffer: Buffer, position: number) => Promise<number>;

export interface ScanOptions extends CallOptions {
  /** For messages. */
  readonly path: string;
  readonly size: number;
}

/** Long names and pax records of one member: paths have at most 4096 bytes, xattrs may be longer. */
const maxExtensionBytes = 1024 * 1024;

/** 200,000 names of 100 bytes are 40 MB; archives of images have one member for each layer and config. */
const maxMembers = 200_000;

/** Headers of small members lie close together: one read gets several. */
const windowBytes = 4096;

/**
 * Every member, in order.
 * @throws ImgfsError `invalid-content` when the file is no tar, is cut short or ambiguous; `interrupted`.
 */
export async function scanTar(read: PositionedRead, options: ScanOptions): Promise<readonly TarMember[]> {
  const window = new ReadWindow(read, options);
  const members: TarMember[] = [];
  for (let at = 0; at < options.size;) {
    if (options.signal?.aborted === true) {
      throw new ImgfsError('interrupted', `scan ${options.path}: given up at byte ${at}`);
    }
    const next = await readMember(window, at, options);
    if (next === undefined) break;
    members.push(next.member);
    if (members.length > maxMembers) {
      throw new ImgfsError('too-large', `scan ${options.path}: more than ${maxMembers} members`);
    }
    at = next.end;
  }
  if (members.length === 0 && options.size === 0) refuseField(`scan ${options.path}`, 'the file is empty');
  return members;
}

class ReadWindow {
  private readonly read: PositionedRead;
  private readonly options: ScanOptions;
  private buffer = Buffer.alloc(0);
  private start = 0;

  constructor(read: PositionedRead, options: ScanOptions) {
    this.read = read;
    this.options = options;
  }

  /** A copy of these bytes, if they were read already. */
  seen(position: number, length: number): Buffer | undefined {
    const from = position - this.start;
    if (length === 0 || from < 0 || from + length > this.buffer.length) return undefined;
    return Buffer.from(this.buffer.subarray(from, from + length));
  }

  /** Exactly `length` bytes at `position`. @throws ImgfsError `invalid-content` at the end of the file. */
  async bytes(position: number, length: number): Promise<Buffer> {
    const { path, size } = this.options;
    if (position + length > size) {
      throw new ImgfsError('invalid-content', `scan ${path}: cut short at byte ${size}`, {
        path,
        hint: 'the archive is incomplete: copy or save it again',
      });
    }
    if (position < this.start || position + length > this.start + this.buffer.length) {
      const buffer = Buffer.alloc(Math.min(Math.max(windowBytes, length), size - position));
      const filled = await this.read(buffer, position);
      if (filled < length)
        throw new ImgfsError('stale', `scan ${path}: it shrank while it was read`, { path });
      this.buffer = buffer.subarray(0, filled);
      this.start = position;
    }
    return this.buffer.subarray(position - this.start, position - this.start + length);
  }
}

interface Found {
  readonly member: TarMember;
  readonly end: number;
}

/** The member at `at`, extension headers taken together; undefined at the end of the archive. */
async function readMember(window: ReadWindow, at: number, options: ScanOptions): Promise<Found | undefined> {
  let pax: PaxFields | undefined;
  let longName: string | undefined;
  let longLink: string | undefined;
  for (let position = at; ;) {
    const where = `scan ${options.path}: at byte ${position}`;
    const header = parseTarHeader(await window.bytes(position, blockBytes), where);
    if (header === undefined) {
      if (position !== at) refuseField(where, 'an extension header without a member');
      await checkEnd(window, position, options);
      return undefined;
    }
    const content = position + blockBytes;
    if (!'xgLK'.includes(header.flag)) {
      const found = makeMember(header, { pax, longName, longLink }, content, where, options);
      const head = window.seen(content, Math.min(headBytes, found.member.size));
      return head === undefined ? found : { ...found, member: { ...found.member, head } };
    }
    const bytes = await extension(window, header, content, where);
    if (header.flag === 'x') pax = paxFields(bytes, where);
    else if (header.flag === 'g') refuseGlobal(paxFields(bytes, where), where);
    else if (header.flag === 'L') longName = untilNul(bytes);
    else longLink = untilNul(bytes);
    position = content + padded(header.size);
    // A global header stands alone: git and others put one at the beginning.
    if (header.flag === 'g') at = position;
    if (position >= options.size) await window.bytes(position, blockBytes);
  }
}

async function extension(
  window: ReadWindow,
  { size }: TarHeader,
  at: number,
  where: string,
): Promise<Buffer> {
  if (size > maxExtensionBytes) refuseField(where, `an extension header of ${size} bytes`);
  // A copy: the window moves on.
  return Buffer.from(await window.bytes(at, size));
}

function untilNul(bytes: Buffer): string {
  const nul = bytes.indexOf(0);
  return bytes.toString('latin1', 0, nul < 0 ? bytes.length : nul);
}

function refuseGlobal(fields: PaxFields, where: string): void {
  if (fields.path !== undefined || fields.linkpath !== undefined || fields.size !== undefined) {
    refuseField(where, 'a global pax header that names or sizes every member');
  }
}

const padded = (size: number): number => Math.ceil(size / blockBytes) * blockBytes;

interface Extensions {
  readonly pax: PaxFields | undefined;
  readonly longName: string | undefined;
  readonly longLink: string | undefined;
}

function makeMember(
  header: TarHeader,
  { pax, longName, longLink }: Extensions,
  offset: number,
  where: string,
  { path, size: fileSize }: ScanOptions,
): Found {
  const size = memberSize(header, pax, where);
  const name = pax?.path ?? longName ?? header.name;
  const type = name.endsWith('/') || pax?.sparse === true ? 'other' : memberType(header.flag, where);
  if (size > 0 && '123456'.includes(header.flag)) refuseField(where, 'a link or directory with content');
  if (offset + size > fileSize) {
    throw new ImgfsError(
      'invalid-content',
      `scan ${path}: cut short: ${decodeName(name)} ends at byte ${offset + size}, the file at ${fileSize}`,
      { path, hint: 'the archive is incomplete: copy or save it again' },
    );
  }
  const linkname = decodeName(pax?.linkpath ?? longLink ?? header.linkname);
  return {
    member: { name: decodeName(name), type, offset, size, linkname },
    end: offset + padded(size),
  };
}

function memberSize(header: TarHeader, pax: PaxFields | undefined, where: string): number {
  if (pax?.size === undefined || pax.size === header.size) return header.size;
  // Writers leave 0 where the octal field is too small; any other pair sends two readers two ways (CVE-2025-62518).
  return header.size === 0 ? pax.size : refuseField(where, 'two sizes for one member');
}

function memberType(flag: string, where: string): TarMember['type'] {
  switch (flag) {
    case '0':
    case '7':
      return 'file';
    case '1':
      return 'link';
    case '2':
      return 'symlink';
    case 'S':
      return refuseField(where, 'a sparse member (GNU format)');
    default:
      return 'other';
  }
}

/** UTF-8 where it is, else latin1; `./` and slashes in front and behind removed. */
function decodeName(latin1: string): string {
  const bytes = Buffer.from(latin1, 'latin1');
  const utf8 = bytes.toString('utf8');
  const name = Buffer.from(utf8).equals(bytes) ? utf8 : latin1;
  return posix.normalize(name).replace(/^\.\//, '').replace(/\/$/, '');
}

/** Two blocks of zeros end an archive; umoci writes none, some write one. Zeros and then a header are two archives. */
async function checkEnd(window: ReadWindow, at: number, { path, size }: ScanOptions): Promise<void> {
  const next = at + blockBytes;
  if (next + blockBytes > size || isZeroBlock(await window.bytes(next, blockBytes))) return;
  refuseField(`scan ${path}: at byte ${next}`, 'content behind the end of the archive');
}
