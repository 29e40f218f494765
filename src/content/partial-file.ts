/**
 * A blob that is not complete yet, on disk: `partial/<alg>-<hex>/` with a sparse file `data`, the journal
 * `ranges`, and the lock of the process that writes.
 *
 * A second process (or a second claim about the size of the blob) gets a private copy in a folder of its own,
 * `<alg>-<hex>~…`, without a journal: it is not resumed, but the blob that comes out of it is as good.
 */
import { constants, promises as fs } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { CachePaths } from './cache-paths.js';
import { syncFolder } from './durable.js';
import type { Extents } from './extents.js';
import { ExtentJournal, readJournal, type JournalKey } from './extent-journal.js';
import {
  closeQuietly,
  openFile,
  removePath,
  setFileMode,
  statFile,
  syncFile,
  syncFileData,
  truncateFile,
  writeFully,
} from './file-io.js';
import { tryOwn, type OwnerLock } from './owner-lock.js';
import { stamp } from './verified-stamp.js';

/** A record of 40 bytes for each 4 MiB written: what kill -9 can cost is fetched again in 0.2 s at 20 MB/s. */
const journalStepBytes = 4 << 20;

interface OpenFolder {
  readonly folder: string;
  readonly lock: OwnerLock;
  readonly isPrivate: boolean;
}

export class PartialFile {
  readonly key: JournalKey;
  /** Ranges that were there when it was opened. */
  readonly initial: Extents;
  readonly folder: string;
  /** Read-only descriptor of the data: stays valid when the file is renamed or removed. */
  readonly readFd: number;
  readonly #writeFd: number;
  readonly #lock: OwnerLock;
  readonly #journal: ExtentJournal | undefined;
  #sinceFlush = 0;
  #ended = false;

  private constructor(
    key: JournalKey,
    open: OpenFolder,
    files: { readFd: number; writeFd: number; journal: ExtentJournal | undefined; initial: Extents },
  ) {
    this.key = key;
    this.folder = open.folder;
    this.#lock = open.lock;
    this.readFd = files.readFd;
    this.#writeFd = files.writeFd;
    this.#journal = files.journal;
    this.initial = files.initial;
  }

  /**
   * Open the partial blob, made if need be. System errors pass through: the caller reads through memory then.
   */
  static async open(paths: CachePaths, key: JournalKey): Promise<PartialFile> {
    const open = await ownFolder(paths, key);
    let readFd: number | undefined;
    let writeFd: number | undefined;
    try {
      const dataPath = join(open.folder, 'data');
      writeFd = await openData(dataPath);
      const stat = await statFile(writeFd);
      const journalPath = join(open.folder, 'ranges');
      const initial = await readJournal(journalPath, key, stat);
      if (initial.bytes === 0) {
        // Nothing to keep: drop stale blocks as well, they would count against the bound.
        if (stat.size > 0) await truncateFile(writeFd, 0);
        await truncateFile(writeFd, key.size);
      }
      readFd = await openFile(dataPath, constants.O_RDONLY | constants.O_NOFOLLOW);
      const journal = open.isPrivate ? undefined : await ExtentJournal.create(journalPath, key, initial);
      return new PartialFile(key, open, { readFd, writeFd, journal, initial });
    } catch (error) {
      await closeQuietly(readFd);
      await closeQuietly(writeFd);
      await open.lock.release();
      throw error;
    }
  }

  /** Name of its folder: how the ledger knows it. */
  get name(): string {
    return basename(this.folder);
  }

  /** Write bytes. They are readable through `readFd` when this resolves. System errors pass through. */
  async write(position: number, buffers: readonly Uint8Array[], bytes: number): Promise<void> {
    this.#checkOpen();
    await writeFully(this.#writeFd, buffers, position);
    this.wrote(position, bytes);
  }

  /** Descriptor for who writes by himself, and tells by `wrote`. Good until `end`. */
  get writeFd(): number {
    this.#checkOpen();
    return this.#writeFd;
  }

  /** Bytes were written. */
  wrote(position: number, bytes: number): void {
    if (this.#journal === undefined) return;
    this.#journal.note(position, position + bytes);
    this.#sinceFlush += bytes;
    if (this.#sinceFlush >= journalStepBytes) this.flushJournal();
  }

  /** A closed descriptor may be another file by now: writing to it would damage that. */
  #checkOpen(): void {
    if (this.#ended) throw new ImgfsError('internal', `partial blob ${this.key.digest} is closed`);
  }

  /** Let the journal know of everything written so far, without waiting for it. */
  flushJournal(): void {
    this.#sinceFlush = 0;
    void this.#journal?.flush();
  }

  /** Make the ranges survive a power loss. Best effort. */
  async sync(): Promise<void> {
    if (this.#ended || this.#journal === undefined || this.#journal.unsyncedBytes === 0) return;
    try {
      await syncFileData(this.#writeFd);
      await this.#journal.markSynced(this.#writeFd);
    } catch {
      // Ranges that are not on disk are fetched again.
    }
  }

  /**
   * Give the file its name, after its bytes have matched it. fsync comes before rename: a name under `blobs/`
   * must stand for these bytes after a power loss too. System errors pass through; the file stays readable.
   * `onNaming` is called right before it has the name.
   */
  async finalize(blobPath: string, onNaming: () => void): Promise<void> {
    this.#checkOpen();
    await setFileMode(this.#writeFd, 0o444);
    await stamp(this.key.digest, this.#writeFd);
    await syncFile(this.#writeFd);
    await fs.mkdir(dirname(blobPath), { recursive: true, mode: 0o700 });
    onNaming();
    await fs.rename(join(this.folder, 'data'), blobPath);
    await syncFolder(dirname(blobPath));
  }

  /** Let go, keeping `readFd` open if the caller still reads. `remove`: nothing in the folder is of use any more. */
  async end(options: { readonly remove: boolean; readonly keepReadFd?: boolean }): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#journal?.flush();
    await this.#journal?.close();
    await closeQuietly(this.#writeFd);
    if (options.keepReadFd !== true) await closeQuietly(this.readFd);
    if (options.remove || this.#journal === undefined) await removeContents(this.folder);
    await this.#lock.release();
    // Only succeeds when nothing is left, and nobody came meanwhile.
    await fs.rmdir(this.folder).catch(() => undefined);
  }
}

/** Remove the files of a partial folder that the caller owns. The lock goes last, by `release`. */
export async function removeContents(folder: string): Promise<void> {
  for (const name of ['data', 'ranges', 'ranges.new']) await removePath(join(folder, name));
}

async function ownFolder(paths: CachePaths, key: JournalKey): Promise<OpenFolder> {
  const shared = paths.partial(key.digest);
  const lock = await tryOwn(shared);
  if (lock !== undefined) return { folder: shared, lock, isPrivate: false };
  const folder = `${shared}~${process.pid}-${randomBytes(6).toString('hex')}`;
  const own = await tryOwn(folder);
  if (own === undefined) throw new Error(`private folder ${folder} has another owner`);
  return { folder, lock: own, isPrivate: true };
}

async function openData(path: string): Promise<number> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  try {
    return await openFile(path, flags, 0o600);
  } catch {
    // A folder, a link or a file without permissions in our place: take it away and go on.
    await removePath(path);
    return openFile(path, flags | constants.O_EXCL, 0o600);
  }
}
