/**
 * The members of a tar file, by seeking from header to header: contents are not read, unless they are so short that
 * jumping over them would take longer. A 5 GB archive of 100 layers costs 100 reads of a page.
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
import { SeenBytes } from './seen-bytes.js';
import type { HeaderWalk, HeaderWalker, WalkedHeader } from './walk-headers.js';

/** Enough to tell a compression; the addon gives 8. */
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
  /** Reads headers ahead; without it each is read by itself. */
  readonly walker?: HeaderWalker;
  /** What it reads ahead from the beginning on, where that is under way. */
  readonly begun?: HeaderWalk;
  /** Takes what was read. */
  readonly seen?: SeenBytes;
  /** Gets each member as it is found. */
  readonly onMember?: (member: TarMember) => void;
  /** Called when nothing is left to judge until the disk has given more: time for other work. */
  readonly onWait?: () => void;
}

/** Long names and pax records of one member: paths have at most 4096 bytes, xattrs may be longer. */
const maxExtensionBytes = 1024 * 1024;

/** 200,000 names of 100 bytes are 40 MB; archives of images have one member for each layer and config. */
const maxMembers = 200_000;

/** What lies closer is read along, and each such read is twice as long as the one before (native/src/tar/header-walk.cc). */
const nearBytes = 32 * 1024;
const shortestRead = 4096;
const longestRead = 128 * 1024;

/**
 * Every member, in order.
 * @throws ImgfsError `invalid-content` when the file is no tar, is cut short or ambiguous; `interrupted`.
 */
export async function scanTar(read: PositionedRead, options: ScanOptions): Promise<readonly TarMember[]> {
  const window = new ReadWindow(read, options);
  try {
    return await scanMembers(window, options);
  } finally {
    await window.settle();
  }
}

