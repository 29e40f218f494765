/**
 * Uploads to a store in files: bytes are spooled to a file that outlives the process, hashed as they arrive, and
 * renamed to the blob they turn out to be.
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { Descriptor } from '../oci/descriptor.js';
import { createDigester, digestAlgorithm, type Digest, type Digester } from '../oci/digest.js';
import { mediaTypes } from '../oci/media-type.js';
import { fileError, fsErrorCode } from './file-error.js';
import type { BlobUpload, CallOptions, UploadOptions } from './store.js';
import { makeDirectory, syncDirectory } from './write-file.js';

/** Bytes hashed at once: sha256 took 0.6 ms for 1 MiB; the limit for the JavaScript thread is 10 ms. */
const sliceBytes = 1024 * 1024;

export interface SpoolOptions {
  /** Directory of the spool files; made when needed, on the file system of the blobs. */
  readonly directory: string;
  /** Where the blob of a digest belongs. */
  path(digest: Digest): string;
  /** Called when the blob is in place: the store may know more than the file. */
  finished?(digest: Digest, size: number): Promise<void>;
}

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Begin a spool file. @throws ImgfsError as {@link fileError}. */
export async function startSpooledUpload(spool: SpoolOptions, options: UploadOptions): Promise<BlobUpload> {
  const id = randomUUID();
  const path = join(spool.directory, id);
  try {
    await makeDirectory(spool.directory);
    await (await open(path, 'wx', 0o600)).close();
    return new SpooledUpload(spool, {
      id,
      startedAt: new Date(),
      offset: 0,
      digester: createDigester(options.algorithm),
      ...(options.size === undefined ? {} : { size: options.size }),
    });
  } catch (error) {
    throw fileError(error, 'start upload', path);
  }
}

/**
 * Go on with a spool file of this or another process.
 * @throws ImgfsError `not-found` when the upload was finished, cancelled or collected; `invalid` for a foreign token.
 */
export async function resumeSpooledUpload(spool: SpoolOptions, resumeToken: string): Promise<BlobUpload> {
  const [id = '', size] = resumeToken.split(' ');
  if (!idPattern.test(id) || !/^[0-9]*$/.test(size ?? '')) {
    throw new ImgfsError('invalid', 'resume upload: not a resume token of this store');
  }
  const path = join(spool.directory, id);
  try {
    const stats = await lstat(path);
    if (!stats.isFile())
      throw new ImgfsError('invalid-content', `resume upload ${path}: not a file`, { path });
    return new SpooledUpload(spool, {
      id,
      startedAt: stats.birthtime,
      offset: stats.size,
      ...(size === undefined || size === '' ? {} : { size: Number(size) }),
    });
  } catch (error) {
    throw fileError(error, 'resume upload', path, { missing: 'not-found' });
  }
}

/** Remove spool files that were not written to for `olderThanMs`; gives their ids. */
export async function removeOldUploads(
  directory: string,
  olderThanMs: number,
  dryRun: boolean,
): Promise<readonly string[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (fsErrorCode(error) === 'ENOENT') return [];
    throw fileError(error, 'list uploads', directory);
  });
  const old: string[] = [];
  for (const name of names) {
    const path = join(directory, name);
    const stats = await stat(path).catch(() => undefined);
    if (stats === undefined || Date.now() - stats.mtimeMs < olderThanMs) continue;
    if (!dryRun) await unlink(path).catch(() => undefined);
    old.push(name);
  }
  return old;
}

interface UploadState {
  readonly id: string;
  readonly startedAt: Date;
  readonly offset: number;
  /** Announced length. */
  readonly size?: number;
  /** Undefined after a restart: `finish` hashes the file then. */
  readonly digester?: Digester;
}

