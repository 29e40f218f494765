/**
 * A layer's tar, byte for byte, out of its unpacked files and what they do not say: headers, padding, order
 * (github.com/vbatts/tar-split, tar/storage). `<id>.tar-split.gz` has a JSON object in each line: `type` 2 is bytes
 * (base64 `payload`), `type` 1 is the content of a file.
 *
 * Nothing of it is kept but the place where the last reads stopped: a read behind them goes on there, one before them
 * goes through the lines again, 40 ms for 10,000 files.
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

/** Files up to this size are read ahead, several at a time: most files are small, and waiting is what they cost. */
const smallFileBytes = chunkBytes;

/** Read ahead at most: 32 files or 4 MiB. libuv has four threads; 32 hide the turns of the event loop between them. */
const aheadPieces = 32;
const aheadBytes = 4 * 1024 * 1024;

/** Readers that wait for who goes on where they stopped: one that streams, and one beside it. */
const maxParked = 2;

/** How long they wait, with an open file each. */
const parkedMs = 10_000;

/** A layer that is read in ranges: one that begins behind the last one goes on in the record instead of from its start. */
export class TarSplitReader {
  private readonly layer: TarSplitLayer;
  private parked: { readonly cursor: Cursor; readonly timer: NodeJS.Timeout }[] = [];

  constructor(layer: TarSplitLayer) {
    this.layer = layer;
  }

  /**
   * The bytes of a range, unverified, in chunks of {@link chunkBytes}.
   * @throws ImgfsError `invalid-content` when the record is malformed or longer or shorter than the layer; `stale` when
   *   a file is not as it was unpacked; `interrupted`.
   */
  async *read(range: ByteRange, options: CallOptions = {}): AsyncGenerator<Uint8Array> {
    const cursor = this.take(range.start);
    let isDone = false;
    try {
      yield* gathered(readAhead(parts(cursor, range, options), this.layer, options));
      isDone = true;
    } finally {
      // What was given up is somewhere in the middle of its read-ahead.
      if (isDone && range.end < this.layer.size) this.park(cursor);
      else cursor.close();
    }
  }

  /** The reader that has the least to skip. */
  private take(start: number): Cursor {
    const usable = this.parked.filter(({ cursor }) => cursor.at <= start);
    const [best] = usable.toSorted((left, right) => right.cursor.at - left.cursor.at);
    if (best === undefined) return new Cursor(this.layer);
    clearTimeout(best.timer);
    this.parked = this.parked.filter((parked) => parked !== best);
    return best.cursor;
  }

  private park(cursor: Cursor): void {
    const drop = (): void => {
      this.parked = this.parked.filter((parked) => parked.cursor !== cursor);
      cursor.close();
    };
    const timer = setTimeout(drop, parkedMs);
    timer.unref();
    this.parked.push({ cursor, timer });
    if (this.parked.length <= maxParked) return;
    const oldest = this.parked.shift();
    if (oldest === undefined) return;
    clearTimeout(oldest.timer);
    oldest.cursor.close();
  }
}

/** A place in the record of a layer: the piece that is next, and where in the layer it begins. */
class Cursor {
  /** Offset in the layer of the piece that is next. */
  at = 0;
  private readonly layer: TarSplitLayer;
  private readonly source: AsyncGenerator<Piece>;
  private piece: Piece | undefined;

  constructor(layer: TarSplitLayer) {
    this.layer = layer;
    this.source = pieces(layer);
  }

  /** The piece that is next. @throws ImgfsError `invalid-content` at the end of the record. */
  async peek(): Promise<Piece> {
    if (this.piece !== undefined) return this.piece;
    const next = await this.source.next();
    if (next.done === true) refuse(this.layer, `${this.at} of the ${this.layer.size} bytes of the layer`);
    this.piece = next.value;
    if (this.at + sizeOf(this.piece) > this.layer.size) {
      refuse(this.layer, `more than the ${this.layer.size} bytes of the layer`);
    }
    return this.piece;
  }

  advance(): void {
    this.at += this.piece === undefined ? 0 : sizeOf(this.piece);
    this.piece = undefined;
  }

  close(): void {
    // What breaks now concerns nobody.
    this.source.return(undefined).catch(() => undefined);
  }
}

function sizeOf(piece: Piece): number {
  return 'bytes' in piece ? piece.bytes.length : piece.size;
}

/** A piece of the range: what a line says, cut to what is wanted of it. */
type Part =
  { readonly bytes: Buffer } | { readonly name: Name; readonly size: number; readonly range: ByteRange };

async function* parts(cursor: Cursor, range: ByteRange, { signal }: CallOptions): AsyncGenerator<Part> {
  for (;;) {
    if (signal?.aborted === true) throw new ImgfsError('interrupted', 'read layer: given up');
    const piece = await cursor.peek();
    const size = sizeOf(piece);
    const start = Math.max(range.start - cursor.at, 0);
    const end = Math.min(range.end - cursor.at, size);
    if (end > start) {
      if ('bytes' in piece) yield { bytes: piece.bytes.subarray(start, end) };
      else yield { ...piece, range: { start, end } };
    }
    const isLast = cursor.at + size >= range.end;
    // A piece that goes on behind the range is there for the next one.
    if (cursor.at + size <= range.end) cursor.advance();
    if (isLast) return;
  }
}

/** Bytes on their way, or what has to be streamed when its turn comes. */
type Coming = { readonly size: number; readonly chunks: () => AsyncIterable<Uint8Array> };

async function* readAhead(
  source: AsyncIterable<Part>,
  layer: TarSplitLayer,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  const queue: Coming[] = [];
  let queued = 0;
  for await (const part of source) {
    const coming = begin(part, layer, options);
    queue.push(coming);
    queued += coming.size;
    while (queue.length > aheadPieces || queued > aheadBytes) {
      const first = queue.shift();
      if (first === undefined) break;
      queued -= first.size;
      yield* first.chunks();
    }
  }
  for (const coming of queue) yield* coming.chunks();
}

function begin(part: Part, layer: TarSplitLayer, options: CallOptions): Coming {
  if ('bytes' in part) return { size: part.bytes.length, chunks: () => only(Promise.resolve(part.bytes)) };
  const size = part.range.end - part.range.start;
  if (size > smallFileBytes) return { size: 0, chunks: () => readFile(layer, part, part.range, options) };
  const reading = whole(readFile(layer, part, part.range, options));
  // It is told when its turn comes, if it does.
  reading.catch(() => undefined);
  return { size, chunks: () => only(reading) };
}

async function* only(bytes: Promise<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield await bytes;
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return all.length === 1 && all[0] !== undefined ? all[0] : Buffer.concat(all);
}

/** Headers of 512 bytes and small files as few large chunks: whoever takes them writes once for each. */
async function* gathered(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    held.push(chunk);
    size += chunk.length;
    if (size < chunkBytes) continue;
    yield held.length === 1 ? chunk : Buffer.concat(held, size);
    [held, size] = [[], 0];
  }
  if (size > 0) yield Buffer.concat(held, size);
}

async function* readFile(
  { files }: TarSplitLayer,
  { name, size }: { readonly name: Name; readonly size: number },
  range: ByteRange,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  const handle = await files.open(name, size);
  try {
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

async function* pieces(layer: TarSplitLayer): AsyncGenerator<Piece> {
  const source = createReadStream(layer.path);
  const stream = createGunzip();
  // Failures come out of the iteration below; destroying one end destroys the other.
  pipeline(source, stream, () => undefined);
  let rest = Buffer.alloc(0);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
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
