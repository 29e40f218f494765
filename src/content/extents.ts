/**
 * A set of byte ranges, kept sorted, disjoint and merged: which parts of a blob there are.
 *
 * One flat array of edges (start, end, start, end…) so that a lookup is a binary search without allocation: a
 * driver asks for every 128 KiB that it reads.
 */
import type { ByteRange } from '../store/store.js';

export class Extents {
  #edges: number[] = [];
  #bytes = 0;

  /** Sum of the lengths of all ranges. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many separate ranges there are. */
  get count(): number {
    return this.#edges.length / 2;
  }

  /** Index of the first edge greater than `position`: odd inside a range, even outside. */
  #after(position: number): number {
    let low = 0;
    let high = this.#edges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#edge(middle) <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #edge(index: number): number {
    return this.#edges[index] ?? Infinity;
  }

  /** End of the range that contains `position`; `position` itself when none does. */
  presentUntil(position: number): number {
    const index = this.#after(position);
    return index % 2 === 1 ? this.#edge(index) : position;
  }

  /** Start of the first range behind `position`, when `position` is in none: where the hole ends (or Infinity). */
  missingUntil(position: number): number {
    const index = this.#after(position);
    return index % 2 === 1 ? position : this.#edge(index);
  }

  covers(start: number, end: number): boolean {
    return start >= end || this.presentUntil(start) >= end;
  }

  /** First offset at or behind `start` that is missing, at most `end`. */
  nextMissing(start: number, end: number): number {
    return Math.min(end, this.presentUntil(start));
  }

  /** The holes inside `[start, end)`. */
  missing(start: number, end: number): ByteRange[] {
    const holes: ByteRange[] = [];
    let position = this.nextMissing(start, end);
    while (position < end) {
      const stop = Math.min(end, this.missingUntil(position));
      holes.push({ start: position, end: stop });
      position = this.nextMissing(stop, end);
    }
    return holes;
  }

  /** Returns how many bytes are new. */
  add(start: number, end: number): number {
    if (start >= end) return 0;
    // Ranges that touch the new one merge with it: hence the edges equal to `start` count as inside.
    let from = this.#after(start - 1);
    if (from % 2 === 1) from -= 1;
    let to = this.#after(end);
    if (to % 2 === 1) to += 1;
    const mergedStart = Math.min(start, from < to ? this.#edge(from) : start);
    const mergedEnd = Math.max(end, from < to ? this.#edge(to - 1) : end);
    let before = 0;
    for (let index = from; index < to; index += 2) before += this.#edge(index + 1) - this.#edge(index);
    this.#edges.splice(from, to - from, mergedStart, mergedEnd);
    const added = mergedEnd - mergedStart - before;
    this.#bytes += added;
    return added;
  }

  /** Take a range out, whether it is there or not. Returns how many bytes went. */
  remove(start: number, end: number): number {
    if (start >= end) return 0;
    const kept: number[] = [];
    let gone = 0;
    for (let index = 0; index < this.#edges.length; index += 2) {
      const left = this.#edge(index);
      const right = this.#edge(index + 1);
      const cutStart = Math.max(left, start);
      const cutEnd = Math.min(right, end);
      if (cutStart >= cutEnd) {
        kept.push(left, right);
        continue;
      }
      gone += cutEnd - cutStart;
      if (left < cutStart) kept.push(left, cutStart);
      if (cutEnd < right) kept.push(cutEnd, right);
    }
    this.#edges = kept;
    this.#bytes -= gone;
    return gone;
  }

  clear(): void {
    this.#edges = [];
    this.#bytes = 0;
  }

  /** All ranges, in order. */
  ranges(): ByteRange[] {
    const ranges: ByteRange[] = [];
    for (let index = 0; index < this.#edges.length; index += 2) {
      ranges.push({ start: this.#edge(index), end: this.#edge(index + 1) });
    }
    return ranges;
  }
}