class SpooledUpload implements BlobUpload {
  readonly id: string;
  readonly startedAt: Date;
  readonly resumeToken: string;
  private readonly spool: SpoolOptions;
  private readonly size: number | undefined;
  private digester: Digester | undefined;
  private at: number;
  private open = true;
  /** Writes wait for each other: the hash needs the bytes in order. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(spool: SpoolOptions, state: UploadState) {
    this.spool = spool;
    this.id = state.id;
    this.startedAt = state.startedAt;
    this.at = state.offset;
    this.size = state.size;
    this.digester = state.digester;
    this.resumeToken = `${state.id} ${state.size ?? ''}`;
  }

  get offset(): number {
    return this.at;
  }

  private get path(): string {
    return join(this.spool.directory, this.id);
  }

  write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    const done = this.turn.then(() => this.append(chunk, options));
    this.turn = done.catch(() => undefined);
    return done;
  }

  private async append(chunk: Uint8Array, { signal }: CallOptions): Promise<void> {
    this.assertOpen();
    if (this.size !== undefined && this.at + chunk.length > this.size) {
      throw new ImgfsError('invalid', `upload ${this.id}: more than the announced ${this.size} bytes`);
    }
    await this.withFile('write upload', constants.O_WRONLY, async (handle) => {
      for (let start = 0; start < chunk.length; start += sliceBytes) {
        if (signal?.aborted === true) {
          throw new ImgfsError('interrupted', `upload ${this.id}: given up at byte ${this.at}`);
        }
        await this.appendSlice(handle, chunk.subarray(start, start + sliceBytes));
      }
    });
  }

  /**
   * The spool file is opened for each call, three more system calls for 128 KiB or more: an upload that nobody goes on with keeps no descriptor open.
   * @throws ImgfsError `not-found` when somebody removed it.
   */
  private async withFile(
    operation: string,
    flags: number,
    work: (handle: FileHandle) => Promise<void>,
  ): Promise<void> {
    try {
      const handle = await open(this.path, flags | constants.O_NOFOLLOW);
      try {
        await work(handle);
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw fileError(error, operation, this.path, { missing: 'not-found' });
    }
  }

  private async appendSlice(handle: FileHandle, slice: Uint8Array): Promise<void> {
    // After a failure the offset has not moved: what was written of the slice is overwritten by the next attempt.
    for (let written = 0; written < slice.length;) {
      const position = this.at + written;
      written += (await handle.write(slice, written, slice.length - written, position)).bytesWritten;
    }
    this.digester?.update(slice);
    this.at += slice.length;
  }

  async status(): Promise<number> {
    await this.turn;
    this.assertOpen();
    return this.at;
  }

  async finish(digest: Digest, options: CallOptions = {}): Promise<Descriptor> {
    await this.turn;
    this.assertOpen();
    if (this.size !== undefined && this.at !== this.size) {
      throw new ImgfsError('digest-mismatch', `finish upload ${this.id}: ${this.at} of ${this.size} bytes`);
    }
    // Read-only: after a finish that failed late the file is read-only too.
    await this.withFile('finish upload', constants.O_RDONLY, async (handle) => {
      if ((await handle.stat()).size !== this.at) {
        throw new ImgfsError('stale', `finish upload ${this.id}: somebody else wrote to ${this.path}`);
      }
      const actual = await this.digest(handle, digest, options);
      if (actual !== digest) {
        throw new ImgfsError(
          'digest-mismatch',
          `finish upload ${this.id}: the content is ${actual}, not ${digest}`,
          { digest },
        );
      }
      await handle.sync();
      await handle.chmod(0o444);
    });
    const target = this.spool.path(digest);
    try {
      await makeDirectory(dirname(target));
      // Also over a blob that is there: these bytes were just verified, those may have been damaged since.
      await rename(this.path, target);
      await syncDirectory(dirname(target));
    } catch (error) {
      throw fileError(error, 'finish upload', target, { digest });
    }
    this.open = false;
    await this.spool.finished?.(digest, this.at);
    return { mediaType: mediaTypes.octetStream, digest, size: this.at };
  }

  private async digest(handle: FileHandle, wanted: Digest, { signal }: CallOptions): Promise<Digest> {
    const algorithm = digestAlgorithm(wanted);
    // Taken out: a digester can be asked once, and after a mismatch the upload goes on.
    const running = this.digester?.algorithm === algorithm ? this.digester : undefined;
    this.digester = undefined;
    if (running !== undefined) return running.digest();
    const digester = createDigester(algorithm);
    const buffer = Buffer.allocUnsafeSlow(Math.min(sliceBytes, Math.max(this.at, 1)));
    for (let at = 0; at < this.at;) {
      if (signal?.aborted === true) throw new ImgfsError('interrupted', `finish upload ${this.id}: given up`);
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, this.at - at), at);
      if (bytesRead === 0) throw new ImgfsError('stale', `finish upload ${this.id}: the spool file shrank`);
      digester.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    return digester.digest();
  }

  async cancel(): Promise<void> {
    await this.turn;
    if (!this.open) return;
    this.open = false;
    await unlink(this.path).catch((error: unknown) => {
      if (fsErrorCode(error) !== 'ENOENT') throw fileError(error, 'cancel upload', this.path);
    });
  }

  private assertOpen(): void {
    if (!this.open) throw new ImgfsError('not-found', `upload ${this.id}: finished or cancelled`);
  }
}
