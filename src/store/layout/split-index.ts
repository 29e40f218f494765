/**
 * A large index.json in pieces, so that parsing it does not hold up everything else: an image takes 10 µs of processor
 * time, 240 bytes of index, and `JSON.parse` takes them all in one go.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface SplitIndex {
  /** The document with an empty `manifests`. */
  readonly skeleton: Uint8Array;
  /** The text of each element of `manifests`, as bytes. */
  readonly elements: readonly Uint8Array[];
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;

/** Bytes looked at between two turns of the event loop: 1,000 images, a tenth of their parsing time. */
const sliceBytes = 256 * 1024;

/**
 * Cut out the elements of the top-level list `manifests`; undefined when there is none to be found. If the skeleton and
 * each element are valid JSON, so is the document, and the other way round: nothing is judged here.
 */
export async function splitIndex(bytes: Uint8Array): Promise<SplitIndex | undefined> {
  const elements: Uint8Array[] = [];
  let depth = 0;
  let listStart = -1;
  let elementStart = -1;
  let nextPause = sliceBytes;
  for (let at = 0; at < bytes.length; at += 1) {
    if (at >= nextPause) {
      await nextTurn();
      nextPause = at + sliceBytes;
    }
    const byte = bytes[at];
    if (byte === quote) {
      const end = stringEnd(bytes, at);
      if (end < 0) return undefined;
      if (depth === 1 && listStart < 0) listStart = listBehindKey(bytes, at, end);
      at = end;
    } else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (at === listStart) elementStart = at + 1;
    } else if (byte === 0x5d || byte === 0x7d) {
      depth -= 1;
      if (depth === 1 && elementStart >= 0) {
        const last = bytes.subarray(elementStart, at);
        if (elements.length > 0 || !isBlank(last)) elements.push(last);
        return { skeleton: Buffer.concat([bytes.subarray(0, listStart + 1), bytes.subarray(at)]), elements };
      }
    } else if (byte === comma && depth === 2 && elementStart >= 0) {
      elements.push(bytes.subarray(elementStart, at));
      elementStart = at + 1;
    }
  }
  return undefined;
}

/** Position of the `[` when the string from `start` to `end` is the key `manifests` of a list; -1 otherwise. */
function listBehindKey(bytes: Uint8Array, start: number, end: number): number {
  if (end - start > 10 || Buffer.from(bytes.subarray(start + 1, end)).toString('latin1') !== 'manifests')
    return -1;
  const colon = skipBlank(bytes, end + 1);
  if (bytes[colon] !== 0x3a) return -1;
  const list = skipBlank(bytes, colon + 1);
  return bytes[list] === 0x5b ? list : -1;
}

function skipBlank(bytes: Uint8Array, from: number): number {
  let at = from;
  while ([0x20, 0x09, 0x0a, 0x0d].includes(bytes[at] ?? 0)) at += 1;
  return at;
}

function isBlank(bytes: Uint8Array): boolean {
  return skipBlank(bytes, 0) >= bytes.length;
}

function stringEnd(bytes: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(quote, start + 1); at >= 0; at = bytes.indexOf(quote, at + 1)) {
    let before = at - 1;
    while (bytes[before] === backslash) before -= 1;
    if ((at - before) % 2 === 1) return at;
  }
  return -1;
}
