/** A zlib stream of Node as a thing that is fed and asked. Errors come out of `feed`. */
import type { Transform } from 'node:stream';
import { constants, createGunzip, createInflateRaw } from 'node:zlib';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { LayerFormat } from '../native/layer-addon.js';
import { createNodeZstd } from './node-zstd.js';

type ZlibStream = Transform & { readonly bytesWritten: number };

export class DecodingStream {
  private readonly stream: ZlibStream;
  private output: Buffer[] = [];
  private error: Error | undefined;
  private fed = 0;
  /** Ends the wait under way. */
  private wake: () => void = () => undefined;
  /** True when the compressed stream is over; what was fed behind its end was not used. */
  ended = false;

  constructor(stream: ZlibStream) {
    this.stream = stream;
    stream.on('data', (part: Buffer) => this.output.push(part));
    stream.on('error', (error: Error) => {
      this.error = error;
      this.wake();
    });
    stream.on('end', () => {
      this.ended = true;
      this.wake();
    });
  }

  /** Give it input and wait until all that follows from it is out. @throws what zlib throws. */
  async feed(input: Uint8Array): Promise<void> {
    this.throwError();
    this.fed += input.length;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      this.stream.write(input, () => resolve());
    });
    // Output that was pushed last is handed out in the next turn.
    await nextTurn();
    this.throwError();
  }

  /** Say that no more input comes. @throws what zlib throws: a stream that breaks off is an error. */
  async finish(): Promise<void> {
    if (this.ended || this.error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      this.stream.end();
    });
    this.throwError();
  }

  /** Output so far; it is handed out once. */
  take(): Buffer[] {
    const taken = this.output;
    this.output = [];
    return taken;
  }

  /** Bytes fed that lie behind the end of the compressed stream. */
  get unused(): number {
    return this.ended ? this.fed - this.stream.bytesWritten : 0;
  }

  private throwError(): void {
    const { error } = this;
    if (error instanceof Error) throw error;
  }

  close(): void {
    this.stream.destroy();
  }
}

const options = { flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH, chunkSize: 64 * 1024 };
/** From its beginning a stream can be checked to its end. */
const wholeOptions = { flush: constants.Z_SYNC_FLUSH, chunkSize: 64 * 1024 };

/** Between two deflate blocks, with this dictionary. */
export function rawStream(dictionary: Uint8Array | undefined): DecodingStream {
  return new DecodingStream(
    createInflateRaw(dictionary === undefined ? options : { ...options, dictionary }),
  );
}

/** From the first byte of a gzip member or zstd frame. @throws ImgfsError `unsupported`. */
export function freshStream(format: Exclude<LayerFormat, 'plain'>): DecodingStream {
  if (format === 'gzip') return new DecodingStream(createGunzip(wholeOptions));
  const stream = createNodeZstd();
  if (stream !== undefined) return new DecodingStream(stream);
  throw new ImgfsError('unsupported', 'read layer: no zstd decoder here', {
    hint: 'install libzstd (Debian: libzstd1) and build the addon (npm run build:native), or use Node 22.15 or newer',
  });
}
