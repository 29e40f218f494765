/**
 * Bytes that passed through while the disk could not take them: kept in memory for a moment, for the readers
 * that are reading along. One shelf for the whole cache, so that its bound is the process's bound.
 */
import { LRUCache } from 'lru-cache';
import { totalLength } from './file-io.js';

/** Four readers with two windows of 4 MiB each. */
export const shelfBytes = 32 << 20;

interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

export class MemoryShelf {
  readonly #pieces: LRUCache<string, Piece>;
  /** Starts of the pieces of each owner. */
  readonly #starts = new Map<number, Set<number>>();
  #nextOwner = 0;

  constructor(maxBytes = shelfBytes) {
    this.#pieces = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (piece) => Math.max(1, piece.bytes.length),
      dispose: (piece, key) => this.#starts.get(Number.parseInt(key, 10))?.delete(piece.start),
    });
  }

  newOwner(): number {
    return (this.#nextOwner += 1);
  }

  put(owner: number, start: number, buffers: readonly Uint8Array[]): void {
    const starts = this.#starts.get(owner) ?? new Set();
    this.#starts.set(owner, starts);
    // Joined into one buffer of its own: slices would keep alive the larger buffers they were cut from.
    this.#pieces.set(`${owner}/${start}`, { start, bytes: Buffer.concat(buffers, totalLength(buffers)) });
    starts.add(start);
  }

  /** Copy what there is from `position` on, at most to `end`; returns the number of bytes. */
  copy(owner: number, target: Uint8Array, offset: number, position: number, end: number): number {
    for (const start of this.#starts.get(owner) ?? []) {
      if (start > position) continue;
      const piece = this.#pieces.get(`${owner}/${start}`);
      if (piece === undefined || start + piece.bytes.length <= position) continue;
      const part = piece.bytes.subarray(position - start, end - start);
      target.set(part, offset);
      return part.length;
    }
    return 0;
  }

  clear(owner: number): void {
    for (const start of this.#starts.get(owner) ?? []) this.#pieces.delete(`${owner}/${start}`);
    this.#starts.delete(owner);
  }
}
