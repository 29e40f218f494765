/**
 * Reading configuration files. They belong to users and administrators, but may be anything: a directory, a pipe
 * that never ends, a loop of links, a gigabyte. Whatever cannot be used is a `config` error that names the file.
 */
import { constants, type BigIntStats } from 'node:fs';
import { open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { withDeadline } from './deadline.js';

/**
 * Largest file that is read. The longest configuration of this kind met in practice is a bundle of trust anchors
 * at 220 KB; a thousand logins in one auth.json are 150 KB.
 */
export const maxConfigBytes = 1 << 20;

/** A home directory on a dead network file system must not hang a mount for longer than this. */
const fileDeadlineMs = 10_000;

/** Which state of a file was seen: equal stamps mean that it was not changed in between. */
export interface FileStamp {
  readonly device: bigint;
  readonly inode: bigint;
  readonly size: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

export interface ReadFile {
  readonly bytes: Buffer;
  readonly stamp: FileStamp;
}

export function stampOf(stats: BigIntStats): FileStamp {
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  return { device: dev, inode: ino, size, modifiedNs: mtimeNs, changedNs: ctimeNs };
}

export function sameStamp(left: FileStamp, right: FileStamp): boolean {
  return (
    left.device === right.device &&
    left.inode === right.inode &&
    left.size === right.size &&
    left.modifiedNs === right.modifiedNs &&
    left.changedNs === right.changedNs
  );
}

/**
 * The whole file, or undefined when there is none.
 * @throws ImgfsError `config` when it cannot be read, is no regular file, or is over {@link maxConfigBytes}.
 */
export async function readConfigFile(path: string): Promise<ReadFile | undefined> {
  return await withDeadline(readRegularFile(path), fileDeadlineMs, `read ${path}`);
}

/**
 * Stamp of a file or directory, or undefined when there is none.
 * @throws ImgfsError `config` when it cannot be looked at.
 */
export async function stampFile(path: string): Promise<FileStamp | undefined> {
  const work = stat(path, { bigint: true }).then(stampOf, (error: unknown) => absentOrThrow(error, path));
  return await withDeadline(work, fileDeadlineMs, `stat ${path}`);
}

/**
 * Names in a directory in byte order, or undefined when there is none.
 * @throws ImgfsError `config` when it cannot be listed.
 */
export async function listConfigDirectory(path: string): Promise<readonly string[] | undefined> {
  const work = readdir(path).then(
    (names) => names.sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right))),
    (error: unknown) => absentOrThrow(error, path),
  );
  return await withDeadline(work, fileDeadlineMs, `list ${path}`);
}

async function readRegularFile(path: string): Promise<ReadFile | undefined> {
  let file: FileHandle;
  try {
    // Without O_NONBLOCK the open of a pipe waits for a writer, on one of the four threads of the pool.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return absentOrThrow(error, path);
  }
  try {
    return await readOpenFile(file, path);
  } catch (error) {
    if (error instanceof ImgfsError) throw error;
    throw unusable(path, (error as Error).message, error);
  } finally {
    await file.close();
  }
}

/** Takes nearly every such file in one read. */
const chunkBytes = 64 << 10;

/** Device number of /dev/null on Linux (1:3): `--authfile /dev/null` is how one asks for no credentials. */
const nullDevice = 0x103n;

async function readOpenFile(file: FileHandle, path: string): Promise<ReadFile> {
  const stats = await file.stat({ bigint: true });
  const stamp = stampOf(stats);
  if (stats.isCharacterDevice() && stats.rdev === nullDevice) return { bytes: Buffer.alloc(0), stamp };
  if (!stats.isFile()) {
    throw unusable(path, stats.isDirectory() ? 'it is a directory' : 'it is not a regular file');
  }
  // Sizes lie (files of /proc, files that grow): what counts is where reading ends.
  const chunks: Buffer[] = [];
  let length = 0;
  while (length <= maxConfigBytes) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(chunkBytes), 0, chunkBytes, null);
    if (bytesRead === 0) return { bytes: Buffer.concat(chunks, length), stamp };
    chunks.push(buffer.subarray(0, bytesRead));
    length += bytesRead;
  }
  throw unusable(path, `it is over ${maxConfigBytes} bytes`);
}

function absentOrThrow(error: unknown, path: string): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw unusable(path, reasons[code ?? ''] ?? (error as Error).message, error);
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ELOOP: 'too many symbolic links',
  ENXIO: 'it is not a regular file',
  ENAMETOOLONG: 'the path is too long',
};

/** A `config` error for a file: `path: why`. */
export function unusable(path: string, why: string, cause?: unknown, hint?: string): ImgfsError {
  return new ImgfsError('config', `cannot use ${path}: ${why}`, {
    operation: 'read configuration',
    path,
    hint: hint ?? 'make the file readable and correct, or move it away',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** True for the error of a path that may not be looked at: several places are optional and then skipped. */
export function isPermissionError(error: unknown): boolean {
  const cause = error instanceof ImgfsError ? error.cause : error;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'EACCES' || code === 'EPERM';
}
