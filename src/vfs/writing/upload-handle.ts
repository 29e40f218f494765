/** An open upload: what a program writes between open(2) and close(2). */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { BlobSource } from '../../content/content.js';
import { untilAborted } from '../../errors/aborted.js';
import type { Caller } from '../file-system.js';
import type { NodeStat } from '../node.js';
import type { WritableFile } from '../writable-node.js';
import type { UploadEntry } from './upload-entry.js';
import { isSameProcess, processOf } from './thread-group.js';

export interface UploadHandleOptions {
  readonly stat: () => NodeStat;
  readonly storeId: string;
  /** Repository that the upload goes to. */
  readonly repository: string;
  /** O_APPEND: whatever the position, bytes go to the end. */
  readonly append?: boolean;
  /** Another upload in the place of one that is committed. */
  readonly renew?: () => Promise<UploadEntry>;
}

export class UploadHandle implements WritableFile {
  readonly keepCache = false;
  readonly directIo = true;
  #entry: UploadEntry;
  /** Of a committed upload nothing is held: what is left of it is in the store. */
  #isHeld: boolean;
  readonly #options: UploadHandleOptions;
  readonly #opener: Promise<number>;
  /** Set when something was written or cut: a close before that (of a duplicated descriptor) means nothing. */
  #touched = false;
  /** How much of a mounted blob copy_file_range has asked for. */
  #mountedBytes = 0;
  #mounted: BlobSource | undefined;

  constructor(entry: UploadEntry, opener: Caller, options: UploadHandleOptions) {
    this.#entry = entry;
    this.#options = options;
    this.#opener = processOf(opener.pid);
    this.#isHeld = !entry.isDone;
    if (this.#isHeld) entry.hold();
  }

  stat(): NodeStat {
    return this.#options.stat();
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#entry.writer.read(buffer, position);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    this.#entry.assertUnfinished();
    if (this.#mounted !== undefined)
      throw new ImgfsError(
        'non-sequential-write',
        'write: the blob was taken over from another repository as it is',
      );
    this.#touched = true;
    const { writer } = this.#entry;
    // The kernel's idea of the end may be older than what another program has appended.
    await writer.write(data, this.#options.append === true ? writer.size : position);
  }

  async truncate(size: number): Promise<void> {
    if (size === 0 && (!this.#isHeld || this.#entry.writer.isClosed) && this.#options.renew !== undefined) {
      if (this.#isHeld) await this.#entry.release();
      this.#isHeld = false;
      this.#entry = await this.#options.renew();
      this.#entry.hold();
      this.#isHeld = true;
    }
    this.#entry.assertUnfinished();
    // O_TRUNC is not yet content; a length is: `cp` of a file that is one hole writes nothing else.
    if (size > 0) this.#touched = true;
    await this.#entry.writer.truncate(size);
  }

  async flush(caller: Caller): Promise<void> {
    if (!this.#isHeld || (!this.#touched && this.#mounted === undefined)) return;
    if (!isSameProcess(await this.#opener, await processOf(caller.pid))) return;
    await this.fsync(caller);
  }

  async fsync(caller: Caller): Promise<void> {
    if (this.#mounted !== undefined) {
      if (this.#mountedBytes >= this.#mounted.descriptor.size) return;
      throw new ImgfsError('non-sequential-write', 'close: only a part of a blob was copied');
    }
    if (!this.#isHeld) return;
    // In a session the digest commits: until then, safe means in the spool.
    const done = this.#entry.isSession ? this.#entry.writer.sync() : this.#entry.commit();
    await untilAborted<unknown>(done, caller.signal);
  }

  async copyFrom(
    source: BlobSource,
    position: number,
    length: number,
    caller: Caller,
  ): Promise<number | undefined> {
    const { descriptor, store, repository } = source;
    if (!this.#isHeld || store.id !== this.#options.storeId || repository === this.#options.repository)
      return undefined;
    const isNext = this.#mounted?.descriptor.digest === descriptor.digest && position === this.#mountedBytes;
    if (!isNext) {
      // Only from the beginning, into nothing, and as much as one call can ask for: 2 GiB less a page.
      if (position !== 0 || this.#entry.writer.size > 0 || this.#mounted !== undefined) return undefined;
      if (length < Math.min(descriptor.size, 0x7fff_f000)) return undefined;
      if (!(await this.#entry.mountFrom(repository, descriptor, { signal: caller.signal }))) return undefined;
      this.#mounted = source;
      this.#mountedBytes = 0;
    }
    const taken = Math.min(length, descriptor.size - position);
    this.#mountedBytes += taken;
    return taken;
  }

  async close(): Promise<void> {
    if (this.#isHeld) await this.#entry.release();
  }
}
