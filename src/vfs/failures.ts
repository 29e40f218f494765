/** Failed operations: one ring for `.imgfs/errors.ndjson`, and the last one of each inode for `user.imgfs.error`. */
import { LRUCache } from 'lru-cache';
import type { ErrorCode } from '../errors/codes.js';
import { toImgfsError } from '../errors/imgfs-error.js';
import type { ErrorLog } from '../observe/error-log.js';
import { createLogger } from '../observe/log.js';
import { counter } from '../observe/metrics.js';
import type { Inode } from './file-system.js';

/** Answers rather than failures: the log would drown in them. */
const ordinary: ReadonlySet<ErrorCode> = new Set([
  'not-found',
  'no-attribute',
  'interrupted',
  'read-only-store',
  'not-dir',
  'is-dir',
]);

/** At most 4 KiB each: 4 MB when full. */
const maxInodes = 1000;

const failures = counter('imgfs_vfs_failures_total', 'File-system operations that failed.');
const log = createLogger('vfs');

export class Failures {
  readonly #log: ErrorLog;
  readonly #last = new LRUCache<Inode, string>({ max: maxInodes });

  constructor(errorLog: ErrorLog) {
    this.#log = errorLog;
  }

  /** Note a failure at an inode; for a failed lookup that is the directory. Returns what to throw. */
  record(operation: string, inode: Inode, path: string, thrown: unknown): Error {
    const error = toImgfsError(thrown, operation);
    if (ordinary.has(error.code)) return error;
    failures.add();
    const { detail, count } = this.#log.record(operation, path, error);
    this.#last.set(inode, `${operation} ${path}\n${detail}`);
    if (count === 1) log.warn(`${operation} failed`, { path, code: error.code, detail });
    return error;
  }

  /** Why the last operation at the inode failed, if one did. */
  last(inode: Inode): string | undefined {
    return this.#last.get(inode);
  }
}
