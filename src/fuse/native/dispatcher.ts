/**
 * Takes the addon's jobs to the FileSystem and its answers back. Whatever a handler throws becomes an errno: nothing
 * that happens here may end the mount.
 */
import { constants } from 'node:fs';
import { errnoNumber, errnoOf } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isWritable, type FileHandle, type FileSystem, type Inode } from '../../vfs/file-system.js';
import { nameToBytes } from '../../vfs/name.js';
import type { MountOptions } from '../driver.js';
import { batchNameBytes, batchWords, openFlags, type AddonSession } from './addon-fuse.js';
import { BackedFiles } from './backed-files.js';
import { changeHandlers } from './changes.js';
import { DirectoryLister } from './directory-lister.js';
import { DirectoryPrimer } from './directory-primer.js';
import { Job, jobKind, type JobHandler } from './job.js';
import { EntryPacker } from './packed-entry.js';
import { SharedFiles } from './shared-files.js';
import { TurnGate } from './turn-gate.js';
import { WalkPrimer } from './walk-primer.js';

/**
 * Entries of one readdir, about half a reply of the kernel's usual 32 KiB: 0.25 ms of JavaScript once V8 has optimized
 * it, 2 to 4 ms for the first directories of a process. Twice as many took over 10 ms where V8 collected garbage as well.
 */
const entriesPerPage = 128;

/** Of those that come in one batch when many programs list at once: 1 ms, as much as all jobs get of a turn. */
const pagesPerTurn = 4;

export interface Ready {
  /** FUSE protocol 7.minor spoken on this mount. */
  readonly minor: number;
  readonly passthrough: boolean;
}

export class Dispatcher {
  /** Buffers shared with the addon. */
  readonly words = new ArrayBuffer(batchWords * 8);
  readonly names = new Uint8Array(batchNameBytes);
  readonly packed: EntryPacker;
  /** Set once, before the first job arrives. */
  session: AddonSession | undefined;
  onReady: (ready: Ready) => void = () => {};
  /** `errno` is 0 after an ordinary unmount. */
  onClosed: (errno: number) => void = () => {};

  readonly #fileSystem: FileSystem;
  readonly #options: MountOptions;
  readonly #numbers = new Float64Array(this.words);
  readonly #cookies = new BigUint64Array(this.words);
  readonly #active = new Map<number, Job>();
  readonly #files: BackedFiles;
  readonly #primer: DirectoryPrimer;
  readonly #walk: WalkPrimer;
  readonly #directories = new Set<FileHandle>();
  readonly #page: EntryPacker;
  readonly #shared = new SharedFiles(() => this.#reply);
  readonly #handlers: ReadonlyMap<number, JobHandler>;
  readonly #pages = new TurnGate(pagesPerTurn);
  #failures = 0;

