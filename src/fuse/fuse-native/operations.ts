/**
 * libfuse operations on top of a `FileSystem`: one wrapper gives each a deadline, catches everything, and
 * replies exactly once; below it each operation is a few lines.
 */
import { constants } from 'node:fs';
import { errnoNumber, errnoOf } from '../../errors/errno.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Attributes, Caller, FileHandle, FileSystem, FileType, Inode } from '../../vfs/file-system.js';
import { nameFromText, nameToText } from '../../vfs/name.js';
import type { MountOptions } from '../driver.js';
import type { LibfuseOperations, LibfuseStat } from './binding.js';
import { PathTable } from './path-table.js';

/** S_IFMT bits of each type (stat(2)). */
const typeBits: Readonly<Record<FileType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  char: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
};

/** Entries asked for at once: a page of vfs, about 40 KB of names. */
const readdirPageEntries = 1_000;

/** The kernel asks for at most 128 KiB at once here; st_blksize tells programs so. */
const preferredReadBytes = 128 * 1024;

/** Everything that would change something. libfuse would answer ENOSYS, which the kernel remembers. */
const refusedOperations = [
  'create', 'write', 'truncate', 'ftruncate', 'mkdir', 'rmdir', 'unlink', 'rename', 'link', 'symlink', 'mknod',
  'chmod', 'chown', 'utimens', 'setxattr', 'removexattr',
] as const; // prettier-ignore

function toMilliseconds(nanoseconds: bigint): number {
  // libfuse gets unsigned milliseconds: times before 1970 become 1970.
  return Math.max(0, Number(nanoseconds / 1_000_000n));
}

function toStat(attributes: Attributes): LibfuseStat {
  return {
    mode: attributes.mode | typeBits[attributes.type],
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    nlink: attributes.nlink,
    ino: attributes.inode % 2 ** 32,
    rdev: attributes.rdev,
    blksize: preferredReadBytes,
    blocks: attributes.blocks,
    mtime: toMilliseconds(attributes.mtimeNs),
    atime: toMilliseconds(attributes.atimeNs),
    ctime: toMilliseconds(attributes.ctimeNs),
  };
}

interface OpenNode {
  readonly inode: Inode;
  readonly handle: FileHandle;
}

type Work<Result> = (caller: Caller) => Promise<Result>;

export class LibfuseBridge {
  readonly #fileSystem: FileSystem;
  readonly #options: MountOptions;
  readonly #paths: PathTable;
  /** By the number libfuse carries for us: 32 bits, never 0 (its "none"). */
  readonly #open = new Map<number, OpenNode>();
  #nextNumber = 1;
  #operations = 0;
  #failures = 0;

