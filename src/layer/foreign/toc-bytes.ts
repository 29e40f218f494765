/** Decodes the packed bytes of a table of contents piece by piece, hashing what comes out. */
import { createHash } from 'node:crypto';
import { createGunzip, constants } from 'node:zlib';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { layerAddon, layerFormats, spanResults } from '../native/layer-addon.js';
import { createNodeZstd } from '../read/node-zstd.js';
import { foreignError } from './foreign-error.js';

/** Decoded tables may be so long: a million files at 360 bytes each, parsed while they come. */
const maxTocBytes = 512 << 20;
/** Through the addon a zstd table is in memory as a whole. */
const maxWholeBytes = 128 << 20;
/** Bytes taken apart in one turn: 180 entries, 2 ms. */
const pieceBytes = 64 << 10;

/** Takes decoded pieces in order. */
export type TakePiece = (piece: Uint8Array) => void;

function checked(take: TakePiece): TakePiece {
  let total = 0;
  return (piece) => {
    total += piece.length;
    if (total > maxTocBytes) throw foreignError(`it is longer than ${maxTocBytes} bytes`);
    take(piece);
  };
}

async function throughStream(
  stream: NodeJS.ReadWriteStream,
  packed: Uint8Array,
  take: TakePiece,
): Promise<void> {
  stream.end(packed);
  try {
    for await (const piece of stream) {
      take(piece as Buffer);
      await nextTurn();
    }
  } catch (error) {
    const isZlib = error instanceof Error && 'code' in error && String(error.code).startsWith('Z');
    throw isZlib ? foreignError('it does not decompress') : error;
  }
}

/** The gzip member at the start of `packed`; what follows it is ignored. @throws ImgfsError `invalid-content`. */
export async function gunzipPieces(packed: Uint8Array, take: TakePiece): Promise<void> {
  const options = { chunkSize: pieceBytes, finishFlush: constants.Z_SYNC_FLUSH };
  await throughStream(createGunzip(options), packed, checked(take));
}

/** One zstd frame of `length` decoded bytes. @throws ImgfsError `invalid-content`, `unsupported`. */
export async function unzstdPieces(packed: Uint8Array, length: number, take: TakePiece): Promise<void> {
  const addon = layerAddon();
  if (addon?.hasZstd() !== true) {
    const stream = createNodeZstd();
    if (stream === undefined) throw foreignError('no zstd decoder here');
    return throughStream(stream, packed, checked(take));
  }
  if (length > maxWholeBytes) throw foreignError(`it is longer than ${maxWholeBytes} bytes`);
  const handle = addon.openSpans(layerFormats.indexOf('zstd'), 0, 0, new Uint8Array(0), 0);
  const whole = new Uint8Array(length);
  // `input` checks nothing but what is known already.
  const sha256 = createHash('sha256').update(packed).digest();
  const result = spanResults[await addon.nextSpan(handle, packed, whole, sha256, 0, 1)];
  if (result !== 'ok') throw foreignError('it does not decompress to its length');
  for (let at = 0; at < whole.length; at += pieceBytes) {
    take(whole.subarray(at, at + pieceBytes));
    await nextTurn();
  }
}

/** sha256 of bytes without holding up the thread. */
export async function sha256Of(bytes: Uint8Array): Promise<Buffer> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += 1 << 20) {
    hash.update(bytes.subarray(at, at + (1 << 20)));
    if (bytes.length > 1 << 20) await nextTurn();
  }
  return hash.digest();
}
