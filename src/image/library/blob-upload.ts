/**
 * A blob on its way into a repository (distribution's `LayerUpload`, later `BlobWriter`): spooled on disk, so that it
 * may be written in any order, goes on after a restart under its id, and loses nothing to a broken session.
 */
import type { Digest } from '../../oci/digest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { BlobWriter } from '../upload/blob-writer.js';
import type { Uploads } from '../upload/uploads.js';

export class RepositoryUpload {
  readonly #uploads: Uploads;
  readonly #writer: BlobWriter;
  #position: number;

  constructor(uploads: Uploads, writer: BlobWriter) {
    this.#uploads = uploads;
    this.#writer = writer;
    this.#position = writer.size;
  }

  /** Names the upload: `RepositoryBlobs.resume` takes it, also in another process with the same cache. */
  get uuid(): string {
    return this.#writer.state.id;
  }

  /** When it was begun, by the clock of this machine. */
  get startedAt(): Date {
    return new Date(this.#writer.state.startedAt);
  }

  /** Where the next `write` goes, in bytes. */
  get position(): number {
    return this.#position;
  }

  /** Bytes that are spooled. */
  get size(): number {
    return this.#writer.size;
  }

  /** Bytes that the registry has confirmed so far. */
  get sentBytes(): number {
    return this.#writer.sentBytes;
  }

  /** Take bytes at the position, and move it behind them. @throws ImgfsError `cache-full`, `bad-handle`. */
  async write(chunk: Uint8Array): Promise<number> {
    await this.#writer.write(chunk, this.#position);
    this.#position += chunk.byteLength;
    return chunk.byteLength;
  }

  /** Move the position; beyond the end leaves a gap of zeros. */
  seek(position: number): number {
    this.#position = Math.max(0, Math.trunc(position));
    return this.#position;
  }

  /** Take all of a stream at the position; resolves to its bytes. @throws as `write`, and what the stream throws. */
  async readFrom(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<number> {
    let bytes = 0;
    for await (const chunk of source) bytes += await this.write(chunk);
    return bytes;
  }

  /**
   * Bring the content into the repository under its digest. With another digest than the content's nothing is stored
   * and the upload lives on.
   * @throws ImgfsError `digest-mismatch`, and what the store throws in the end: then `resume` may finish it later.
   */
  async finish(digest?: Digest): Promise<Descriptor> {
    if (digest !== undefined) await this.#writer.rename(this.#writer.state.name, digest);
    const { descriptor } = await this.#writer.commit();
    await this.#uploads.close(this.#writer);
    return descriptor;
  }

  /** Give up: session and spool are removed. */
  async cancel(): Promise<void> {
    await this.#uploads.cancel(this.#writer);
  }

  /** Let go of it without finishing: it stays in the spool under its `uuid`. */
  async close(): Promise<void> {
    await this.#uploads.close(this.#writer);
  }
}
