/** An open upload: what a program writes between open(2) and close(2). */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { BlobSource } from '../../content/content.js';
import { untilAborted } from '../../image/single-flight.js';
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
}

export class UploadHandle implements WritableFile {
  readonly keepCache = false;
  readonly directIo = true;
  readonly #entry: UploadEntry;
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
    entry.hold();
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
    await this.#entry.writer.write(data, position);
  }

  async truncate(size: number): Promise<void> {
    this.#entry.assertUnfinished();
    await this.#entry.writer.truncate(size);
  }

  async flush(caller: Caller): Promise<void> {
    if (!this.#touched && this.#mounted === undefined) return;
    if (!isSameProcess(await this.#opener, await processOf(caller.pid))) return;
    await this.fsync(caller);
  }

  async fsync(caller: Caller): Promise<void> {
    if (this.#mounted !== undefined) {
      if (this.#mountedBytes >= this.#mounted.descriptor.size) return;
      throw new ImgfsError('non-sequential-write', 'close: only a part of a blob was copied');
    }
    await untilAborted(this.#entry.commit(), caller.signal);
  }

  async copyFrom(
    source: BlobSource,
    position: number,
    length: number,
    caller: Caller,
  ): Promise<number | undefined> {
    const { descriptor, store, repository } = source;
    if (store.id !== this.#options.storeId || repository === this.#options.repository) return undefined;
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
    await this.#entry.release();
  }
}
