/**
 * Sends a spooled file to a store through an upload session, from wherever the store is. The spool has every byte, so
 * a session that is lost costs time and nothing else.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest, DigestAlgorithm } from '../../oci/digest.js';
import { createLogger } from '../../observe/log.js';
import { abortError } from '../../errors/aborted.js';
import { takesSource, type BlobUpload, type CallOptions } from '../../store/store.js';
import type { PushStore } from '../push-store.js';
import { smallBlobBytes } from '../put-bytes.js';
import type { SpooledFile } from './spooled-file.js';

const log = createLogger('upload');

/** Given to the session at once, by stores that take bytes from memory only. */
const pieceBytes = 1024 * 1024;

/** How often progress is noted where the store reads the spool itself: a registry's chunk. */
const strideBytes = 8 * 1024 * 1024;

/** Sessions and resumptions for one blob: the store has retried each request itself by then. */
const maxAttempts = 4;

export interface SenderOptions {
  readonly store: PushStore;
  readonly repository: string;
  readonly file: SpooledFile;
  readonly algorithm: DigestAlgorithm;
  /** From an earlier process. */
  readonly resumeToken?: string;
  /** Called when how to go on has changed. */
  readonly onProgress: (resumeToken: string | undefined, sentBytes: number) => void;
}

export class Sender {
  readonly #options: SenderOptions;
  #upload: BlobUpload | undefined;
  #resumeToken: string | undefined;
  /** Bytes given to the session. */
  #given = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#resumeToken = options.resumeToken;
  }

  /** Bytes below this are with the session: they must not change any more. */
  get given(): number {
    return this.#given;
  }

  get sessionId(): string | undefined {
    return this.#upload?.id;
  }

  /** Bytes that the store has confirmed. */
  get confirmed(): number {
    return this.#upload?.offset ?? 0;
  }

  /** Have a session, without a byte. */
  async begin(options: CallOptions): Promise<void> {
    await this.#session(options);
  }

  /** Give bytes below `end` to the session, begun or resumed if need be. @throws what the store throws. */
  async send(end: number, options: CallOptions): Promise<void> {
    const upload = await this.#session(options);
    const { file } = this.#options;
    let buffer: Buffer | undefined;
    while (this.#given < end) {
      if (options.signal?.aborted === true) throw abortError(options.signal);
      const before = upload.offset;
      if (takesSource(upload)) {
        // Theirs from now on, though they are read later.
        this.#given = Math.min(this.#given + strideBytes, end);
        await upload.writeFrom(file, this.#given, options);
      } else {
        buffer ??= Buffer.allocUnsafeSlow(pieceBytes);
        const length = await file.read(buffer.subarray(0, end - this.#given), this.#given);
        if (length === 0)
          throw new ImgfsError('internal', `upload: the spool ends at ${this.#given}, not ${end}`);
        await upload.write(buffer.subarray(0, length), options);
        this.#given += length;
      }
      if (upload.offset !== before) this.#note();
    }
  }

  /**
   * Send what is left and commit. What failed is resumed from where the store says it is, or begun again.
   * @throws ImgfsError `digest-mismatch`, and what the store throws in the end.
   */
  async finish(digest: Digest, size: number, options: CallOptions): Promise<Descriptor> {
    const { store, repository, file } = this.#options;
    if (size <= smallBlobBytes && store.putBlob !== undefined && this.#isUntouched) {
      const bytes = Buffer.alloc(size);
      await file.read(bytes, 0);
      try {
        return await store.putBlob(repository, digest, bytes, options);
      } catch (error) {
        if (!isWorthResuming(error)) throw error;
      }
    }
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.send(size, options);
        return await (await this.#session(options)).finish(digest, options);
      } catch (error) {
        this.#note();
        const final = attempt >= maxAttempts || options.signal?.aborted === true || !isWorthResuming(error);
        if (final) throw error;
        log.info('upload goes on after a failure', {
          repository: this.#options.repository,
          error: String(error),
        });
        await this.#realign(error, options);
      }
    }
  }

  /** Let go of the session: what was given to it is void. Never fails. */
  async drop(options: CallOptions = {}): Promise<void> {
    const upload = this.#upload;
    this.#forget();
    await upload?.cancel(options).catch(() => undefined);
  }

  #forget(): void {
    this.#upload = undefined;
    this.#resumeToken = undefined;
    this.#given = 0;
    this.#options.onProgress(undefined, 0);
  }

  #note(): void {
    if (this.#upload === undefined) return;
    this.#resumeToken = this.#upload.resumeToken;
    this.#options.onProgress(this.#resumeToken, this.#upload.offset);
  }

  /** Nothing was begun, here or by an earlier process. */
  get #isUntouched(): boolean {
    return this.#upload === undefined && this.#resumeToken === undefined && this.#given === 0;
  }

  async #session(options: CallOptions): Promise<BlobUpload> {
    if (this.#upload !== undefined) return this.#upload;
    const { store, repository, algorithm, file } = this.#options;
    if (this.#resumeToken !== undefined) {
      try {
        const upload = await store.resumeUpload(repository, this.#resumeToken, options);
        if (upload.offset <= file.size) {
          this.#given = upload.offset;
          return (this.#upload = upload);
        }
        await upload.cancel(options).catch(() => undefined);
      } catch (error) {
        if (!isLost(error)) throw error;
      }
      this.#forget();
    }
    this.#given = 0;
    this.#upload = await store.startUpload(repository, { ...options, algorithm });
    this.#note();
    return this.#upload;
  }

  /** Ask how far the store is, or begin again. */
  async #realign(error: unknown, options: CallOptions): Promise<void> {
    if (this.#upload === undefined) return;
    if (isLost(error)) return this.drop(options);
    try {
      this.#given = await this.#upload.status(options);
      if (this.#given > this.#options.file.size) await this.drop(options);
    } catch (again) {
      if (!isLost(again)) throw again;
      await this.drop(options);
    }
  }
}

/** The session is gone or is not what we think. */
function isLost(error: unknown): boolean {
  return ['stale', 'not-found', 'invalid', 'protocol', 'bad-handle', 'integrity', 'digest-mismatch'].some(
    (code) => isImgfsError(error) && error.code === code,
  );
}

/** Refusals stay refusals: only what a new request may mend is tried again. */
function isWorthResuming(error: unknown): boolean {
  return isLost(error) || isImgfsError(error, 'unavailable') || isImgfsError(error, 'timeout');
}