  constructor(fileSystem: FileSystem, options: MountOptions) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    const { numberOf } = this.#shared;
    this.packed = new EntryPacker(numberOf);
    this.#page = new EntryPacker(numberOf, entriesPerPage * 128);
    const report = (operation: string, error: unknown): void => this.report(operation, error);
    this.#files = new BackedFiles(fileSystem, this.#shared, report);
    const lister = new DirectoryLister(fileSystem, numberOf, options.operationTimeoutMs);
    this.#primer = new DirectoryPrimer(lister);
    this.#walk = new WalkPrimer(lister);
    const writes = isWritable(fileSystem) && !options.readOnly;
    this.#handlers = new Map<number, JobHandler>([
      ...(writes ? changeHandlers(fileSystem, () => this.#reply, this.packed, this.#files) : []),
      [jobKind.lookup, (job) => this.#lookup(job)],
      [jobKind.getattr, (job) => this.#getattr(job)],
      [jobKind.readlink, (job) => this.#readlink(job)],
      [jobKind.open, (job) => this.#open(job)],
      [jobKind.read, (job) => this.#read(job)],
      [jobKind.statfs, (job) => this.#statfs(job)],
      [jobKind.getxattr, (job) => this.#getxattr(job)],
      [jobKind.listxattr, (job) => this.#listxattr(job)],
      [jobKind.opendir, (job) => this.#opendir(job)],
      [jobKind.readdir, (job) => this.#readdir(job)],
    ]);
  }

  get failures(): number {
    return this.#failures;
  }

  /** Called by the addon: `count` jobs lie in the shared buffers. */
  readonly onBatch = (count: number): void => {
    for (let index = 0; index < count; index += 1) {
      try {
        this.#take(new Job(this.#numbers, this.#cookies, this.names, index));
      } catch (error) {
        this.report('dispatch', error);
      }
    }
  };

  /** Called by the addon: go on with jobs in the next turn. */
  readonly onShareUsed = (): void => {
    setImmediate(() => this.session?.nextTurn());
  };

  report(operation: string, error: unknown): void {
    this.#failures += 1;
    try {
      this.#options.onError?.(operation, error);
    } catch {
      // A reporter that fails has nobody to tell.
    }
  }

  /** Let go of the handles that the kernel never released. */
  async releaseAll(): Promise<void> {
    for (const job of this.#active.values()) job.abort(new ImgfsError('interrupted', 'the mount is gone'));
    this.#shared.forgetAll();
    await this.#files.releaseAll();
    for (const handle of this.#directories) {
      await this.#fileSystem.releasedir(handle).catch((error: unknown) => this.report('releasedir', error));
    }
    this.#directories.clear();
  }

  #take(job: Job): void {
    switch (job.kind) {
      case jobKind.forget:
        return this.#fileSystem.forget(job.inode as Inode, job.a);
      case jobKind.release:
        return this.#files.release(job.a as FileHandle);
      case jobKind.releasedir:
        return this.#releasedir(job.a as FileHandle);
      case jobKind.fill:
        return this.#files.fill(this.#reply, job);
      case jobKind.reopen:
        return void this.#reopen(job);
      case jobKind.passed:
        return this.#fileSystem.passed?.(job.inode as Inode);
      case jobKind.abort:
        return this.#abort(job);
      case jobKind.ready:
        return this.onReady({ minor: job.a, passthrough: job.b === 1 });
      case jobKind.closed:
        return this.onClosed(job.a);
      default:
        return this.#run(job);
    }
  }

  get #reply(): AddonSession {
    if (this.session === undefined) throw new Error('a job arrived before the session was set');
    return this.session;
  }

  #run(job: Job): void {
    const handler = this.#handlers.get(job.kind);
    if (handler === undefined) {
      this.#reply.replyError(job.id, errnoNumber('EROFS'));
      return;
    }
    this.#active.set(job.id, job);
    const fail = (error: unknown): void => {
      this.#active.delete(job.id);
      if (job.aborted) return;
      this.report(operationName(job.kind), error);
      this.#reply.replyError(job.id, errnoOf(error));
    };
    try {
      Promise.resolve(handler(job)).then(() => this.#active.delete(job.id), fail);
    } catch (error) {
      fail(error);
    }
  }

  #abort(job: Job): void {
    const timedOut = job.c === errnoNumber('ETIMEDOUT');
    const reason = (operation: string): ImgfsError =>
      timedOut
        ? new ImgfsError('timeout', `${operation}: no answer within ${this.#options.operationTimeoutMs} ms`)
        : new ImgfsError('interrupted', `${operation}: the caller stopped waiting`);
    if (job.b === 1) {
      const error = reason('read');
      if (timedOut) this.report('read', error);
      return this.#files.abortFill(job.a, error);
    }
    const active = this.#active.get(job.a);
    if (active === undefined) return;
    const error = reason(operationName(active.kind));
    active.abort(error);
    if (timedOut) this.report(operationName(active.kind), error);
  }

  async #lookup(job: Job): Promise<void> {
    const found = await this.#fileSystem.lookup(job, job.inode as Inode, job.name);
    this.#primer.note(this.#reply, job.inode, job);
    if (found.attributes === undefined) {
      this.#reply.replyNegative(job.id, found.entryTtlMs);
      return;
    }
    this.packed.setAttributes(found.attributes, found);
    if (!this.#reply.replyEntry(job.id)) this.#fileSystem.forget(found.attributes.inode, 1);
  }

  async #getattr(job: Job): Promise<void> {
    const { attributes, attrTtlMs } = await this.#fileSystem.getattr(job, job.inode as Inode);
    this.packed.setAttributes(attributes, { attrTtlMs, entryTtlMs: 0 });
    this.#reply.replyAttributes(job.id);
  }

  async #readlink(job: Job): Promise<void> {
    const target = nameToBytes(await this.#fileSystem.readlink(job, job.inode as Inode));
    this.#reply.replyBytes(job.id, target, target.length);
  }

  async #open(job: Job): Promise<void> {
    const opened = await this.#fileSystem.open(job, job.inode as Inode, job.a);
    this.#files.answerOpen(this.#reply, job.id, opened);
  }

  /** Open what the addon opened by itself: bytes of it are missing. */
  async #reopen(job: Job): Promise<void> {
    const { uid, gid, pid } = job;
    const signal = AbortSignal.timeout(this.#options.operationTimeoutMs);
    try {
      const opened = await this.#fileSystem.open(
        { uid, gid, pid, signal },
        job.inode as Inode,
        constants.O_RDONLY,
      );
      this.#files.answerReopen(this.#reply, job.id, opened);
    } catch (error) {
      this.report('open', error);
      this.#reply.reopenFailed(job.id, errnoOf(error));
    }
  }

  async #read(job: Job): Promise<void> {
    const buffer = Buffer.allocUnsafe(job.c);
    const bytes = await this.#fileSystem.read(job, job.a as FileHandle, buffer, job.b);
    this.#reply.replyBytes(job.id, buffer, bytes);
  }

  async #statfs(job: Job): Promise<void> {
    const s = await this.#fileSystem.statfs(job, job.inode as Inode);
    this.#reply.replyStatfs(job.id, s.blockSize, s.blocks, s.blocksFree, s.files, s.maxNameLength);
  }

  async #getxattr(job: Job): Promise<void> {
    const value = await this.#fileSystem.getxattr(job, job.inode as Inode, job.name);
    this.#reply.replyBytes(job.id, value, value.length);
  }

  async #listxattr(job: Job): Promise<void> {
    const names = await this.#fileSystem.listxattr(job, job.inode as Inode);
    const list = Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1');
    this.#reply.replyBytes(job.id, list, list.length);
  }

