/** Bytes of an archive that came along with its headers: configs and lists of images mostly are among them. */

interface Window {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** A thousand pages with one header each, or all of the metadata of any archive. */
const maxBytes = 8 * 1024 * 1024;

export class SeenBytes {
  /** In the order of their offsets, as the scan goes forward. */
  private windows: Window[] = [];
  private total = 0;
  /** Where the last answer came from. */
  private at = 0;

  /** Bytes at an offset behind all that were added before; others are forgotten for them. */
  add(offset: number, bytes: Buffer): void {
    const last = this.windows.at(-1);
    if (last !== undefined && offset < last.offset) this.clear();
    this.windows.push({ offset, bytes });
    this.total += bytes.length;
    while (this.total > maxBytes && this.windows.length > 1) {
      this.total -= this.windows.shift()?.bytes.length ?? 0;
      this.at = Math.max(0, this.at - 1);
    }
  }

  /** Bytes `[position, position + length)`, not copied; undefined unless one window holds all of them. */
  find(position: number, length: number): Buffer | undefined {
    const window =
      this.holds(this.at, position) ?? this.holds(this.at + 1, position) ?? this.search(position);
    if (window === undefined) return undefined;
    const from = position - window.offset;
    return from + length <= window.bytes.length ? window.bytes.subarray(from, from + length) : undefined;
  }

  /** Forget all of it. */
  clear(): void {
    this.windows = [];
    this.total = 0;
    this.at = 0;
  }

  private holds(index: number, position: number): Window | undefined {
    const window = this.windows[index];
    if (window === undefined || position < window.offset) return undefined;
    if (position >= window.offset + window.bytes.length) return undefined;
    this.at = index;
    return window;
  }

  private search(position: number): Window | undefined {
    let [low, high] = [0, this.windows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.windows[middle]?.offset ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return this.holds(low, position);
  }
}