async function scanMembers(window: ReadWindow, options: ScanOptions): Promise<readonly TarMember[]> {
  const members: TarMember[] = [];
  for (let at = 0; at < options.size;) {
    if (options.signal?.aborted === true) {
      throw new ImgfsError('interrupted', `scan ${options.path}: given up at byte ${at}`);
    }
    const next =
      plainMember(window.headerAt(at), at, options.size) ?? (await readMember(window, at, options));
    if (next === undefined) break;
    members.push(next.member);
    options.onMember?.(next.member);
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
  private readonly seenBytes: SeenBytes;
  /** Where the last read ended, and how long the next will be if it goes on there. */
  private readEnd = 0;
  private readBytes = shortestRead;
  /** Those of the last walk. */
  private headers: ReadonlyMap<number, WalkedHeader> = new Map();
  /** The walk that was begun while the headers before it are judged. */
  private ahead: { readonly at: number; readonly walk: Promise<HeaderWalk> } | undefined;

  constructor(read: PositionedRead, options: ScanOptions) {
    this.read = read;
    this.options = options;
    this.seenBytes = options.seen ?? new SeenBytes();
    this.ahead = options.begun === undefined ? undefined : { at: 0, walk: Promise.resolve(options.begun) };
  }

  /** Nothing is being read any more. */
  async settle(): Promise<void> {
    await this.options.walker?.settle();
  }

  /** A copy of these bytes, if they were read already. */
  seen(position: number, length: number): Buffer | undefined {
    const bytes = length === 0 ? undefined : this.seenBytes.find(position, length);
    return bytes === undefined ? undefined : Buffer.from(bytes);
  }

  /** The header at `position`, if the walk has come by. */
  headerAt(position: number): WalkedHeader | undefined {
    return this.headers.get(position);
  }

  /** The header at `position`; undefined for zeros. @throws ImgfsError `invalid-content` for what is none. */
  async header(position: number, where: string): Promise<TarHeader | undefined> {
    await this.walkTo(position);
    return this.headers.get(position) ?? parseTarHeader(await this.bytes(position, blockBytes), where);
  }

  /** Exactly `length` bytes at `position`. @throws ImgfsError `invalid-content` at the end of the file. */
  bytes(position: number, length: number): Buffer | Promise<Buffer> {
    const { path, size } = this.options;
    if (position + length > size) {
      throw new ImgfsError('invalid-content', `scan ${path}: cut short at byte ${size}`, {
        path,
        hint: 'the archive is incomplete: copy or save it again',
      });
    }
    return this.seenBytes.find(position, length) ?? this.load(position, length);
  }

  private async load(position: number, length: number): Promise<Buffer> {
    const { path, size } = this.options;
    const isNear = position >= this.readEnd && position < this.readEnd + nearBytes && this.readEnd > 0;
    this.readBytes = isNear ? Math.min(this.readBytes * 2, longestRead) : shortestRead;
    const buffer = Buffer.alloc(Math.min(Math.max(this.readBytes, length), size - position));
    const filled = await this.read(buffer, position);
    if (filled < length) throw new ImgfsError('stale', `scan ${path}: it shrank while it was read`, { path });
    this.readEnd = position + filled;
    this.seenBytes.add(position, buffer.subarray(0, filled));
    return buffer.subarray(0, length);
  }

  /** Take the headers from `position` on, where somebody reads ahead. */
  private async walkTo(position: number): Promise<void> {
    const { walker } = this.options;
    if (walker === undefined || this.seenBytes.find(position, blockBytes) !== undefined) return;
    const { ahead } = this;
    if (ahead !== undefined && ahead.at !== position) await walker.settle();
    this.options.onWait?.();
    const { headers, windows, next, following } = await (ahead?.at === position
      ? ahead.walk
      : walker.walk(position));
    this.ahead = next === undefined ? undefined : { at: next, walk: following ?? begin(walker, next) };
    this.headers = headers;
    for (const { offset, bytes } of windows) this.seenBytes.add(offset, bytes);
  }
}

/** A failure is thrown when its turn comes. */
function begin(walker: HeaderWalker, at: number): Promise<HeaderWalk> {
  const walk = walker.walk(at);
  walk.catch(() => undefined);
  return walk;
}

interface Found {
  readonly member: TarMember;
  readonly end: number;
}

/**
 * The member of a header that needs nothing else to be judged, which is nearly every one: a file with an ordinary name and no
 * extension header before it. Undefined for all others.
 */
function plainMember(header: WalkedHeader | undefined, at: number, fileSize: number): Found | undefined {
  if (header?.flag !== '0' || header.linkname !== '' || !plainName.test(header.name)) {
    return undefined;
  }
  const { name, size, head } = header;
  const offset = at + blockBytes;
  if (offset + size > fileSize || head.length < Math.min(headBytes, size)) return undefined;
  return {
    member: { name, type: 'file', offset, size, linkname: decodeName(''), head },
    end: offset + padded(size),
  };
}

/** The member at `at`, extension headers taken together; undefined at the end of the archive. */
async function readMember(window: ReadWindow, at: number, options: ScanOptions): Promise<Found | undefined> {
  let pax: PaxFields | undefined;
  let longName: string | undefined;
  let longLink: string | undefined;
  for (let position = at; ;) {
    const where = `scan ${options.path}: at byte ${position}`;
    const header = window.headerAt(position) ?? (await window.header(position, where));
    if (header === undefined) {
      if (position !== at) refuseField(where, 'an extension header without a member');
      await checkEnd(window, position, options);
      return undefined;
    }
    const content = position + blockBytes;
    if (!'xgLK'.includes(header.flag)) {
      const found = makeMember(header, { pax, longName, longLink }, content, where, options);
      const length = Math.min(headBytes, found.member.size);
      const walked = window.headerAt(position)?.head;
      const head = walked !== undefined && walked.length >= length ? walked : window.seen(content, length);
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

/** Names that stay as they are: no byte that is not ASCII, no part that is empty, `.` or `..`. */
const plainName = /^(?:[\w@+,=-][\w.@+,=-]*)(?:\/[\w@+,=-][\w.@+,=-]*)*$/;

/** UTF-8 where it is, else latin1; `./` and slashes in front and behind removed. */
function decodeName(latin1: string): string {
  if (latin1 === '') return '.';
  if (plainName.test(latin1)) return latin1;
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
