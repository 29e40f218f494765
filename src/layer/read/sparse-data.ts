/** Content of a file with holes, from its stored pieces. */
import type { SparsePiece } from '../tar/tar-entry.js';

/**
 * Fill `into` with the file's bytes from `position`. `readStored` reads stored bytes at an offset from their beginning.
 * Returns the number of bytes, which is short when `readStored` was.
 */
export async function readSparse(
  pieces: readonly SparsePiece[],
  into: Uint8Array,
  position: number,
  readStored: (part: Uint8Array, offset: number) => Promise<number>,
): Promise<number> {
  into.fill(0);
  const end = position + into.length;
  let stored = 0;
  for (const piece of pieces) {
    const from = Math.max(position, piece.offset);
    const to = Math.min(end, piece.offset + piece.length);
    if (from < to) {
      const part = into.subarray(from - position, to - position);
      const got = await readStored(part, stored + (from - piece.offset));
      if (got < part.length) return from - position + got;
    }
    stored += piece.length;
  }
  return into.length;
}
