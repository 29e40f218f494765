/**
 * Manifests, configs and other blobs that are wanted whole: fetched into memory in one request, verified, given
 * out, and put on disk in the background. The last ones used stay in memory.
 */
import { LRUCache } from 'lru-cache';
import { constants, promises as fs } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestAlgorithm, digestOf, type Digest, type DigestAlgorithm } from '../oci/digest.js';
import type { BlobContext } from './blob-context.js';
import { openComplete } from './complete-file.js';
import type { BlobSource, ReadAllOptions } from './content.js';
import { cachedBytes, verificationFailures, verified } from './content-metrics.js';
import { syncFolder } from './durable.js';
import {
  closeQuietly,
  isDiskTrouble,
  openFile,
  readFully,
  removePath,
  setFileMode,
  syncFile,
  writeFully,
} from './file-io.js';
import { receiveRange } from './receive-range.js';
import { stamp } from './verified-stamp.js';
import { SharedWork } from './waiting.js';

const log = createLogger('content');

/**
 * Fetched in one piece into memory and hashed on the JavaScript thread; larger ones go through the disk. 8 ms at
 * 250 MB/s, which is sha256 without SHA instructions; 5 ms at the 23 MB/s of blake3.
 */
const smallBlobBytes: Readonly<Record<DigestAlgorithm, number>> = {
  sha256: 2 << 20,
  sha512: 2 << 20,
  blake3: 128 << 10,
};
/** A thousand manifests of 8 KiB. */
const memoryBytes = 8 << 20;
/** One large config must not push a hundred manifests out. */
const memoryBlobBytes = 256 << 10;

