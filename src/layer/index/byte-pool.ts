/** Bytes appended one behind the other, found again by offset: names and other things of varying length. */

export class BytePool {
  private bytes: Uint8Array<ArrayBuffer>;
  private wide: DataView | undefined;
  /** Bytes in use. */
  length: number;

  /** Start empty, or take over bytes that are complete. */
  constructor(bytes?: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes ?? new Uint8Array(4096);
    this.length = bytes?.length ?? 0;
  }

  /** Make room for `count` more bytes and return where they begin. */
  reserve(count: number): number {
    const start = this.length;
    const needed = start + count;
    if (needed > this.bytes.length) {
      // Half as much again keeps copying linear; doubling would leave half of a large pool unused.
      const grown = new Uint8Array(Math.max(needed, Math.ceil(this.bytes.length * 1.5)));
      grown.set(this.bytes.subarray(0, start));
      this.bytes = grown;
      this.wide = undefined;
    }
    this.length = needed;
    return start;
  }

  /** Append a string whose char codes are bytes. */
  appendName(name: string): number {
    const start = this.reserve(name.length);
    for (let at = 0; at < name.length; at += 1) this.bytes[start + at] = name.charCodeAt(at);
    return start;
  }

  append(bytes: Uint8Array): number {
    const start = this.reserve(bytes.length);
    this.bytes.set(bytes, start);
    return start;
  }

  /** A string whose char codes are the bytes. */
  name(start: number, length: number): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + start, length).toString('latin1');
  }

  /** True when the bytes at `start` are the char codes of `name`. */
  equals(start: number, length: number, name: string): boolean {
    if (length !== name.length) return false;
    for (let at = 0; at < length; at += 1) {
      if (this.bytes[start + at] !== name.charCodeAt(at)) return false;
    }
    return true;
  }

  /** The bytes themselves: valid until the next append. */
  view(start: number, length: number): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + start, length);
  }

  /** All bytes that there is room for, to read numbers at offsets: the same object until the next append. */
  numbers(): DataView {
    this.wide ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    return this.wide;
  }

  /** All bytes in use: valid until the next append. */
  all(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  /** Bytes of memory. */
  get capacity(): number {
    return this.bytes.length;
  }
}
