/** Open files by handle: their backing files, what is present of them, and the fills that are under way. */
import { errnoNumber, errnoOf } from '../../errors/errno.js';
import { isImgfsError, type ImgfsError } from '../../errors/imgfs-error.js';
import type { FileBacking, FileHandle, FileSegments, FileSystem, OpenedFile } from '../../vfs/file-system.js';
import { delivery, fillUseRead, openFlags, type AddonSession, type OpenAnswer } from './addon-fuse.js';
import type { Job } from './job.js';
import { packSegments } from './pack-segments.js';
import { flatRanges, type SharedFiles } from './shared-files.js';

/**
 * How often the ranges of one file are told anew while fills end; in between, every fill tells its own range. A
 * sequential reader at 1 GB/s ends 8000 fills of 128 KiB in a second. Telling costs about 0.3 µs for each range, here
 * and again in the addon: 10 µs of pause for each keeps it below a tenth of the time, however scattered the file is.
 */
const presentIntervalMs = 20;
const presentIntervalMsPerRange = 0.01;

const noRanges = new Float64Array(0);

interface OpenFile {
  readonly backing: FileBacking | undefined;
  readonly segments?: FileSegments | undefined;
  /** When the ranges may be told again, in milliseconds since the epoch. */
  tellAt: number;
}

function nextTelling(ranges: number): number {
  return Date.now() + Math.max(presentIntervalMs, ranges * presentIntervalMsPerRange);
}

export class BackedFiles {
  readonly #fileSystem: FileSystem;
  readonly #shared: SharedFiles;
  readonly #report: (operation: string, error: unknown) => void;
  readonly #open = new Map<FileHandle, OpenFile>();
  readonly #fills = new Map<number, AbortController>();

  constructor(
    fileSystem: FileSystem,
    shared: SharedFiles,
    report: (operation: string, error: unknown) => void,
  ) {
    this.#fileSystem = fileSystem;
    this.#shared = shared;
    this.#report = report;
  }

  /** Answer OPEN (or the opening half of CREATE) and remember, or release, the handle. */
  answerOpen(session: AddonSession, id: number, opened: OpenedFile): void {
    this.#answer((...answer) => session.replyOpen(id, ...answer), opened);
  }

  /** The same for a file that the addon opened by itself. */
  answerReopen(session: AddonSession, kernelHandle: number, opened: OpenedFile): void {
    this.#answer((...answer) => session.replyReopen(kernelHandle, ...answer), opened);
  }

  #answer(reply: (...answer: OpenAnswer) => number, opened: OpenedFile): void {
    const { handle, segments } = opened;
    const file = opened.backing?.file === undefined ? 0 : this.#shared.numberOf(opened.backing.file);
    // The addon must know of what may go from it.
    const backing = opened.backing?.file === undefined || file !== 0 ? opened.backing : undefined;
    let result: number = delivery.gone;
    try {
      const complete = backing?.complete() === true;
      const flags =
        (opened.keepCache ? openFlags.keepCache : 0) |
        (opened.directIo ? openFlags.directIo : 0) |
        (complete ? openFlags.complete : 0) |
        (segments === undefined ? 0 : openFlags.segmented);
      const present = backing === undefined || complete ? noRanges : flatRanges(backing.present());
      this.#open.set(handle, { backing, segments, tellAt: nextTelling(present.length / 2) });
      result = reply(handle, flags, backing?.fd ?? -1, backing?.baseOffset ?? 0, present, file);
    } finally {
      if (result !== delivery.delivered) this.release(handle);
    }
  }

  /** Remember a handle that JavaScript serves alone. */
  add(handle: FileHandle): void {
    this.#open.set(handle, { backing: undefined, tellAt: 0 });
  }

  release(handle: FileHandle): void {
    this.#open.delete(handle);
    this.#fileSystem.release(handle).catch((error: unknown) => this.#report('release', error));
  }

  /** Make the range of a job present: `a` is the handle, `b` to `c` the range. */
  fill(session: AddonSession, job: Job): void {
    const file = this.#open.get(job.a as FileHandle);
    if (file === undefined) {
      session.fillDone(job.id, errnoNumber('EBADF'), 0, noRanges);
      return;
    }
    const controller = new AbortController();
    this.#fills.set(job.id, controller);
    this.#fill(session, job, file, controller.signal)
      .catch((error: unknown) => {
        if (controller.signal.aborted) return;
        const useRead = isImgfsError(error, 'cache-full');
        if (!useRead) this.#report('read', error);
        session.fillDone(job.id, useRead ? 0 : errnoOf(error), useRead ? fillUseRead : 0, noRanges);
      })
      .finally(() => this.#fills.delete(job.id));
  }

  async #fill(session: AddonSession, job: Job, file: OpenFile, signal: AbortSignal): Promise<void> {
    const { backing, segments } = file;
    if (segments !== undefined) return this.#cover(session, job, segments, signal);
    if (backing === undefined) return session.fillDone(job.id, errnoNumber('EBADF'), 0, noRanges);
    await backing.fill({ start: job.b, end: job.c }, signal);
    if (backing.complete()) return session.fillDone(job.id, 0, openFlags.complete, noRanges);
    if (Date.now() < file.tellAt) {
      // What lies behind came along: the next reads of somebody who goes through need not ask.
      const until = backing.presentUntil?.(job.b) ?? job.c;
      return session.fillDone(job.id, 0, 0, until > job.c ? Float64Array.of(job.b, until) : noRanges);
    }
    const present = flatRanges(backing.present());
    file.tellAt = nextTelling(present.length / 2);
    return session.fillDone(job.id, 0, 0, present);
  }

  /** Tell the segments of a range; what has none is read through JavaScript. */
  async #cover(session: AddonSession, job: Job, segments: FileSegments, signal: AbortSignal): Promise<void> {
    let isTold = false;
    await segments.cover({ start: job.b, end: job.c }, signal, (parts) => {
      const { numbers, literals } = packSegments(parts);
      isTold = session.addSegments(job.id, numbers, literals);
    });
    session.fillDone(job.id, 0, isTold ? 0 : fillUseRead, noRanges);
  }

  abortFill(fillId: number, reason: ImgfsError): void {
    this.#fills.get(fillId)?.abort(reason);
  }

  /** Release every handle that is still open: the mount is gone. */
  async releaseAll(): Promise<void> {
    for (const controller of this.#fills.values()) controller.abort();
    for (const handle of this.#open.keys()) {
      await this.#fileSystem.release(handle).catch((error: unknown) => this.#report('release', error));
    }
    this.#open.clear();
  }
}
