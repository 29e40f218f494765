/** Segments as the addon takes them (`addSegments`). */
import type { FileSegment } from '../../content/file-segment.js';

export interface PackedSegments {
  /** For each segment start, end, descriptor (-1: in `literals`) and offset there. */
  readonly numbers: Float64Array;
  readonly literals: Uint8Array;
}

/** Lay segments out; bytes in memory are copied one behind the other. */
export function packSegments(segments: readonly FileSegment[]): PackedSegments {
  const numbers = new Float64Array(segments.length * 4);
  const literals: Uint8Array[] = [];
  let literalBytes = 0;
  for (const [index, segment] of segments.entries()) {
    const { start, end } = segment;
    const [fd, offset] = 'fd' in segment ? [segment.fd, segment.offset] : [-1, literalBytes];
    numbers.set([start, end, fd, offset], index * 4);
    if ('fd' in segment) continue;
    literals.push(segment.bytes);
    literalBytes += segment.bytes.length;
  }
  return { numbers, literals: Buffer.concat(literals, literalBytes) };
}
