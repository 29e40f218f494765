/** Bytes of one blob from source to upload, in order, hashed once whatever is sent twice. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { createDigester, digestAlgorithm, type Digest } from '../../oci/digest.js';
import {
  takesSource,
  type BlobUpload,
  type Body,
  type CallOptions,
  type ReadableBytes,
  type SourcedUpload,
} from '../../store/store.js';
import type { CopySource } from './copy-ends.js';
import { StreamedSource } from './streamed-source.js';

/** Read from a file and hashed at once: 0.2 ms of the thread. */
const pieceBytes = 256 * 1024;
/** Longer ones are sent while they arrive, without chunks in memory: two of 8 MiB for each of three blobs were 48 MiB. */
const chunkedBytes = 4 * 1024 * 1024;

export class BlobTransfer {
  /** Where the next byte for the upload is. */
  position = 0;
  readonly #source: CopySource;
  readonly #descriptor: Descriptor;
  readonly #onBytes: (bytes: number) => void;
  readonly #digester;
  #hashed = 0;
  #verdict: Digest | undefined;

  constructor(source: CopySource, descriptor: Descriptor, onBytes: (bytes: number) => void) {
    this.#source = source;
    this.#descriptor = descriptor;
    this.#onBytes = onBytes;
    this.#digester = createDigester(digestAlgorithm(descriptor.digest));
  }

  /** Bring the blob into `upload` and finish it. @throws ImgfsError `integrity` when the source's bytes are others. */
  async run(upload: BlobUpload, options: CallOptions): Promise<void> {
    const { size, digest } = this.#descriptor;
    const body = this.position < size ? await this.#open(options) : undefined;
    try {
      if (body !== undefined) await this.#bring(body, upload, options);
      this.#judge();
      await upload.finish(digest, options);
    } finally {
      body?.cancel();
    }
  }

  #bring(body: Body, upload: BlobUpload, options: CallOptions): Promise<void> {
    const isLong = this.#descriptor.size - this.position > chunkedBytes;
    if (takesSource(upload)) {
      if (body.file !== undefined) return this.#hand(body.file, upload, options);
      if (isLong) return this.#pass(body, upload, options);
    } else if (body.file !== undefined) return this.#write(body.file, upload, options);
    return this.#stream(body, upload, options);
  }

  /** A small blob as a whole. @throws ImgfsError `integrity` when the source's bytes are others. */
  async readAll(options: CallOptions): Promise<Uint8Array> {
    const body = await this.#open(options);
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of body.chunks) {
      parts.push(chunk);
      length += chunk.length;
      if (length > this.#descriptor.size) throw this.#wrong(`more than ${this.#descriptor.size} bytes`);
    }
    const bytes = Buffer.concat(parts);
    this.#hash(bytes, 0);
    this.#judge();
    return bytes;
  }

  #open(options: CallOptions, position = this.position): Promise<Body> {
    const range = position === 0 ? {} : { range: { start: position, end: this.#descriptor.size } };
    const { store, repository } = this.#source;
    return store.fetch(repository, this.#descriptor, { ...options, ...range });
  }

  /** A file: what is sent is read from it again when need be, and nothing is kept in memory. */
  async #hand(file: ReadableBytes, upload: SourcedUpload, options: CallOptions): Promise<void> {
    const hashed = this.#hashing(file);
    await upload.writeFrom(hashed, this.#descriptor.size, options);
    // What is sent with the commit is judged before.
    await this.#readOn(hashed, this.#hashed, async () => undefined);
  }

  /** A file, for stores that take memory only. */
  #write(file: ReadableBytes, upload: BlobUpload, options: CallOptions): Promise<void> {
    return this.#readOn(this.#hashing(file), this.position, (piece) => upload.write(piece, options));
  }

  async #readOn(
    source: ReadableBytes,
    from: number,
    take: (piece: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const { size } = this.#descriptor;
    const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, size));
    for (let at = from; at < size;) {
      const length = await source.read(piece.subarray(0, size - at), at);
      if (length === 0) break;
      await take(piece.subarray(0, length));
      at += length;
      this.position = at;
    }
  }

  /** A body on its way: sent as it arrives, and what must be sent again is fetched again. */
  async #pass(body: Body, upload: SourcedUpload, options: CallOptions): Promise<void> {
    const { size } = this.#descriptor;
    const source = new StreamedSource(body, (position) => this.#open(options, position));
    const hashed = this.#hashing(source);
    try {
      // The last piece goes by itself: all must be hashed before the commit, and nothing fetched twice for that.
      const last = Buffer.allocUnsafeSlow(pieceBytes);
      const lastAt = size - last.length;
      await upload.writeFrom(hashed, lastAt, options);
      await upload.flush(options);
      const length = await hashed.read(last, lastAt);
      if (!(await source.isAtEnd())) throw this.#wrong(`more than ${size} bytes`);
      await upload.write(last.subarray(0, length), options);
      this.position = lastAt + length;
    } finally {
      source.close();
    }
  }

  #hashing(source: ReadableBytes): ReadableBytes {
    return {
      read: async (buffer, position) => {
        const length = await source.read(buffer, position);
        this.#hash(buffer.subarray(0, length), position);
        return length;
      },
    };
  }

  async #stream(body: Body, upload: BlobUpload, options: CallOptions): Promise<void> {
    const { size } = this.#descriptor;
    let at = body.start;
    for await (const chunk of body.chunks) {
      const end = at + chunk.length;
      if (end > size) throw this.#wrong(`more than ${size} bytes`);
      this.#hash(chunk, at);
      // A server that ignores the range sends what the destination has.
      if (end > this.position) {
        await upload.write(chunk.subarray(Math.max(0, this.position - at)), options);
        this.position = end;
      }
      // Copied, or on disk.
      body.release?.(chunk);
      at = end;
    }
  }

  /** What was not hashed before, of bytes at `position`. */
  #hash(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end <= this.#hashed || position > this.#hashed) return;
    this.#digester.update(bytes.subarray(this.#hashed - position));
    this.#onBytes(end - this.#hashed);
    this.#hashed = end;
  }

  #judge(): void {
    const { size, digest } = this.#descriptor;
    if (this.#hashed !== size) throw this.#wrong(`${this.#hashed} bytes instead of ${size}`);
    this.#verdict ??= this.#digester.digest();
    if (this.#verdict !== digest) throw this.#wrong(`they are ${this.#verdict}`);
  }

  #wrong(why: string): ImgfsError {
    const { digest } = this.#descriptor;
    return new ImgfsError('integrity', `copy blob ${digest}: the source gave wrong bytes: ${why}`, {
      digest,
      hint: 'the source is damaged, or a proxy before it changes bytes',
    });
  }
}
