/**
 * Places in a gzip stream where decoding can start, as SOCI stores them (soci-snapshotter ztoc/compression/gzip_zinfo.c,
 * little endian): i32 number, i64 bytes of a span, then for each place i64 first whole byte of the blob, i64 first
 * decoded byte, u8 bits of the byte before, 32 KiB of window. Its first version left out place 0.
 */
import { foreignError } from './foreign-error.js';

export const zinfoHeaderBytes = 12;
export const windowBytes = 32768;
export const checkpointBytes = 17 + windowBytes;

/** Of the gzip header that its first version took for granted. */
const plainHeaderBytes = 10;

export interface Checkpoint {
  /** First byte of the blob that is needed; with `bits` it is shared with what lies before. */
  readonly in: number;
  readonly out: number;
  readonly bits: number;
  readonly window: Uint8Array;
}

function safe(value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw foreignError('a span begins nowhere');
  return Number(value);
}

function readCheckpoint(view: DataView, at: number): Checkpoint {
  const bits = view.getUint8(at + 16);
  const start = safe(view.getBigInt64(at, true)) - (bits === 0 ? 0 : 1);
  if (bits > 7 || start < 0) throw foreignError('a span begins at no bit');
  return {
    in: start,
    out: safe(view.getBigInt64(at + 8, true)),
    bits,
    window: new Uint8Array(view.buffer, view.byteOffset + at + 17, windowBytes),
  };
}

/** @throws ImgfsError `invalid-content`. */
export function parseZinfo(bytes: Uint8Array): readonly Checkpoint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < zinfoHeaderBytes) throw foreignError('its places are cut off');
  const count = view.getInt32(0, true);
  const stored = (bytes.length - zinfoHeaderBytes) / checkpointBytes;
  const lacksFirst = stored === count - 1;
  if (count < 1 || (stored !== count && !lacksFirst))
    throw foreignError('its places are not as many as it says');
  const checkpoints = Array.from({ length: stored }, (_, index) =>
    readCheckpoint(view, zinfoHeaderBytes + index * checkpointBytes),
  );
  if (!lacksFirst) return checkpoints;
  return [{ in: plainHeaderBytes, out: 0, bits: 0, window: new Uint8Array(windowBytes) }, ...checkpoints];
}