export class SmallBlobs {
  readonly #context: BlobContext;
  readonly #memory = new LRUCache<Digest, Uint8Array>({
    maxSize: memoryBytes,
    sizeCalculation: (bytes) => Math.max(1, bytes.length),
  });
  readonly #flights = new Map<string, SharedWork<Uint8Array>>();
  readonly #writes = new Map<Digest, Promise<void>>();

  constructor(context: BlobContext) {
    this.#context = context;
  }

  /** The blob if it is here, verified; no request. */
  async atHand(descriptor: Descriptor): Promise<Uint8Array | undefined> {
    const { digest, size } = descriptor;
    const known = this.#memory.get(digest);
    if (known !== undefined) {
      if (known.length !== size) throw wrongSize(descriptor, known.length);
      return known;
    }
    if (descriptor.data !== undefined && matches(descriptor, descriptor.data)) {
      this.#remember(digest, descriptor.data);
      return descriptor.data;
    }
    return this.#fromDisk(descriptor);
  }

  /** Read from disk and hash again: at this size that costs nothing, and finds what a stamp cannot know. */
  async #fromDisk(descriptor: Descriptor): Promise<Uint8Array | undefined> {
    const { digest, size } = descriptor;
    const path = this.#context.paths.blob(digest);
    try {
      const file = await openComplete(path, { digest, size });
      if (file === undefined) return undefined;
      try {
        const bytes = Buffer.allocUnsafeSlow(size);
        if ((await readFully(file.fd, bytes, 0)) === size && matches(descriptor, bytes)) {
          this.#context.touch(digest);
          if (!file.trusted) await stamp(digest, file.fd);
          cachedBytes.add(size);
          this.#remember(digest, bytes);
          return bytes;
        }
      } finally {
        await closeQuietly(file.fd);
      }
      log.warn('cached blob is damaged and was removed', { digest, path });
      await removePath(path);
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
    }
    return undefined;
  }

  /** The blob from here or from its store, verified. Concurrent calls share the transfer. */
  async read(source: BlobSource, { signal }: ReadAllOptions): Promise<Uint8Array> {
    const { store, repository, descriptor } = source;
    const key = [descriptor.digest, descriptor.size, store.id, repository].join(' ');
    let flight = this.#flights.get(key);
    if (flight === undefined || flight.abandoned) {
      const started = new SharedWork(
        async (workSignal) => (await this.atHand(descriptor)) ?? this.#fetchVerified(source, workSignal),
      );
      flight = started;
      this.#flights.set(key, started);
      void started.settled().then(() => {
        if (this.#flights.get(key) === started) this.#flights.delete(key);
      });
    }
    return flight.wait(signal);
  }

  /** A blob that does not match is fetched anew once. */
  async #fetchVerified(source: BlobSource, signal: AbortSignal): Promise<Uint8Array> {
    for (let attempt = 1; ; attempt += 1) {
      const range = { start: 0, end: source.descriptor.size };
      const bytes = await receiveRange(source, range, signal, { fresh: attempt > 1 });
      if (matches(source.descriptor, bytes)) {
        verified.add();
        this.keep(source.descriptor.digest, bytes);
        return bytes;
      }
      verificationFailures.add();
      const error = mismatch(source.descriptor, bytes, source.store.id);
      log.error('blob does not match its digest', { ...error.context });
      if (attempt > 1) throw error;
    }
  }

  /** Keep verified bytes: in memory now, on disk soon. */
  keep(digest: Digest, bytes: Uint8Array): void {
    this.#remember(digest, bytes);
    if (this.#writes.has(digest)) return;
    const write = this.#write(digest, bytes)
      .catch((error: unknown) => {
        this.#context.noteTrouble(error);
        log.warn('blob could not be kept', { digest, error: String(error) });
      })
      .finally(() => this.#writes.delete(digest));
    this.#writes.set(digest, write);
  }

  #remember(digest: Digest, bytes: Uint8Array): void {
    if (bytes.length <= memoryBlobBytes) this.#memory.set(digest, bytes);
  }

  forget(digest: Digest): void {
    this.#memory.delete(digest);
  }

  async #write(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (!this.#context.diskUsable() || (await this.#isOnDisk(digest, bytes.length))) return;
    const reservation = await this.#context.ledger.reserve(bytes.length);
    if (reservation === undefined) return;
    const path = this.#context.paths.blob(digest);
    const folder = dirname(path);
    const { partials } = this.#context.paths;
    // Under the name of a partial blob: what a killed process leaves is counted and evicted as one.
    const temporary = `${this.#context.paths.partial(digest)}~put-${randomBytes(6).toString('hex')}`;
    let fd: number | undefined;
    try {
      await fs.mkdir(folder, { recursive: true, mode: 0o700 });
      await fs.mkdir(partials, { recursive: true, mode: 0o700 });
      fd = await openFile(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
      await writeFully(fd, [bytes], 0);
      await setFileMode(fd, 0o444);
      await stamp(digest, fd);
      await syncFile(fd);
      await fs.rename(temporary, path);
      await syncFolder(folder);
      // In one turn: counted twice, it would have something evicted.
      reservation.release();
      this.#context.blobAdded(digest, bytes.length);
    } catch (error) {
      await removePath(temporary);
      throw error;
    } finally {
      await closeQuietly(fd);
      reservation.release();
    }
  }

  async #isOnDisk(digest: Digest, size: number): Promise<boolean> {
    const file = await openComplete(this.#context.paths.blob(digest), { digest, size });
    await closeQuietly(file?.fd);
    return file?.trusted === true;
  }

  /** Bytes of a blob that are in memory. */
  peek(digest: Digest): Uint8Array | undefined {
    return this.#memory.get(digest);
  }

  /** Resolves when the blob is on disk, or will not be. */
  async written(digest: Digest): Promise<void> {
    await this.#writes.get(digest);
  }

  async close(): Promise<void> {
    await Promise.all(this.#writes.values());
  }
}

/** True for a blob that is handled whole in memory. */
export function isSmall({ digest, size }: Descriptor): boolean {
  return size <= smallBlobBytes[digestAlgorithm(digest)];
}

/** True when bytes are what the descriptor says. */
export function matches(descriptor: Descriptor, bytes: Uint8Array): boolean {
  return (
    bytes.length === descriptor.size &&
    digestOf(bytes, digestAlgorithm(descriptor.digest)) === descriptor.digest
  );
}

function wrongSize({ digest, size }: Descriptor, actual: number): ImgfsError {
  return new ImgfsError('integrity', `blob ${digest} has ${actual} bytes, its descriptor says ${size}`, {
    operation: 'read blob',
    digest,
    hint: 'the manifest that names this blob is wrong: its author must fix the size',
  });
}

/** The error for bytes that are not what the descriptor says. */
export function mismatch(descriptor: Descriptor, bytes: Uint8Array, from: string): ImgfsError {
  const { digest, size } = descriptor;
  const cause =
    bytes.length === size
      ? `its bytes have digest ${digestOf(bytes, digestAlgorithm(digest))}`
      : `it has ${bytes.length} bytes instead of ${size}`;
  return new ImgfsError('integrity', `blob ${digest} from ${from} does not match: ${cause}`, {
    operation: 'verify blob',
    digest,
    hint: 'the store has a damaged blob, or something on the way changes it',
  });
}
