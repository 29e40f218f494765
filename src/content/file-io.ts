/** File calls on plain descriptors, as promises: descriptors go to worker threads and to the native driver. */
import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { ImgfsError } from '../errors/imgfs-error.js';

export const openFile = promisify(fs.open);
export const closeFile = promisify(fs.close);
export const syncFile = promisify(fs.fsync);
export const syncFileData = promisify(fs.fdatasync);
export const truncateFile = promisify(fs.ftruncate);
export const setFileTimes = promisify(fs.futimes);
export const setFileMode = promisify(fs.fchmod);
export const statFile = promisify(fs.fstat);

/** Read once from a file at a position; resolves to the number of bytes. No closure beyond the promise's own. */
export function readAt(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, buffer, offset, length, position, (error, bytesRead) => {
      if (error === null) resolve(bytesRead);
      else reject(error);
    });
  });
}

/** Read until `length` bytes or the end of the file. */
export async function readFully(fd: number, buffer: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < buffer.length) {
    const count = await readAt(fd, buffer, done, buffer.length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

function writeOnce(fd: number, buffers: readonly Uint8Array[], position: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.writev(fd, buffers, position, (error, bytesWritten) => {
      if (error === null) resolve(bytesWritten);
      else reject(error);
    });
  });
}

/** Bytes in a list of buffers. */
export function totalLength(buffers: readonly Uint8Array[]): number {
  let total = 0;
  for (const buffer of buffers) total += buffer.length;
  return total;
}

/** The part `[start, end)` of what `buffers` hold together, without copying. */
export function sliceBuffers(buffers: readonly Uint8Array[], start: number, end: number): Uint8Array[] {
  const slices: Uint8Array[] = [];
  let position = 0;
  for (const buffer of buffers) {
    const from = Math.max(start - position, 0);
    const to = Math.min(end - position, buffer.length);
    if (from < to) slices.push(from === 0 && to === buffer.length ? buffer : buffer.subarray(from, to));
    position += buffer.length;
  }
  return slices;
}

/** Write all of `buffers` at `position` (`null`: where the file stands, for files opened to append). */
export async function writeFully(
  fd: number,
  buffers: readonly Uint8Array[],
  position: number | null,
): Promise<void> {
  let rest = buffers;
  let left = totalLength(buffers);
  let at = position;
  while (left > 0) {
    const count = await writeOnce(fd, rest, at);
    left -= count;
    if (at !== null) at += count;
    if (left > 0) rest = sliceBuffers(rest, count, count + left);
  }
}

/** Close a descriptor; a failure cannot help anybody any more. */
export async function closeQuietly(fd: number | undefined): Promise<void> {
  if (fd === undefined) return;
  try {
    await closeFile(fd);
  } catch {
    // Nothing is lost: what had to be on disk was synced before.
  }
}

/** Remove a file or a folder, whatever is there. Returns false when it could not be removed. */
export async function removePath(path: string): Promise<boolean> {
  try {
    await fs.promises.rm(path, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}

/** `code` of a system error (`ENOENT`…). */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Failures of the cache disk that must never fail a read: the blob is read through memory instead. */
const diskTroubles: ReadonlySet<string> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EROFS',
  'EACCES',
  'EPERM',
  'EIO',
  'EMFILE',
  'ENFILE',
  'EFBIG',
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'ELOOP',
  'ESTALE',
  'ENAMETOOLONG',
  'EINVAL',
  'EBADF',
]);

export function isDiskTrouble(error: unknown): boolean {
  const code = errorCode(error);
  return code !== undefined && !(error instanceof ImgfsError) && diskTroubles.has(code);
}
