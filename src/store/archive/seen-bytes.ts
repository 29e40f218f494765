/** Bytes of an archive that came along with its headers: configs and lists of images mostly are among them. */

import type { ArchiveBytes } from './walk-headers.js';

/** A thousand pages with one header each, or all of the metadata of any archive. */
const maxBytes = 8 * 1024 * 1024;

export class SeenBytes {
  /** In the order of their offsets, as the scan goes forward. */
  private windows: ArchiveBytes[] = [];
  private total = 0;
  private end: ArchiveBytes | undefined;
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

  /** The last bytes of the archive. */
  addEnd(end: ArchiveBytes): void {
    this.end = end;
  }

  /** Bytes `[position, position + length)`, not copied; undefined unless one window holds all of them. */
  find(position: number, length: number): Buffer | undefined {
    if (this.end !== undefined && position >= this.end.offset) return within(this.end, position, length);
    const window =
      this.holds(this.at, position) ?? this.holds(this.at + 1, position) ?? this.search(position);
    return window === undefined ? undefined : within(window, position, length);
  }

  /** Forget all of it. */
  clear(): void {
    this.end = undefined;
    this.windows = [];
    this.total = 0;
    this.at = 0;
  }

  private holds(index: number, position: number): ArchiveBytes | undefined {
    const window = this.windows[index];
    if (window === undefined || position < window.offset) return undefined;
    if (position >= window.offset + window.bytes.length) return undefined;
    this.at = index;
    return window;
  }

  private search(position: number): ArchiveBytes | undefined {
    let [low, high] = [0, this.windows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.windows[middle]?.offset ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return this.holds(low, position);
  }
}

function within({ offset, bytes }: ArchiveBytes, position: number, length: number): Buffer | undefined {
  const from = position - offset;
  return from + length <= bytes.length ? bytes.subarray(from, from + length) : undefined;
}
