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
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d];
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
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let start = 0;
    for (let at = 0; at < buffer.length; at += 1) {
      const byte = buffer[at] ?? 0;
      if (this.inString) {
        if (this.escaped) this.escaped = false;
        else if (byte === backslash) this.escaped = true;
        else if (byte === quote) this.inString = false;
        continue;
      }
      if (this.inEntries && this.depth === arrayDepth && this.between(byte)) {
        start = at + 1;
        if (this.inEntries && byte === openBrace) start = at;
        continue;
      }
      if (byte === quote) this.inString = true;
      else if (byte === openBrace || byte === openBracket) {
        this.down();
        if (byte === openBracket && this.depth === arrayDepth) {
          this.keep(buffer.subarray(start, at + 1));
          start = at + 1;
          this.beginEntries();
        }
      } else if (byte === closeBrace || byte === closeBracket) {
        this.depth -= 1;
        if (this.inEntries && this.depth === arrayDepth) {
          this.keep(buffer.subarray(start, at + 1));
          start = at + 1;
          this.emit();
        }
      }
    }
    this.keep(buffer.subarray(start));
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

  /** A byte between two entries: true when it was dealt with. */
  private between(byte: number): boolean {
    if (isSpace(byte)) return true;
    if (byte === openBrace && this.expects !== 'commaOrEnd') {
      this.down();
      return true;
    }
    if (byte === comma && this.expects === 'commaOrEnd') {
      this.expects = 'entry';
      return true;
    }
    if (byte === closeBracket && this.expects !== 'entry') {
      this.inEntries = false;
      this.depth -= 1;
      this.rest += ']';
      return true;
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

  private keep(bytes: Buffer): void {
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
    this.rest += bytes.toString('latin1');
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
