/** Blobs of any size that need no memory: each block of bytes is computed from its position. */
import { createDigester, type Digest } from '../../src/oci/digest.js';
import type { BlobContent } from './fault-registry/content.js';

const blockBytes = 64 * 1024;

/** Incompressible to the eye of gzip within a block; each 64 KiB block starts with its own number. */
export function patternedContent(size: number, seed = 1): BlobContent {
  const pattern = new Uint8Array(blockBytes);
  let state = (seed >>> 0) + 1;
  for (let at = 0; at < blockBytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    pattern[at] = state >>> 24;
  }
  const block = (index: number): Uint8Array => {
    const bytes = Buffer.from(pattern);
    bytes.writeDoubleBE(index, 0);
    return bytes;
  };
  return {
    size,
    slice: (start, end) => {
      const last = Math.min(end, size);
      const out = new Uint8Array(Math.max(0, last - start));
      for (let at = start; at < last;) {
        const from = at % blockBytes;
        const part = block(Math.floor(at / blockBytes)).subarray(
          from,
          Math.min(blockBytes, from + last - at),
        );
        out.set(part, at - start);
        at += part.length;
      }
      return out;
    },
  };
}

/** sha256 of the whole: about 1 s for 1 GiB. */
export function digestOfContent(content: BlobContent): Digest {
  const digester = createDigester();
  const step = 1024 * 1024;
  for (let at = 0; at < content.size; at += step) {
    digester.update(content.slice(at, Math.min(at + step, content.size)));
  }
  return digester.digest();
}