  async #opendir(job: Job): Promise<void> {
    const { handle, keepCache, complete } = await this.#fileSystem.opendir(job, job.inode as Inode);
    const flags = (keepCache ? openFlags.keepCache : 0) | (complete === true ? openFlags.complete : 0);
    this.#directories.add(handle);
    if (!this.#reply.replyOpendir(job.id, handle, flags)) this.#releasedir(handle);
  }

  async #readdir(job: Job): Promise<void> {
    await this.#pages.pass();
    // Attributes are asked for in any case: the addon answers later lookups and stats from them.
    const page = await this.#fileSystem.readdir(job, job.inode as Inode, job.a as FileHandle, job.cookie, {
      limit: entriesPerPage,
      plus: true,
    });
    this.#page.reset();
    for (const entry of page.entries) this.#page.add(entry);
    this.#reply.replyReaddir(job.id, this.#page.bytes, this.#page.length, page.end);
    this.#walk.listed({ session: this.#reply, caller: job }, job.inode, page.entries);
  }

  #releasedir(handle: FileHandle): void {
    this.#directories.delete(handle);
    this.#fileSystem.releasedir(handle).catch((error: unknown) => this.report('releasedir', error));
  }
}

const operationNames = new Map<number, string>(Object.entries(jobKind).map(([name, kind]) => [kind, name]));

function operationName(kind: number): string {
  return operationNames.get(kind) ?? `operation ${kind}`;
}