  constructor(fileSystem: FileSystem, options: MountOptions) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    this.#paths = new PathTable(fileSystem);
  }

  statistics(): Record<string, number> {
    return {
      operations: this.#operations,
      failures: this.#failures,
      openHandles: this.#open.size,
      rememberedPaths: this.#paths.size,
    };
  }

  /** Let go of what the kernel will never give back. */
  async close(): Promise<void> {
    for (const node of this.#open.values()) {
      await this.#fileSystem.release(node.handle).catch(() => {
        // Already released: the mount is gone, nobody waits for an answer.
      });
    }
    this.#open.clear();
    this.#paths.clear();
  }

  /** Run `work` under the deadline, then `reply` once: with 0 and the result, or with a negative errno. */
  #answer<Result>(
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
    const caller: Caller = { ...this.#identity(), signal: abort.signal };
    // The chain starts with a resolved promise so that a handler that throws at once is caught, too.
    Promise.resolve()
      .then(() => work(caller))
      .then(
        (result) => once(0, result),
        (error: unknown) => (replied ? undefined : fail(error)),
      )
      .catch((error: unknown) => this.#options.onError?.(operation, error));
  }

  /** libfuse 2's binding does not tell who asks: the mounter stands for everybody. */
  #identity(): { uid: number; gid: number; pid: number } {
    return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0 };
  }

  #remember(node: OpenNode): number {
    let number = this.#nextNumber;
    while (this.#open.has(number)) number = (number % 0x7fffffff) + 1;
    this.#nextNumber = (number % 0x7fffffff) + 1;
    this.#open.set(number, node);
    return number;
  }

  #opened(number: number): OpenNode {
    const node = this.#open.get(number);
    if (node === undefined) throw new ImgfsError('bad-handle', `no open file has number ${number}`);
    return node;
  }

  async #attributes(caller: Caller, path: string): Promise<LibfuseStat> {
    const { inode, attributes } = await this.#paths.resolve(caller, path);
    return toStat(attributes ?? (await this.#fileSystem.getattr(caller, inode)).attributes);
  }

  async #list(caller: Caller, path: string): Promise<string[]> {
    const { inode } = await this.#paths.resolve(caller, path);
    const { handle } = await this.#fileSystem.opendir(caller, inode);
    const names = ['.', '..'];
    try {
      for (let offset = 0n, end = false; !end;) {
        const page = await this.#fileSystem.readdir(caller, inode, handle, offset, {
          limit: readdirPageEntries,
          plus: false,
        });
        for (const entry of page.entries) names.push(nameToText(entry.name));
        const last = page.entries.at(-1);
        end = page.end || last === undefined;
        offset = last?.next ?? offset;
      }
    } finally {
      await this.#fileSystem.releasedir(handle);
    }
    return names;
  }

  async #openFile(caller: Caller, path: string, flags: number): Promise<number> {
    if ((flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0) {
      throw new ImgfsError('read-only-store', `open ${path} for writing: this driver only reads`, { path });
    }
    const { inode } = await this.#paths.resolve(caller, path);
    const { handle } = await this.#fileSystem.open(caller, inode, flags);
    return this.#remember({ inode, handle });
  }

  async #statistics(caller: Caller, path: string): Promise<Record<string, number>> {
    const { inode } = await this.#paths.resolve(caller, path);
    const facts = await this.#fileSystem.statfs(caller, inode);
    return {
      bsize: facts.blockSize,
      frsize: facts.blockSize,
      blocks: facts.blocks,
      bfree: facts.blocksFree,
      bavail: facts.blocksFree,
      files: facts.files,
      namemax: facts.maxNameLength,
    };
  }

  operations(): LibfuseOperations {
    const refuse = (...values: unknown[]): void => {
      const reply = values.at(-1) as (errno: number) => void;
      reply(-errnoNumber('EROFS'));
    };
    return {
      ...Object.fromEntries(refusedOperations.map((name) => [name, refuse])),
      getattr: (path, reply) => this.#answer('getattr', (caller) => this.#attributes(caller, path), reply),
      readdir: (path, reply) => this.#answer('readdir', (caller) => this.#list(caller, path), reply),
      readlink: (path, reply) =>
        this.#answer(
          'readlink',
          async (caller) =>
            nameToText(
              await this.#fileSystem.readlink(caller, (await this.#paths.resolve(caller, path)).inode),
            ),
          reply,
        ),
      // The listing itself opens and releases; libfuse only wants a yes.
      opendir: (path, _flags, reply) =>
        this.#answer(
          'opendir',
          async (caller) => void (await this.#paths.resolve(caller, path)),
          (errno) => reply(errno, 0),
        ),
      releasedir: (_path, _number, reply) => reply(0),
      open: (path, flags, reply) =>
        this.#answer('open', (caller) => this.#openFile(caller, path, flags), reply),
      read: (_path, number, target, length, position, reply) => {
        // Into a buffer of our own: after a timeout libfuse frees its buffer while our read still runs.
        const own = Buffer.allocUnsafe(length);
        this.#answer(
          'read',
          (caller) => this.#fileSystem.read(caller, this.#opened(number).handle, own, position),
          (errno, bytes = 0) => {
            if (errno < 0) return reply(errno);
            own.copy(target, 0, 0, bytes);
            return reply(bytes, bytes);
          },
        );
      },
      release: (_path, number, reply) =>
        this.#answer(
          'release',
          async () => {
            const { handle } = this.#opened(number);
            this.#open.delete(number);
            await this.#fileSystem.release(handle);
          },
          (errno) => reply(errno),
        ),
      getxattr: (path, name, _position, reply) =>
        this.#answer(
          'getxattr',
          async (caller) =>
            Buffer.from(
              await this.#fileSystem.getxattr(
                caller,
                (await this.#paths.resolve(caller, path)).inode,
                nameFromText(name),
              ),
            ),
          reply,
        ),
      listxattr: (path, reply) =>
        this.#answer(
          'listxattr',
          async (caller) =>
            (await this.#fileSystem.listxattr(caller, (await this.#paths.resolve(caller, path)).inode)).map(
              nameToText,
            ),
          reply,
        ),
      statfs: (path, reply) => this.#answer('statfs', (caller) => this.#statistics(caller, path), reply),
    };
  }
}
