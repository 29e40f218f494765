/** How much a layer may unpack to. */
import { ImgfsError } from '../../errors/imgfs-error.js';

export interface DecodeLimits {
  /** Bytes of the decoded archive, at most. */
  readonly maxBytes: number;
  /** Decoded bytes for each byte of the blob, at most, once `ratioFromBytes` were decoded. */
  readonly maxRatio: number;
  readonly ratioFromBytes: number;
}

/**
 * Deflate reaches 1,032:1 and only on constant data, real layers 2:1 to 5:1. A layer of one large file of zeros is
 * rare but real: below 4 GiB it may be as dense as it likes, which costs 10 s of processor time at most. 256 GiB is
 * ten times the largest public image known to us.
 */
export const defaultLimits: DecodeLimits = {
  maxBytes: 256 * 2 ** 30,
  maxRatio: 200,
  ratioFromBytes: 4 * 2 ** 30,
};

/** @throws ImgfsError `too-large` when `outBytes` from `inBytes` are more than allowed. */
export function checkLimits(limits: DecodeLimits, inBytes: number, outBytes: number): void {
  if (outBytes > limits.maxBytes) {
    throw tooLarge(`it unpacks to more than ${limits.maxBytes} bytes`);
  }
  if (outBytes > limits.ratioFromBytes && outBytes > inBytes * limits.maxRatio) {
    throw tooLarge(`${inBytes} bytes unpack to more than ${outBytes}, over ${limits.maxRatio} to 1`);
  }
}

function tooLarge(reason: string): ImgfsError {
  return new ImgfsError('too-large', `index layer: ${reason}`, {
    hint: 'it looks like a decompression bomb; the blob can be read as it is stored',
  });
}
