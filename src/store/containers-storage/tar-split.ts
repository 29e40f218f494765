/**
 * A layer's tar, byte for byte, out of its unpacked files and what they do not say: headers, padding, order
 * (github.com/vbatts/tar-split, tar/storage). `<id>.tar-split.gz` has a JSON object in each line: `type` 2 is bytes
 * (base64 `payload`), `type` 1 is the content of a file.
 *
 * Nothing of it is kept: a read at an offset goes through the lines before it, 40 ms for 10,000 files.
 */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { pipeline } from 'node:stream';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { nameFromBytes, nameFromText, type Name } from '../../oci/name.js';
import { fileError } from '../file-error.js';
import type { ByteRange, CallOptions } from '../store.js';
import type { RootedFiles } from './in-root.js';

export interface TarSplitLayer {
  /** Path of `<id>.tar-split.gz`. */
  readonly path: string;
  readonly files: RootedFiles;
  /** Of the tar, in bytes. */
  readonly size: number;
}

type Piece = { readonly bytes: Buffer } | { readonly name: Name; readonly size: number };

/** A header with its pax records: paths and xattrs; the rest of a line is a few bytes. */
const maxLineBytes = 16 * 1024 * 1024;

/** Bytes of a file read at once. */
const chunkBytes = 256 * 1024;

/**
 * The bytes of a range, unverified.
 * @throws ImgfsError `invalid-content` when the record is malformed or longer or shorter than the layer; `stale` when a
 *   file is not as it was unpacked; `interrupted`.
 */
export async function* readTarSplit(
  layer: TarSplitLayer,
  range: ByteRange,
  options: CallOptions = {},
): AsyncGenerator<Uint8Array> {
  let at = 0;
  for await (const piece of pieces(layer, options)) {
    const size = 'bytes' in piece ? piece.bytes.length : piece.size;
    const from = Math.max(range.start - at, 0);
    const until = Math.min(range.end - at, size);
    at += size;
    if (at > layer.size) refuse(layer, `more than the ${layer.size} bytes of the layer`);
    if (until > from) {
      if ('bytes' in piece) yield piece.bytes.subarray(from, until);
      else yield* readFile(layer, piece, { start: from, end: until }, options);
    }
    if (at >= range.end) return;
  }
  refuse(layer, `${at} of the ${layer.size} bytes of the layer`);
}

async function* readFile(
  { files }: TarSplitLayer,
  { name, size }: { readonly name: Name; readonly size: number },
  range: ByteRange,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  const handle = await files.open(name);
  try {
    const stats = await handle.stat();
    if (stats.size !== size) {
      throw new ImgfsError('stale', `read layer: ${name} has ${stats.size} bytes, it had ${size}`, {
        hint: 'the layer was changed after it was unpacked: pull the image again',
      });
    }
    for (let at = range.start; at < range.end;) {
      if (options.signal?.aborted === true) throw new ImgfsError('interrupted', 'read layer: given up');
      const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, range.end - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new ImgfsError('stale', `read layer: ${name} shrank`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function* pieces(layer: TarSplitLayer, { signal }: CallOptions): AsyncGenerator<Piece> {
  const source = createReadStream(layer.path);
  const stream = createGunzip();
  // Failures come out of the iteration below; destroying one end destroys the other.
  pipeline(source, stream, () => undefined);
  let rest = Buffer.alloc(0);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (signal?.aborted === true) throw new ImgfsError('interrupted', 'read layer: given up');
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
        const line = Buffer.concat([rest, chunk.subarray(start, end)]);
        rest = Buffer.alloc(0);
        start = end + 1;
        const piece = parseLine(layer, line);
        if (piece !== undefined) yield piece;
      }
      rest = Buffer.concat([rest, chunk.subarray(start)]);
      if (rest.length > maxLineBytes) refuse(layer, `a line of more than ${maxLineBytes} bytes`);
    }
    const last = rest.length === 0 ? undefined : parseLine(layer, rest);
    if (last !== undefined) yield last;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code.startsWith('Z_')) refuse(layer, 'damaged or cut short');
    throw fileError(error, 'read tar-split', layer.path);
  } finally {
    source.destroy();
    stream.destroy();
  }
}

interface Line {
  readonly type?: unknown;
  readonly name?: unknown;
  readonly name_raw?: unknown;
  readonly size?: unknown;
  readonly payload?: unknown;
}

function parseLine(layer: TarSplitLayer, bytes: Buffer): Piece | undefined {
  let line: Line;
  try {
    line = JSON.parse(bytes.toString('utf8')) as Line;
  } catch {
    return refuse(layer, 'a line that is no JSON');
  }
  const { type, name, name_raw: raw, size = 0, payload } = line;
  if (type === 2) {
    return typeof payload === 'string'
      ? { bytes: Buffer.from(payload, 'base64') }
      : refuse(layer, 'bytes that are not there');
  }
  if (type !== 1 || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    return refuse(layer, 'a line of another kind');
  }
  // Directories, links and empty files have no content.
  if (size === 0) return undefined;
  if (typeof raw === 'string' && raw !== '') return { name: nameFromBytes(Buffer.from(raw, 'base64')), size };
  return typeof name === 'string'
    ? { name: nameFromText(name), size }
    : refuse(layer, 'a file without a name');
}

function refuse({ path }: TarSplitLayer, why: string): never {
  throw new ImgfsError('invalid-content', `read ${path}: ${why}`, {
    path,
    hint: 'the storage is damaged: remove the image and pull it again',
  });
}
