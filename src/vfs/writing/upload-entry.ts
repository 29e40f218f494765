/** One upload as the tree knows it: the writer while it lives, what became of it afterwards. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { BlobWriter, Committed } from '../../image/upload/blob-writer.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { CallOptions } from '../../store/store.js';
import type { Uploads } from '../../image/upload/uploads.js';

export class UploadEntry {
  readonly writer: BlobWriter;
  /** Its content comes in parts: it is committed when its digest is written, not by a close. */
  readonly isSession: boolean;
  readonly #uploads: Uploads;
  readonly #discardFailed: boolean;
  #handles = 0;
  #ended = false;
  #done: Committed | undefined;
  #listeners: ((committed: Committed) => Promise<void>)[] = [];

  /** `discardFailed`: content that is refused is nobody's loss, and does not stay in the spool. */
  constructor(uploads: Uploads, writer: BlobWriter, options: { readonly discardFailed?: boolean } = {}) {
    this.#uploads = uploads;
    this.#discardFailed = options.discardFailed === true;
    this.writer = writer;
    this.isSession = writer.state.session === true;
    // A session is open until its digest is written.
    if (this.isSession) this.hold();
  }

  /** Open for writing somewhere. */
  get isBusy(): boolean {
    return this.#handles > 0;
  }

  /** Committed and let go of: the spool has nothing of it any more. */
  get isDone(): boolean {
    return this.#handles === 0 && this.#finished !== undefined;
  }

  /** What became of it; also when it was tried again after its last close. */
  get #finished(): Committed | undefined {
    return this.#done ?? (this.writer.isClosed ? this.writer.committed : undefined);
  }

  get committed(): Committed | undefined {
    return this.#handles === 0 ? (this.#done ?? this.writer.committed) : this.writer.committed;
  }

  get size(): number {
    return this.committed?.descriptor.size ?? this.writer.size;
  }

  /** Called when the store has it, before the close that brought it is answered. */
  onCommitted(listener: (committed: Committed) => Promise<void>): void {
    this.#listeners.push(listener);
  }

  hold(): void {
    this.#handles += 1;
    this.writer.holders += 1;
  }

  /** Without moving a byte; false if the store would not. */
  async mountFrom(from: string, descriptor: Descriptor, options: CallOptions): Promise<boolean> {
    if (!(await this.writer.mountFrom(from, descriptor, options))) return false;
    await this.commit();
    return true;
  }

  async commit(): Promise<Committed> {
    const committed = await this.#uploads.commit(this.writer);
    for (const listener of this.#listeners) await listener(committed);
    return committed;
  }

  /** The digest is written and the content committed: the spool is let go of with the last handle. */
  async endSession(): Promise<void> {
    if (!this.isSession || this.#ended) return;
    this.#ended = true;
    await this.release();
  }

  /** A handle was released: the last one commits what no close did, and lets go of the spool. */
  async release(): Promise<void> {
    this.#handles -= 1;
    this.writer.holders -= 1;
    if (this.#handles > 0) return;
    if (this.#discardFailed && this.writer.committed === undefined) return this.#uploads.cancel(this.writer);
    try {
      if (this.writer.committed === undefined && this.writer.failure === undefined) await this.commit();
      this.#done = this.writer.committed;
    } finally {
      await this.#uploads.close(this.writer);
    }
  }

  async cancel(): Promise<void> {
    if (this.isDone) return;
    await this.#uploads.cancel(this.writer);
  }

  /** @throws ImgfsError `immutable`. */
  assertUnfinished(): void {
    if (this.#finished === undefined) return;
    throw new ImgfsError('immutable', `upload ${this.writer.state.name}: it is committed`, {
      hint: 'rm it, which leaves the blob alone, and write it again',
    });
  }
}
