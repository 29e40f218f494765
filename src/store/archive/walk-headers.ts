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

/** What came of one walk. */
export interface HeaderWalk {
  /** By offset, as `parseTarHeader` would read them: the addon's parser and its own are held equal by a test. */
  readonly headers: ReadonlyMap<number, WalkedHeader>;
  /**
   * Bytes that were read around small members and what is no header, in order, none overlapping another. The page with
   * the header of a large member is not among them.
   */
  readonly windows: readonly { readonly offset: number; readonly bytes: Buffer }[];
  /** Where the next header is; undefined when the archive ended, or what came is no header. */
  readonly next: number | undefined;
}

/** Reads the header at a position and those behind it. @throws ImgfsError `unavailable`. */
export type HeaderWalker = (at: number) => Promise<HeaderWalk>;

interface ArchiveAddon {
  walkHeaders(
    fd: number,
    at: number,
    size: number,
    budgetUs: number,
  ): Promise<{
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
  }>;
}

/**
 * Headers are judged while the next are read. A way through the pool takes 0.1 to 0.2 ms, judging 100 headers 0.3: shorter
 * walks would take more time than they save.
 */
const budgetUs = 10_000;

/** Undefined without the addon. The descriptor must stay open until every walk has settled. */
export function headerWalker(fd: number, size: number, path: string): HeaderWalker | undefined {
  const addon = loadAddon().addon as { readonly archive?: Partial<ArchiveAddon> } | undefined;
  const walkHeaders = addon?.archive?.walkHeaders?.bind(addon.archive);
  if (walkHeaders === undefined) return undefined;
  return async (at) => {
    const { headers, names, windows, bytes, next, error } = await walkHeaders(fd, at, size, budgetUs);
    if (error !== 0 && windows.length === 0) {
      throw new ImgfsError('unavailable', `scan ${path}: byte ${at} cannot be read (errno ${error})`, {
        path,
      });
    }
    const found: { offset: number; bytes: Buffer }[] = [];
    for (let index = 0, start = 0; index < windows.length; index += 2) {
      const [offset = 0, length = 0] = windows.subarray(index, index + 2);
      found.push({ offset, bytes: Buffer.from(bytes.buffer, start, length) });
      start += length;
    }
    return { headers: headersOf(headers, names), windows: found, next: next < 0 ? undefined : next };
  };
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
