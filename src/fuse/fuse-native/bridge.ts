/**
 * What all libfuse operations share: a deadline and a reply exactly once for each, paths, and open handles by the
 * number that libfuse carries for us.
 */
import { errnoOf } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Caller, FileHandle, FileSystem, Inode } from '../../vfs/file-system.js';
import type { MountOptions } from '../driver.js';
import { PathTable } from './path-table.js';

interface OpenNode {
  readonly inode: Inode;
  readonly handle: FileHandle;
}

/** One operation: what it does once it knows who asks and when to stop. */
export type Work<Result> = (caller: Caller) => Promise<Result>;

/** Handle numbers are 32-bit and signed in the binding; 0 means "none". */
const maxHandleNumber = 0x7fffffff;

export class LibfuseBridge {
  readonly fileSystem: FileSystem;
  readonly paths: PathTable;
  readonly #options: MountOptions;
  readonly #open = new Map<number, OpenNode>();
  #nextNumber = 1;
  #operations = 0;
  #failures = 0;

  constructor(fileSystem: FileSystem, options: MountOptions) {
    this.fileSystem = fileSystem;
    this.#options = options;
    this.paths = new PathTable(fileSystem);
  }

  statistics(): Record<string, number> {
    return {
      operations: this.#operations,
      failures: this.#failures,
      openHandles: this.#open.size,
      rememberedPaths: this.paths.size,
    };
  }

  /** Let go of what the kernel will never give back. */
  async close(): Promise<void> {
    for (const node of this.#open.values()) {
      await this.fileSystem.release(node.handle).catch(() => {
        // Already released: the mount is gone, nobody waits for an answer.
      });
    }
    this.#open.clear();
    this.paths.clear();
  }

  /** Run `work` under the deadline, then `reply` once: with 0 and the result, or with a negative errno. */
  answer<Result>(
    operation: string,
    work: Work<Result>,
    reply: (errno: number, result?: Result) => void,
  ): void {
    this.#operations += 1;
    const abort = new AbortController();
    let replied = false;
    const once = (errno: number, result?: Result): void => {
      if (replied) return;
      replied = true;
      clearTimeout(timer);
      reply(errno, result);
    };
    const fail = (error: unknown): void => {
      this.#failures += 1;
      this.#options.onError?.(operation, error);
      once(-errnoOf(error));
    };
    const timer = setTimeout(() => {
      const late = new ImgfsError(
        'timeout',
        `${operation}: no answer within ${this.#options.operationTimeoutMs} ms`,
      );
      abort.abort(late);
      fail(late);
    }, this.#options.operationTimeoutMs);
    const caller: Caller = { ...identity(), signal: abort.signal };
    // The chain starts with a resolved promise so that a handler that throws at once is caught, too.
    Promise.resolve()
      .then(() => work(caller))
      .then(
        (result) => once(0, result),
        (error: unknown) => (replied ? undefined : fail(error)),
      )
      .catch((error: unknown) => this.#options.onError?.(operation, error));
  }

  /** Inode of a path. @throws as `PathTable.resolve`. */
  async inodeOf(caller: Caller, path: string): Promise<Inode> {
    return (await this.paths.resolve(caller, path)).inode;
  }

  /** The number under which libfuse will name this handle. */
  remember(node: OpenNode): number {
    let number = this.#nextNumber;
    while (this.#open.has(number)) number = (number % maxHandleNumber) + 1;
    this.#nextNumber = (number % maxHandleNumber) + 1;
    this.#open.set(number, node);
    return number;
  }

  /** @throws ImgfsError `bad-handle`. */
  opened(number: number): OpenNode {
    const node = this.#open.get(number);
    if (node === undefined) throw new ImgfsError('bad-handle', `no open file has number ${number}`);
    return node;
  }

  /** Forget a number. @throws ImgfsError `bad-handle`. */
  take(number: number): OpenNode {
    const node = this.opened(number);
    this.#open.delete(number);
    return node;
  }
}

/** libfuse 2's binding does not tell who asks: the mounter stands for everybody. */
function identity(): { uid: number; gid: number; pid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0 };
}
