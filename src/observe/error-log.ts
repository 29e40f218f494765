/** The last failures, for `.imgfs/errors.ndjson`: a bounded ring, newest last. */
import { describeError, toImgfsError } from '../errors/imgfs-error.js';

export interface LoggedError {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The operation that failed, in FUSE's words: `lookup`, `read`. */
  readonly operation: string;
  /** Path from the mount point, as far as it is known. */
  readonly path: string;
  readonly code: string;
  /** All facts, as `user.imgfs.error` shows them. */
  readonly detail: string;
  /** How often the same thing failed the same way without another failure in between. */
  readonly count: number;
}

/** 1,000 entries of about 1 KiB are 1 MiB: enough for the story of an outage, nothing for a daemon. */
const defaultCapacity = 1000;

/** A detail is cut here: a registry's error body may be long. */
const maxDetailLength = 4096;

/** Bounded ring of failures. Not persistent: the log on stderr is. */
export class ErrorLog {
  readonly #entries: LoggedError[] = [];
  readonly #capacity: number;
  readonly #now: () => number;
  #total = 0;

  constructor(capacity: number = defaultCapacity, now: () => number = Date.now) {
    this.#capacity = capacity;
    this.#now = now;
  }

  /** Failures since the start, also those that fell out of the ring. */
  get total(): number {
    return this.#total;
  }

  /** Add a failure; a repetition of the newest only raises its count. */
  record(operation: string, path: string, error: unknown): LoggedError {
    const { code } = toImgfsError(error);
    const detail = describeError(error).slice(0, maxDetailLength);
    this.#total += 1;
    const last = this.#entries.at(-1);
    const repeated =
      last?.operation === operation && last.path === path && last.code === code && last.detail === detail;
    if (repeated) this.#entries.pop();
    else if (this.#entries.length >= this.#capacity) this.#entries.shift();
    const count = repeated ? last.count + 1 : 1;
    const entry: LoggedError = { at: this.#now(), operation, path, code, detail, count };
    this.#entries.push(entry);
    return entry;
  }

  /** Oldest first. */
  entries(): readonly LoggedError[] {
    return [...this.#entries];
  }

  /** One JSON object for each line. */
  renderNdjson(): string {
    return this.#entries
      .map(({ at, ...fields }) => `${JSON.stringify({ time: new Date(at).toISOString(), ...fields })}\n`)
      .join('');
  }
}
