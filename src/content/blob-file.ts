/**
 * The file of one blob: complete under its name, partial in a folder of its own, or none when the disk cannot be
 * used. Knows descriptors, hashing and names; what may be shown of it is decided in `lazy-blob`.
 *
 * Descriptors are closed only when no call on them is under way: a number that was closed may be another file.
 */
import { ImgfsError } from '../errors/imgfs-error.js';
import type { FileTarget } from '../store/store.js';
import { createLogger } from '../observe/log.js';
import { digestAlgorithm, digestOf } from '../oci/digest.js';
import { Activity } from './activity.js';
import type { BlobContext } from './blob-context.js';
import { openComplete } from './complete-file.js';
import { Extents } from './extents.js';
import type { JournalKey } from './extent-journal.js';
import { closeQuietly, isDiskTrouble, readAt, readFully, removePath, statFile } from './file-io.js';
import { onDisk } from './ledger.js';
import { PartialFile } from './partial-file.js';
import { StreamDigest } from './stream-digest.js';
import { isStamped, stamp } from './verified-stamp.js';

const log = createLogger('content');

/** Hashed on the JavaScript thread: 1 ms without SHA instructions, a round trip to a helper is 0.1 ms. */
const inlineHashBytes: Readonly<Record<string, number>> = {
  sha256: 256 << 10,
  sha512: 256 << 10,
  blake3: 16 << 10,
};
/** The digest follows the arriving bytes in steps of this length. */
const hashStepBytes = 1 << 20;
/** A block each for the folder and the journal of a partial blob; the lock is an empty file. */
const partialOverheadBytes = 2 * 4096;

export class BlobFile {
  readonly #context: BlobContext;
  readonly #key: JournalKey;
  readonly #digest: StreamDigest;
  readonly #calls = new Activity();
  #fd: number | undefined;
  #partial: PartialFile | undefined;
  /** Bytes of the partial file. */
  #keptBytes = 0;
  #named = false;
  #trusted = false;
  #closed = false;
  /** Ranges that were on disk at open. */
  readonly initial = new Extents();

  private constructor(context: BlobContext, key: JournalKey) {
    this.#context = context;
    this.#key = key;
    this.#digest = new StreamDigest(context.pool, key.digest);
  }

  /**
   * Open what there is, or begin a partial file.
   * @throws ImgfsError `integrity` when the verified blob has another size.
   */
  static async open(context: BlobContext, key: JournalKey): Promise<BlobFile> {
    const file = new BlobFile(context, key);
    // Of an empty blob there is nothing to keep.
    if (key.size === 0) return file;
    try {
      await file.#open();
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      context.noteTrouble(error);
    }
    return file;
  }

