/**
 * JSON from strangers.
 *
 * `JSON.parse` takes 5 million nested arrays, lets the last of two equal keys win, and says nothing about either.
 * Two readers that disagree about one document are how CVE-2021-41190 works, so both are refused here, in one scan
 * over the text before it is parsed.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import { malformedHint } from './json-fields.js';

export interface JsonLimits {
  /** What the document is, for messages: `manifest`, `index.json`. */
  readonly what: string;
  readonly maxBytes: number;
  /** Default {@link maxJsonDepth}. */
  readonly maxDepth?: number;
}

/**
 * Containers in containers. The deepest path of the OCI schemas has 5 (`manifests[].platform["os.features"][]`);
 * 64 leaves room for extensions and keeps recursion over the result far from Node's limit of about 10,000 frames.
 */
export const maxJsonDepth = 64;

const quote = 0x22;
const backslash = 0x5c;

/**
 * Decode, check and parse a document.
 * @throws ImgfsError `too-large` over `maxBytes`; `invalid-content` when it is not UTF-8, not JSON, too deep, or has
 *   a key twice in one object.
 */
export function parseUntrustedJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  if (bytes.length > limits.maxBytes) {
    throw new ImgfsError(
      'too-large',
      `parse ${limits.what}: ${bytes.length} bytes, the limit is ${limits.maxBytes}`,
    );
  }
  const text = decodeUtf8(bytes, limits.what);
  const maxDepth = limits.maxDepth ?? maxJsonDepth;
  checkStructure(text, maxDepth, (why) => refuse(limits.what, why));
  try {
    return JSON.parse(text);
  } catch (cause) {
    return refuse(limits.what, cause instanceof Error ? cause.message : 'not JSON', cause);
  }
}

function refuse(what: string, why: string, cause?: unknown): never {
  throw new ImgfsError('invalid-content', `parse ${what}: ${why}`, {
    hint: malformedHint,
    ...(cause === undefined ? {} : { cause }),
  });
}

function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    return refuse(what, 'not UTF-8', cause);
  }
}

/** Keys seen in an open object; `undefined` before its first key, `null` for an array. */
type OpenContainer = Set<string> | undefined | null;

/** One pass: depth and duplicate keys. Anything else that is wrong is left for `JSON.parse` to find. */
function checkStructure(text: string, maxDepth: number, fail: (why: string) => never): void {
  const open: OpenContainer[] = [];
  let keyExpected = false;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case quote: {
        const end = stringEnd(text, at);
        if (end < 0) fail('a string does not end');
        if (keyExpected) rememberKey(open, text.slice(at, end + 1), fail);
        keyExpected = false;
        at = end;
        break;
      }
      case 0x7b: // {
      case 0x5b: // [
        keyExpected = text.charCodeAt(at) === 0x7b;
        open.push(keyExpected ? undefined : null);
        if (open.length > maxDepth) fail(`nested deeper than ${maxDepth}`);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        keyExpected = false;
        break;
      case 0x2c: // ,
        keyExpected = open.length > 0 && open.at(-1) !== null;
        break;
      default:
        break;
    }
  }
}

/** Index of the closing quote of the string that opens at `start`, or -1. */
function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let before = at - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    if ((at - before) % 2 === 1) return at;
  }
  return -1;
}

function rememberKey(open: OpenContainer[], quoted: string, fail: (why: string) => never): void {
  const key = quoted.includes('\\') ? unescapeKey(quoted) : quoted.slice(1, -1);
  const keys = open.at(-1) ?? new Set<string>();
  if (keys.has(key)) fail(`the key ${JSON.stringify(key.slice(0, 100))} is there twice`);
  keys.add(key);
  open[open.length - 1] = keys;
}

function unescapeKey(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted; // JSON.parse of the whole will say what is wrong.
  }
}
