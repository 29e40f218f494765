/** An open manifest: its bytes in memory, put when the file is closed. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { untilAborted } from '../../errors/aborted.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import type { Caller } from '../file-system.js';
import type { NodeStat } from '../node.js';
import { copyAt } from '../nodes/bytes-file.js';
import type { WritableFile } from '../writable-node.js';
import { isSameProcess, processOf } from './thread-group.js';

export interface ManifestHandleOptions {
  readonly stat: (size: number) => NodeStat;
  /** Content before: a program may change a part of it. */
  readonly before?: () => Promise<Uint8Array>;
  /** Bring the content into the store; called on close, once for each content. */
  readonly put: (bytes: Uint8Array, caller: Caller) => Promise<void>;
  /** Asked after `put`, before success is told. */
  readonly confirm?: (caller: Caller, operation: 'close' | 'fsync') => Promise<void>;
}

export class ManifestHandle implements WritableFile {
  readonly keepCache = false;
  readonly directIo = true;
  readonly #options: ManifestHandleOptions;
  readonly #opener: Promise<number>;
  #bytes: Buffer | undefined;
  #touched = false;
  #putting: Promise<void> | undefined;

  constructor(opener: Caller, options: ManifestHandleOptions) {
    this.#options = options;
    this.#opener = processOf(opener.pid);
    if (options.before === undefined) this.#bytes = Buffer.alloc(0);
  }

  stat(): NodeStat {
    return this.#options.stat(this.#bytes?.length ?? 0);
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    return copyAt(await this.#content(), buffer, position);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    const end = position + data.length;
    if (end > maxManifestBytes)
      throw new ImgfsError('too-large', `write manifest: the limit is ${maxManifestBytes} bytes`);
    const before = await this.#content();
    const bytes = Buffer.alloc(Math.max(before.length, end));
    before.copy(bytes);
    bytes.set(data, position);
    this.#bytes = bytes;
    this.#changed();
  }

  async truncate(size: number): Promise<void> {
    if (size > maxManifestBytes)
      throw new ImgfsError('too-large', `write manifest: the limit is ${maxManifestBytes} bytes`);
    const before = size === 0 ? Buffer.alloc(0) : await this.#content();
    const bytes = Buffer.alloc(size);
    before.copy(bytes);
    this.#bytes = bytes;
    // Opening with O_TRUNC is not yet a wish to have an empty manifest.
    if (size > 0) this.#changed();
  }

  async flush(caller: Caller): Promise<void> {
    if (!this.#touched || !isSameProcess(await this.#opener, await processOf(caller.pid))) return;
    await this.#put(caller);
    await this.#options.confirm?.(caller, 'close');
  }

  async fsync(caller: Caller): Promise<void> {
    if (!this.#touched) return;
    await this.#put(caller);
    await this.#options.confirm?.(caller, 'fsync');
  }

  async #put(caller: Caller): Promise<void> {
    this.#putting ??= this.#options.put(await this.#content(), { ...caller, signal: caller.signal });
    const putting = this.#putting;
    putting.catch(() => {
      if (this.#putting === putting) this.#putting = undefined;
    });
    await untilAborted(putting, caller.signal);
  }

  close(): void {}

  #changed(): void {
    this.#touched = true;
    this.#putting = undefined;
  }

  async #content(): Promise<Buffer> {
    this.#bytes ??= Buffer.from((await this.#options.before?.()) ?? []);
    return this.#bytes;
  }
}