  async #open(): Promise<void> {
    const { paths } = this.#context;
    const complete = await openComplete(paths.blob(this.#key.digest), this.#key);
    if (complete !== undefined) {
      this.#fd = complete.fd;
      this.#named = true;
      this.#trusted = complete.trusted;
      this.initial.add(0, this.#key.size);
    } else if (this.#context.diskUsable()) {
      const room = await this.#context.ledger.reserve(partialOverheadBytes);
      // Nothing can go: the blob is read through memory.
      if (room === undefined) return;
      try {
        this.#partial = await PartialFile.open(paths, this.#key);
        this.#fd = this.#partial.readFd;
        for (const { start, end } of this.#partial.initial.ranges()) this.initial.add(start, end);
        this.#keptBytes = this.initial.bytes;
        this.#countPartial();
      } finally {
        room.release();
      }
    }
  }

  /** Read-only descriptor, if there is a file. */
  get fd(): number | undefined {
    return this.#closed ? undefined : this.#fd;
  }

  /** The file has the blob's name: it was there, or was finalized. */
  get named(): boolean {
    return this.#named;
  }

  /** It was there with its name and stamp: the bytes are known to match. */
  get trusted(): boolean {
    return this.#trusted;
  }

  /** True when bytes can be added. */
  get takesBytes(): boolean {
    return this.#partial !== undefined && !this.#closed && this.#context.diskUsable();
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new ImgfsError('bad-handle', 'read blob: closed', { digest: this.#key.digest });
    this.#calls.begin();
    try {
      return await work();
    } finally {
      this.#calls.end();
    }
  }

  /** As read(2). */
  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    const fd = this.fd;
    if (fd === undefined)
      throw new ImgfsError('bad-handle', 'read blob: closed', { digest: this.#key.digest });
    this.#calls.begin();
    try {
      return await readAt(fd, buffer, offset, length, position);
    } finally {
      this.#calls.end();
    }
  }

  /** False when the disk does not take the bytes, also after something else went. */
  write(start: number, end: number, buffers: readonly Uint8Array[]): Promise<boolean> {
    return this.#call(async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          if (this.#partial === undefined) return false;
          await this.#partial.write(start, buffers, end - start);
          this.#keptBytes += end - start;
          this.#countPartial();
          return true;
        } catch (error) {
          if (!isDiskTrouble(error)) throw error;
          if (attempt > 1 || (await this.#context.freeDisk(error)) === 0) {
            this.#context.noteTrouble(error);
            return false;
          }
        }
      }
    });
  }

  /**
   * Have bytes from `start` on written by `receive`. `onWritten` is told of each part that is there. Resolves to the
   * offset reached.
   */
  receive(
    start: number,
    receive: (target: FileTarget) => Promise<number>,
    onWritten: (start: number, end: number) => void,
  ): Promise<number> {
    return this.#call(async () => {
      const partial = this.#partial;
      if (partial === undefined) return start;
      let reached = start;
      const note = (position: number): void => {
        if (position <= reached) return;
        const from = reached;
        reached = position;
        partial.wrote(from, position - from);
        this.#keptBytes += position - from;
        this.#countPartial();
        onWritten(from, position);
      };
      note(await receive({ fd: partial.writeFd, digest: this.#digest.handle, onWritten: note }));
      return reached;
    });
  }

  flushJournal(): void {
    if (!this.#closed) this.#partial?.flushJournal();
  }

  /** Bytes below `prefix` are written: hash them while others arrive. */
  follow(prefix: number): void {
    const { size } = this.#key;
    if (this.fd === undefined || size <= this.#inlineLimit()) return;
    if (prefix === size || prefix - this.#digest.scheduled >= hashStepBytes)
      this.#digest.advance(this.fd, prefix);
  }

  /** Bytes that `hashWhole`, once called, still has to hash. */
  get leftToHash(): number {
    return this.#digest.leftBytes;
  }

  #inlineLimit(): number {
    return inlineHashBytes[digestAlgorithm(this.#key.digest)] ?? 0;
  }

  /**
   * The digest of the whole file. Call once.
   * @throws when the file cannot be read, or ends too soon; ImgfsError `interrupted` when it is closed meanwhile.
   */
  hashWhole(): Promise<string> {
    return this.#call(async () => {
      const { digest, size } = this.#key;
      const fd = this.#fd;
      if (fd === undefined) throw new ImgfsError('internal', 'hash a blob without a file');
      if (size > this.#inlineLimit()) {
        this.#digest.advance(fd, size);
        return this.#digest.finish();
      }
      const bytes = Buffer.allocUnsafe(size);
      if ((await readFully(fd, bytes, 0)) < size) throw new Error('the file is cut');
      return digestOf(bytes, digestAlgorithm(digest));
    });
  }

  /** The bytes have matched: give the file its name and stamp. Never fails: the blob can be read without. */
  finalize(): Promise<void> {
    return this.#call(async () => {
      const { digest, size } = this.#key;
      const partial = this.#partial;
      let isCounted = false;
      try {
        if (partial === undefined) {
          if (this.#fd !== undefined) await stamp(digest, this.#fd);
          return;
        }
        // Its bytes count once, under the name, from right before it has that: no listing finds them in both places, or
        // in none. The emptied folder is there for a moment longer.
        await partial.finalize(this.#context.paths.blob(digest), () => {
          this.#keptBytes = 0;
          this.#countPartial();
          this.#context.blobNamed(digest, size);
          isCounted = true;
        });
        this.#named = true;
        this.#context.blobAdded(digest, size);
      } catch (error) {
        log.warn('blob could not be kept', { digest, error: String(error) });
        // What another process has under that name meanwhile is not ours to forget.
        if (isCounted && !this.#named) this.#context.blobGone(digest);
      }
      await this.#endPartial(true);
    });
  }

  /** Whether nobody has written to the file since it was verified. */
  isUnchanged(): Promise<boolean> {
    return this.#call(async () => {
      if (this.#fd === undefined || !this.#named) return true;
      const stat = await statFile(this.#fd);
      return stat.size === this.#key.size && isStamped(this.#key.digest, stat);
    });
  }

  /** Remove a file that has the name but not the bytes. */
  async removeNamed(): Promise<void> {
    if (this.#named) await removePath(this.#context.paths.blob(this.#key.digest));
  }

  /** The bytes are of no use: give up files and lock, so that the next attempt can begin. Reading stays possible. */
  async discard(): Promise<void> {
    await this.#calls.quiet();
    await this.#digest.drop();
    await this.#endPartial(true);
  }

  #partialBytes(): number {
    return onDisk(this.#keptBytes) + partialOverheadBytes;
  }

  #countPartial(): void {
    if (this.#partial !== undefined) this.#context.partials.own(this.#partial.name, this.#partialBytes());
  }

  async #endPartial(remove: boolean): Promise<void> {
    if (this.#partial === undefined) return;
    await this.#partial.end({ remove, keepReadFd: true });
    if (remove) this.#context.partials.delete(this.#partial.name);
    else this.#context.partials.set(this.#partial.name, this.#partialBytes());
  }

  /** Let go. `useless`: nothing in a partial file is worth keeping. */
  async close(useless: boolean): Promise<void> {
    if (!useless) await this.#call(async () => this.#partial?.sync());
    this.#closed = true;
    await this.#digest.drop();
    await this.#calls.quiet();
    await this.#endPartial(useless);
    await closeQuietly(this.#fd);
  }
}
