/**
 * The npm package `fuse-native` 2.2 (libfuse 2, path-based), loaded on demand and typed.
 *
 * Three of its habits are dangerous and are replaced here (seen in its index.js):
 * - getxattr and listxattr answer with the full length even when the caller's buffer is shorter, and libfuse then
 *   reads behind the buffer: we answer ERANGE.
 * - unmounting goes through a shell with the mount point inside double quotes: we use our own `unmountPath`.
 * - every operation fails after 15 s: switched off, the driver has its own deadline.
 */
import { createRequire } from 'node:module';
import { errnoNumber } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';

export interface LibfuseStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  /** 32 bits only. */
  readonly ino: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly blocks: number;
  /** Milliseconds since the epoch. */
  readonly mtime: number;
  readonly atime: number;
  readonly ctime: number;
}

/** Positive numbers are results, negative ones errnos. */
type Reply<Values extends unknown[] = []> = (result: number, ...values: Values) => void;

/** The operations we hand over. Paths are UTF-8 text: names that are not UTF-8 cannot be reached. */
export interface LibfuseOperations {
  getattr(path: string, reply: Reply<[LibfuseStat?]>): void;
  readdir(path: string, reply: Reply<[string[]?]>): void;
  readlink(path: string, reply: Reply<[string?]>): void;
  opendir(path: string, flags: number, reply: Reply<[number?]>): void;
  releasedir(path: string, handle: number, reply: Reply): void;
  open(path: string, flags: number, reply: Reply<[number?]>): void;
  /** `buffer` belongs to libfuse: writing to it after the reply corrupts memory. */
  read(
    path: string,
    handle: number,
    buffer: Buffer,
    length: number,
    position: number,
    reply: Reply<[number?]>,
  ): void;
  release(path: string, handle: number, reply: Reply): void;
  getxattr(path: string, name: string, position: number, reply: Reply<[Buffer?]>): void;
  listxattr(path: string, reply: Reply<[string[]?]>): void;
  statfs(path: string, reply: Reply<[Record<string, number>?]>): void;
  readonly [refused: string]: unknown;
}

export interface LibfuseMount {
  mount(done: (error: Error | null) => void): void;
}

interface FuseConstructor {
  new (mountPoint: string, operations: LibfuseOperations, options: object): LibfuseMount & LibfuseInternals;
}

/** Parts of the package's class that are overridden below. */
interface LibfuseInternals {
  readonly ops: LibfuseOperations;
}

type Signal = (result: number, ...values: unknown[]) => void;

function load(): FuseConstructor {
  try {
    return createRequire(import.meta.url)('fuse-native') as FuseConstructor;
  } catch (error) {
    throw new ImgfsError('mount-unavailable', 'load fuse-native: the package or libfuse 2 is missing', {
      cause: error,
      hint: 'install libfuse2 (Debian) and run npm install with optional dependencies',
    });
  }
}

/** Answer an attribute value or list into the caller's buffer, or its length when the caller asked for that. */
function answerSized(signal: Signal, target: Buffer, value: Uint8Array): void {
  if (target.length === 0) return signal(value.length, target.buffer);
  if (value.length > target.length) return signal(-errnoNumber('ERANGE'), target.buffer);
  target.set(value);
  return signal(value.length, target.buffer);
}

/** True when the package and libfuse 2 can be loaded. @throws ImgfsError `mount-unavailable` when not. */
export function assertLoadable(): void {
  load();
}

/**
 * A libfuse mount that is not mounted yet.
 * @param options names as in the package's README; `fsname` may carry further `-o` options behind commas.
 */
export function createLibfuseMount(
  mountPoint: string,
  operations: LibfuseOperations,
  options: object,
): LibfuseMount {
  const Fuse = load();
  class SafeFuse extends Fuse {
    _op_getxattr(signal: Signal, path: string, name: string, target: Buffer, position: number): void {
      this.ops.getxattr(path, name, position, (result, value) => {
        if (result < 0 || value === undefined)
          signal(result < 0 ? result : -errnoNumber('ENODATA'), target.buffer);
        else answerSized(signal, target, value);
      });
    }
    _op_listxattr(signal: Signal, path: string, target: Buffer): void {
      this.ops.listxattr(path, (result, names) => {
        if (result < 0 || names === undefined) signal(result, target.buffer);
        else answerSized(signal, target, Buffer.from(names.map((name) => `${name}\0`).join('')));
      });
    }
  }
  return new SafeFuse(mountPoint, operations, options);
}
