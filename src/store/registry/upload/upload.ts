/**
 * A blob upload as the rooms above see it: bytes in, in order. One chunk is sent while the next is filled, so that the
 * sender is not idle during a round trip; a blob that fits into one chunk goes up in a single PUT. What lies in a file is
 * read while it is sent, and costs no memory of a chunk.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { Descriptor } from '../../../oci/descriptor.js';
import type { Digest } from '../../../oci/digest.js';
import type { CallOptions, ReadableBytes, SourcedUpload } from '../../store.js';
import { SourceBody, type RequestBody } from '../http/request-body.js';
import { ChunkBuffer } from './chunk-buffer.js';
import { formatResumeToken } from './resume-token.js';
import type { UploadSession } from './session.js';

export class RegistryUpload implements SourcedUpload {
  readonly #session: UploadSession;
  readonly #size: number | undefined;
  #buffer: ChunkBuffer | undefined;
  /** A buffer that was sent: two take turns, so that a blob of any size costs the memory of two chunks. */
  #spare: ChunkBuffer | undefined;
  /** What `writeFrom` was given and has not sent: less than a chunk, or all of a small blob. */
  #unsent: { readonly source: ReadableBytes; readonly end: number } | undefined;
  /** The chunk on its way. */
  #sending: Promise<void> | undefined;
  #failure: unknown;
  #closed = false;

  constructor(session: UploadSession, size: number | undefined) {
    this.#session = session;
    this.#size = size;
  }

  get id(): string {
    return this.#session.id;
  }

  get startedAt(): Date {
    return this.#session.startedAt;
  }

  get offset(): number {
    return this.#session.offset;
  }

  get resumeToken(): string {
    return formatResumeToken(this.#session.state);
  }

  /**
   * Take bytes in. Returns when they are copied, not when they are stored: `offset` tells how many are.
   * A failure of an earlier chunk is thrown here, and again until `status` has been asked.
   */
  async write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    this.#check();
    await this.#sendUnsent(options);
    let rest = chunk;
    while (rest.length > 0) {
      this.#buffer ??= this.#nextBuffer();
      rest = rest.subarray(this.#buffer.add(rest));
      if (this.#buffer.full) await this.#send(options);
    }
  }

  async writeFrom(source: ReadableBytes, end: number, options: CallOptions = {}): Promise<void> {
    this.#check();
    // What `write` has copied comes first.
    await this.#send(options);
    await this.#settle();
    const session = this.#session;
    this.#unsent = { source, end };
    try {
      while (end - session.offset > session.chunkBytes)
        await session.append(new SourceBody(source, session.offset, session.chunkBytes), options);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  async flush(options: CallOptions = {}): Promise<void> {
    this.#check();
    await this.#send(options);
    await this.#settle();
    await this.#sendUnsent(options);
  }

  /** How far the registry is. Bytes taken in but not stored are forgotten: go on writing from the answer. */
  async status(options: CallOptions = {}): Promise<number> {
    await this.#sending?.catch(() => undefined);
    this.#sending = undefined;
    this.#forget();
    const told = await this.#session.ask(options);
    this.#session.offset = told;
    this.#failure = undefined;
    return told;
  }

  async finish(digest: Digest, options: CallOptions = {}): Promise<Descriptor> {
    this.#check();
    await this.#settle();
    const whole = this.#session.offset === 0;
    // Few clients send a body with the PUT that follows PATCHes, and some registries choke on it.
    if (!whole) await this.flush(options);
    const body = whole ? (this.#buffer?.bytes() ?? this.#unsentBody()) : new Uint8Array(0);
    const descriptor = await this.#session.commit(digest, body, options).catch((error: unknown) => {
      // Refused for its digest, with the bytes stored: they are the registry's now.
      if (body.length > 0 && this.#session.offset === body.length) this.#forget();
      throw error;
    });
    this.#closed = true;
    this.#forget();
    return descriptor;
  }

  async cancel(options: CallOptions = {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#forget();
    await this.#sending?.catch(() => undefined);
    await this.#session.cancel(options);
  }

  #forget(): void {
    this.#buffer = undefined;
    this.#unsent = undefined;
  }

  async #sendUnsent(options: CallOptions): Promise<void> {
    const rest = this.#unsentBody();
    if (rest.length > 0) await this.#session.append(rest, options);
    this.#unsent = undefined;
  }

  #unsentBody(): RequestBody {
    const { offset } = this.#session;
    if (this.#unsent === undefined || this.#unsent.end <= offset) return new Uint8Array(0);
    return new SourceBody(this.#unsent.source, offset, this.#unsent.end - offset);
  }

  #remaining(): number | undefined {
    return this.#size === undefined ? undefined : Math.max(this.#size - this.#session.offset, 1);
  }

  #nextBuffer(): ChunkBuffer {
    const spare = this.#spare;
    this.#spare = undefined;
    // A registry that took only smaller chunks has changed the size since.
    if (spare?.limit !== this.#session.chunkBytes) {
      return new ChunkBuffer(this.#session.chunkBytes, this.#remaining());
    }
    spare.clear();
    return spare;
  }

  /** Wait for the chunk before, then send this one in the background. */
  async #send(options: CallOptions): Promise<void> {
    await this.#settle();
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (buffer === undefined) return;
    const sending = this.#session.append(buffer.bytes(), options).then(() => {
      this.#spare = buffer;
    });
    // Reported by the next call; until then it is not an unhandled rejection.
    sending.catch((error: unknown) => {
      this.#failure = error;
    });
    this.#sending = sending;
  }

  async #settle(): Promise<void> {
    const sending = this.#sending;
    await sending;
    if (this.#sending === sending) this.#sending = undefined;
    this.#check();
  }

  #check(): void {
    if (this.#closed) throw new ImgfsError('bad-handle', `upload ${this.id}: it is finished or cancelled`);
    if (this.#failure !== undefined) throw this.#failure as Error;
  }
}
