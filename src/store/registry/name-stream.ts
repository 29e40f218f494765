/**
 * Names out of a page of tags or repositories, while it arrives.
 *
 * A page can hold a million names (docker-registry 2.8 ignores `n`): `JSON.parse` would block the thread for half a
 * second and hold everything twice. This reads one object, finds the array under `key` at its top level, and
 * yields its strings; everything else is stepped over. Strings are decoded by `JSON.parse`, one at a time.
 */

/** Longest string kept: repository names have 255 characters, tags 128. */
const maxStringBytes = 4096;
/** Nesting of what is stepped over. */
const maxDepth = 32;

const quote = 0x22;
const backslash = 0x5c;

export class NameStream {
  readonly #key: string;
  /** Open brackets, `{` or `[`. */
  readonly #stack: string[] = [];
  /** Parts of the string that is being read, when it spans chunks; undefined outside of strings. */
  #string: Uint8Array[] | undefined;
  #stringBytes = 0;
  /** The string holds a backslash, and: the next byte belongs to one. */
  #hasEscapes = false;
  #escaped = false;
  /** Last string at depth 1: the key, when a colon follows. */
  #lastKey: string | undefined;
  #expectValue = false;
  /** Inside the array that is wanted. */
  #inside = false;
  #done = false;
  /** The array was there (or `null` in its place). */
  found = false;

  constructor(key: string) {
    this.#key = key;
  }

  /** True when the outermost object is closed. */
  get done(): boolean {
    return this.#done;
  }

  /**
   * Take in bytes, give out the names that are complete with them. Nothing of the chunk is kept.
   * @throws SyntaxError for what is no JSON object, is nested too deeply, or holds a string that is too long.
   */
  push(chunk: Uint8Array): string[] {
    const names: string[] = [];
    let position = 0;
    while (position < chunk.length) {
      if (this.#string === undefined) {
        this.#outside(chunk[position] as number);
        position += 1;
      } else {
        position = this.#inString(chunk, position, names);
      }
    }
    return names;
  }

  /** Read on in a string; gives the position behind what was read. */
  #inString(chunk: Uint8Array, start: number, names: string[]): number {
    let end = start;
    for (; end < chunk.length; end += 1) {
      const byte = chunk[end];
      if (this.#escaped) {
        this.#escaped = false;
      } else if (byte === backslash) {
        this.#escaped = true;
        this.#hasEscapes = true;
      } else if (byte === quote) {
        break;
      }
    }
    const parts = this.#string as Uint8Array[];
    const part = chunk.subarray(start, end);
    // What is kept for the next chunk is a copy: the chunk may be given back.
    parts.push(end === chunk.length ? Uint8Array.from(part) : part);
    this.#stringBytes += end - start;
    if (this.#stringBytes > maxStringBytes) throw new SyntaxError('a string is too long');
    if (end === chunk.length) return end;
    this.#endString(parts, names);
    return end + 1;
  }

  #endString(parts: Uint8Array[], names: string[]): void {
    this.#string = undefined;
    const depth = this.#stack.length;
    const wanted = this.#inside && depth === 2;
    const key = depth === 1 && !this.#expectValue;
    if (!wanted && !key) return;
    const raw = Buffer.concat(parts).toString('utf8');
    const text = this.#hasEscapes ? (JSON.parse(`"${raw}"`) as string) : raw;
    if (wanted) names.push(text);
    else this.#lastKey = text;
  }

  #outside(byte: number): void {
    switch (byte) {
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        return;
      case quote:
        this.#mustBeOpen();
        this.#string = [];
        this.#stringBytes = 0;
        this.#hasEscapes = false;
        return;
      case 0x7b: // {
      case 0x5b: // [
        this.#open(byte === 0x7b ? '{' : '[');
        return;
      case 0x7d: // }
      case 0x5d: // ]
        this.#close(byte === 0x7d ? '{' : '[');
        return;
      case 0x3a: // :
        this.#mustBeOpen();
        if (this.#stack.length === 1) {
          this.#expectValue = true;
          if (this.#lastKey === this.#key) this.found = true;
        }
        return;
      case 0x2c: // ,
        this.#mustBeOpen();
        if (this.#stack.length === 1) this.#expectValue = false;
        return;
      default:
        // Numbers, true, false, null: of no interest, and not worth checking.
        this.#mustBeOpen();
    }
  }

  #open(bracket: '{' | '['): void {
    const depth = this.#stack.length;
    if (depth === 0 && (bracket !== '{' || this.#done)) throw new SyntaxError('not one JSON object');
    if (depth >= maxDepth) throw new SyntaxError('nested too deeply');
    if (depth === 1 && bracket === '[' && this.#expectValue && this.#lastKey === this.#key)
      this.#inside = true;
    this.#stack.push(bracket);
  }

  #close(bracket: '{' | '['): void {
    if (this.#stack.pop() !== bracket) throw new SyntaxError('brackets do not match');
    if (this.#stack.length === 1) this.#inside = false;
    if (this.#stack.length === 0) this.#done = true;
  }

  #mustBeOpen(): void {
    if (this.#stack.length === 0) throw new SyntaxError('not one JSON object');
  }
}
