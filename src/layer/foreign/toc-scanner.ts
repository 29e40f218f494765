/**
 * Takes the JSON of a table of contents apart while it comes: one entry at a time is parsed, so that a table of
 * 100 MB needs no 100 MB of memory, and holds nothing up.
 */
import { foreignError } from './foreign-error.js';

/** One entry: its name, its link and its extended attributes, which Linux bounds to 64 KiB each. */
const maxEntryBytes = 1 << 20;
/** Everything that is no entry: a version and a digest. */
const maxRestBytes = 64 << 10;
/** Real tables have objects in an array in an object, and xattrs in there. */
const maxDepth = 16;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
/** 1 for bytes that mean something outside strings: a tenth of a table. */
const marks = new Uint8Array(256);
for (const byte of [quote, openBrace, closeBrace, openBracket, closeBracket]) marks[byte] = 1;
/** Depth of the array of entries: the document is an object. */
const arrayDepth = 2;

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

export class TocScanner {
  private readonly onEntry: (value: unknown) => void;
  private depth = 0;
  private inString = false;
  private escaped = false;
  /** Inside the array of entries. */
  private inEntries = false;
  private hadEntries = false;
  /** What may come between two entries. */
  private expects: 'entry' | 'entryOrEnd' | 'commaOrEnd' = 'entryOrEnd';
  /** Parts of the entry under way, and of what is no entry. */
  private parts: Buffer[] = [];
  private partBytes = 0;
  private rest = '';

  /** `onEntry` gets each entry as soon as it is whole. */
  constructor(onEntry: (value: unknown) => void) {
    this.onEntry = onEntry;
  }

  /** @throws ImgfsError `invalid-content`, and what `onEntry` throws. */
  push(bytes: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      if (this.inString) {
        at = this.endOfString(bytes, at);
        continue;
      }
      if (this.inEntries && this.depth === arrayDepth) {
        const byte = bytes[at] ?? 0;
        this.between(byte);
        start = byte === openBrace ? at : at + 1;
        continue;
      }
      while (at < bytes.length && marks[bytes[at] ?? 0] === 0) at += 1;
      if (at < bytes.length) start = this.mark(bytes, start, at);
    }
    this.keep(bytes.subarray(start));
  }

  /** Go through a string from `from` on; returns where it or the piece ends. */
  private endOfString(bytes: Uint8Array, from: number): number {
    let at = from;
    if (this.escaped) {
      this.escaped = false;
      at += 1;
    }
    for (; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (byte === quote) {
        this.inString = false;
        return at;
      }
      if (byte === backslash) at += 1;
    }
    // The piece ended behind a backslash.
    this.escaped = at > bytes.length;
    return bytes.length;
  }

  /** A quote, brace or bracket at `at`; returns where what is to be kept begins. */
  private mark(bytes: Uint8Array, start: number, at: number): number {
    const byte = bytes[at];
    if (byte === quote) {
      this.inString = true;
      return start;
    }
    if (byte === openBrace || byte === openBracket) {
      this.down();
      if (byte !== openBracket || this.depth !== arrayDepth) return start;
      this.keep(bytes.subarray(start, at + 1));
      this.beginEntries();
      return at + 1;
    }
    this.depth -= 1;
    if (!this.inEntries || this.depth !== arrayDepth) return start;
    this.keep(bytes.subarray(start, at + 1));
    this.emit();
    return at + 1;
  }

  /**
   * The document without its entries. @throws ImgfsError `invalid-content` when it is not whole.
   */
  finish(): Readonly<Record<string, unknown>> {
    if (this.depth !== 0 || this.inString || !this.hadEntries)
      throw foreignError('its JSON is cut off or has no entries');
    const value = parse(this.rest);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw foreignError('its JSON is no object');
    return value as Readonly<Record<string, unknown>>;
  }

  /** A byte between two entries. */
  private between(byte: number): void {
    if (isSpace(byte)) return;
    if (byte === openBrace && this.expects !== 'commaOrEnd') {
      this.down();
      return;
    }
    if (byte === comma && this.expects === 'commaOrEnd') {
      this.expects = 'entry';
      return;
    }
    if (byte === closeBracket && this.expects !== 'entry') {
      this.inEntries = false;
      this.depth -= 1;
      this.rest += ']';
      return;
    }
    throw foreignError('its entries are not an array of objects');
  }

  private down(): void {
    this.depth += 1;
    if (this.depth > maxDepth) throw foreignError('its JSON is nested too deep');
  }

  private beginEntries(): void {
    if (!/"entries"\s*:\s*\[$/.test(this.rest)) return;
    if (this.hadEntries) throw foreignError('it has entries twice');
    this.hadEntries = true;
    this.inEntries = true;
    this.expects = 'entryOrEnd';
  }

  private keep(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.inEntries) {
      if (this.depth <= arrayDepth && this.partBytes === 0 && bytes.every(isSpace)) return;
      this.partBytes += bytes.length;
      if (this.partBytes > maxEntryBytes)
        throw foreignError(`an entry is longer than ${maxEntryBytes} bytes`);
      // Copied: the sender may use its buffer again.
      this.parts.push(Buffer.from(bytes));
      return;
    }
    this.rest += Buffer.from(bytes).toString('latin1');
    if (this.rest.length > maxRestBytes) throw foreignError('it holds much that is no entry');
  }

  private emit(): void {
    const text =
      (this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts))?.toString('utf8') ?? '';
    this.parts = [];
    this.partBytes = 0;
    this.expects = 'commaOrEnd';
    this.onEntry(parse(text));
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw foreignError('it is no JSON');
  }
}
