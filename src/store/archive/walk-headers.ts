/**
 * Headers of an archive read by the addon: it jumps from one to the next in one piece of work on the thread pool, where
 * a read of its own for each header would cost a way through the pool and back (100 of them 5 ms on a machine that has
 * nothing else to do, 15 beside other work; the headers of an archive that lie in memory are read in 0.1 ms).
 */
import { loadAddon } from '../../addon/load-addon.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Name } from '../../oci/name.js';
import type { TarHeader } from './tar-header.js';

/** A header, and the first bytes of its content: 8, or all of them. */
export interface WalkedHeader extends TarHeader {
  readonly head: Buffer;
}

/** Bytes of an archive, and where they lie in it. */
export interface ArchiveBytes {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** A part of a walk. */
export interface HeaderWalk {
  /** By offset, as `parseTarHeader` would read them: the addon's parser and its own are held equal by a test. */
  readonly headers: ReadonlyMap<number, WalkedHeader>;
  /**
   * Bytes that were read around small members and what is no header, in order, none overlapping another. The page with
   * the header of a large member is not among them.
   */
  readonly windows: readonly ArchiveBytes[];
  /** Where the next header is; undefined when the archive ended, or what came is no header. */
  readonly next: number | undefined;
  /** The part from `next` on; undefined where nobody reads it yet. */
  readonly following: Promise<HeaderWalk> | undefined;
}

/** Reads headers ahead. The descriptor must stay open until it has settled. */
export interface HeaderWalker {
  /**
   * The header at a position and those behind it.
   * @throws ImgfsError `unavailable` when the file cannot be read there.
   */
  walk(at: number): Promise<HeaderWalk>;
  /** Nothing is being read any more. Never throws. */
  settle(): Promise<void>;
}

/** The first part of a walk from the beginning of a file that the addon has opened. */
export interface BegunWalk extends HeaderWalk {
  /** As `archiveIdentity` of the file; empty when it could not be opened. */
  readonly identity: string;
  /** As `identity`, of what had the path when the last part that has come was read; empty for nothing. */
  current(): string;
}

/** What the addon says of a part. */
interface WalkedPart {
  /** Five for each: offset, size, type flag, and how many of the eight bytes of the fifth are the head. */
  readonly headers: Float64Array;
  /** For each header path and link, as latin1, a NUL behind both. */
  readonly names: string;
  /** Pairs of offset and length. */
  readonly windows: Float64Array;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** -1: nothing follows. */
  readonly next: number;
  /** errno, or 0. */
  readonly error: number;
  /** With the first part of a walk from the beginning. */
  readonly endOffset: number;
  readonly endBytes: Uint8Array<ArrayBuffer>;
  readonly isLast: boolean;
  /** Of a walk over a path: what was opened, and what had the path when the part was read. */
  readonly identity: string;
  readonly current: string;
}

type WalkHeaders = (
  file: number | string,
  at: number,
  size: number,
  budgetUs: number,
  take: (part: WalkedPart) => void,
) => void;

/** A thread of the pool is kept for that long at a time; to go on then takes 0.1 to 0.2 ms. */
const budgetUs = 20_000;

function addonWalk(): WalkHeaders | undefined {
  const addon = loadAddon().addon as
    { readonly archive?: { readonly walkHeaders?: WalkHeaders } } | undefined;
  return addon?.archive?.walkHeaders;
}

/**
 * Open a file and walk over its headers, both by the addon; undefined without it. `onEnd` gets the end of an archive (64 KiB,
 * where it is longer than that) while its headers are still being read. A file that is none or cannot be read gives no
 * headers, and no error: who opens it in the ordinary way learns why.
 */
export function beginWalk(
  path: string,
  onEnd: (end: ArchiveBytes) => void = () => undefined,
): Promise<BegunWalk> | undefined {
  const walkHeaders = addonWalk();
  if (walkHeaders === undefined) return undefined;
  let [identity, current] = ['', ''];
  const { first } = takeParts(walkHeaders, { file: path, path, at: 0 }, (part) => {
    ({ identity, current } = part);
    if (part.endBytes.length > 0) onEnd({ offset: part.endOffset, bytes: Buffer.from(part.endBytes.buffer) });
  });
  return first.then(
    (walk) => ({ ...walk, identity, current: () => current }),
    () => ({ ...nothing, identity: '', current: () => '' }),
  );
}

const nothing: HeaderWalk = { headers: new Map(), windows: [], next: undefined, following: undefined };

/** A walker over an open file; undefined without the addon. */
export function headerWalker(fd: number, path: string): HeaderWalker | undefined {
  const walkHeaders = addonWalk();
  if (walkHeaders === undefined) return undefined;
  let running = Promise.resolve();
  return {
    walk(at) {
      const { first, done } = takeParts(walkHeaders, { file: fd, path, at });
      running = done;
      return first;
    },
    settle: () => running,
  };
}

interface Walked {
  readonly file: number | string;
  /** For messages. */
  readonly path: string;
  readonly at: number;
}

function takeParts(
  walkHeaders: WalkHeaders,
  { file, path, at }: Walked,
  look: (part: WalkedPart) => void = () => undefined,
): { readonly first: Promise<HeaderWalk>; readonly done: Promise<void> } {
  let part = promised<HeaderWalk>();
  const first = part.promise;
  const done = promised<void>();
  walkHeaders(file, at, 0, budgetUs, (walked) => {
    const { settle } = part;
    if (!walked.isLast) part = promised();
    const following = walked.isLast ? undefined : part.promise;
    settle(Promise.resolve(walked).then((found) => partOf(found, path, following)));
    look(walked);
    if (walked.isLast) done.settle();
  });
  return { first, done: done.promise };
}

function partOf(part: WalkedPart, path: string, following: Promise<HeaderWalk> | undefined): HeaderWalk {
  const { headers, names, windows, bytes, next, error } = part;
  if (error !== 0 && windows.length === 0) {
    throw new ImgfsError('unavailable', `scan ${path}: it cannot be read (errno ${error})`, { path });
  }
  const found: ArchiveBytes[] = [];
  for (let index = 0, start = 0; index < windows.length; index += 2) {
    const [offset = 0, length = 0] = [windows[index], windows[index + 1]];
    found.push({ offset, bytes: Buffer.from(bytes.buffer, start, length) });
    start += length;
  }
  return { headers: headersOf(headers, names), windows: found, next: next < 0 ? undefined : next, following };
}

/** A promise that is settled from outside; where it fails and nobody asks for it any more, it fails for nobody. */
function promised<Value>(): { promise: Promise<Value>; settle: (value: Value | Promise<Value>) => void } {
  let settle: (value: Value | Promise<Value>) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    settle = resolve;
  });
  promise.catch(() => undefined);
  return { promise, settle };
}

const fields = 5;
const headAt = 32;

function headersOf(records: Float64Array, names: string): ReadonlyMap<number, WalkedHeader> {
  const texts = names.split('\0');
  const bytes = Buffer.from(records.buffer, records.byteOffset, records.byteLength);
  const headers = new Map<number, WalkedHeader>();
  for (let at = 0, text = 0; at < records.length; at += fields, text += 2) {
    const name = (texts[text] ?? '') as Name;
    const linkname = (texts[text + 1] ?? '') as Name;
    const flag = String.fromCharCode(records[at + 2] || 0x30);
    const from = at * 8 + headAt;
    const head = bytes.subarray(from, from + (records[at + 3] ?? 0));
    headers.set(records[at] ?? 0, { flag, name, linkname, size: records[at + 1] ?? 0, head });
  }
  return headers;
}
