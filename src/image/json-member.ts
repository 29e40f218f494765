/**
 * Where a member of a JSON object lies in its bytes: so that an SBOM can be served out of the statement that carries
 * it, byte for byte, without parsing a document of tens of megabytes on the JavaScript thread.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ByteRange, CallOptions } from '../store/store.js';
import { abortError } from '../errors/aborted.js';

/** 512 KiB take some 4 ms at 130 MB/s: below the 10 ms that nothing may block. */
const sliceBytes = 512 * 1024;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const open = new Set([0x7b, 0x5b]);
const close = new Set([0x7d, 0x5d]);
const space = new Set([0x20, 0x09, 0x0a, 0x0d]);

interface State {
  depth: number;
  inString: boolean;
  escaped: boolean;
  /** Where the string that may be a key began. */
  stringStart: number;
  /** True when the string just read, if any, is a key of the outermost object. */
  atKey: boolean;
  /** True while the value of the wanted member is passed. */
  inMember: boolean;
  start: number;
  readonly found: ByteRange[];
}

/**
 * The range of the value of member `key` of the outermost object; undefined when there is none, or more than one:
 * readers would disagree about which one counts. Expects well-formed JSON; of other bytes any range may come.
 */
export async function findJsonMember(
  bytes: Uint8Array,
  key: string,
  options: CallOptions = {},
): Promise<ByteRange | undefined> {
  const wanted = Buffer.from(JSON.stringify(key));
  const state: State = {
    depth: 0,
    inString: false,
    escaped: false,
    stringStart: 0,
    atKey: false,
    inMember: false,
    start: 0,
    found: [],
  };
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    if (at > 0) await nextTurn();
    if (options.signal?.aborted === true) throw abortError(options.signal);
    scan(bytes, at, Math.min(bytes.length, at + sliceBytes), wanted, state);
  }
  return state.found.length === 1 ? state.found[0] : undefined;
}

function scan(bytes: Uint8Array, from: number, to: number, wanted: Buffer, state: State): void {
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at] ?? 0;
    if (state.inString) {
      if (state.escaped) state.escaped = false;
      else if (byte === backslash) state.escaped = true;
      else if (byte === quote) state.inString = false;
      continue;
    }
    if (byte === quote) {
      state.inString = true;
      if (state.depth === 1 && state.atKey) state.stringStart = at;
    } else if (open.has(byte)) {
      state.depth += 1;
      if (state.depth === 1) state.atKey = true;
    } else if (close.has(byte)) {
      if (state.depth === 1) endMember(bytes, at, state);
      state.depth -= 1;
    } else if (state.depth === 1 && byte === comma) {
      endMember(bytes, at, state);
      state.atKey = true;
    } else if (state.depth === 1 && byte === colon && state.atKey) {
      state.atKey = false;
      const name = trim(bytes, state.stringStart, at);
      state.inMember = wanted.equals(bytes.subarray(name.start, name.end));
      state.start = at + 1;
    }
  }
}

function endMember(bytes: Uint8Array, at: number, state: State): void {
  if (state.inMember) state.found.push(trim(bytes, state.start, at));
  state.inMember = false;
}

function trim(bytes: Uint8Array, from: number, to: number): ByteRange {
  let [start, end] = [from, to];
  while (start < end && space.has(bytes[start] ?? 0)) start += 1;
  while (end > start && space.has(bytes[end - 1] ?? 0)) end -= 1;
  return { start, end };
}
