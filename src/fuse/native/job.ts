/** One job of the addon, read out of the shared buffers, and the `Caller` that a FileSystem sees. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Caller } from '../../vfs/file-system.js';
import { nameFromBytes, type Name } from '../../vfs/name.js';

/** Kinds of jobs: opcodes of the wire (linux/fuse.h), and our own from 1000 up (native/src/fuse/job.h). */
export const jobKind = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  getxattr: 22,
  listxattr: 23,
  flush: 25,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  create: 35,
  rename2: 45,
  copyFileRange: 47,
  copyFileRange64: 53,
  fill: 1000,
  abort: 1001,
  ready: 1002,
  closed: 1003,
  reopen: 1004,
  passed: 1005,
} as const;

const wordsPerJob = 12;

/**
 * A request of the kernel as a FileSystem sees it. The AbortController is made at first use: most operations never
 * look at the signal, and making one costs more than a lookup.
 */
export class Job implements Caller {
  readonly kind: number;
  readonly id: number;
  readonly inode: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Arguments, by kind: see native/src/fuse/job.h. */
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly cookie: bigint;
  readonly name: Name;
  #controller: AbortController | undefined;
  #reason: ImgfsError | undefined;

  constructor(words: Float64Array, cookies: BigUint64Array, names: Uint8Array, index: number) {
    const at = index * wordsPerJob;
    const word = (offset: number): number => words[at + offset] ?? 0;
    this.kind = word(0);
    this.id = word(1);
    this.inode = word(2);
    this.uid = word(3);
    this.gid = word(4);
    this.pid = word(5);
    this.a = word(6);
    this.b = word(7);
    this.c = word(8);
    const nameStart = word(9);
    const nameLength = word(10);
    this.name = nameFromBytes(names.subarray(nameStart, nameStart + nameLength));
    this.cookie = cookies[at + 11] ?? 0n;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  abort(reason: ImgfsError): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}

/** Answers a job through the addon, or throws. */
export type JobHandler = (job: Job) => Promise<void>;
