/** zstd of `node:zlib`, where it is there: Node 22.15 and 23.8 have it, 20 does not. */
import * as zlib from 'node:zlib';
import type { Transform } from 'node:stream';

type Create = () => Transform & { readonly bytesWritten: number };

/** A decoding stream, or undefined when this Node has none. */
export function createNodeZstd(): (Transform & { readonly bytesWritten: number }) | undefined {
  const create = (zlib as unknown as { createZstdDecompress?: Create }).createZstdDecompress;
  return create?.();
}
