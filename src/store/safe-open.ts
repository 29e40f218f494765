/**
 * Opening files of a store that somebody else may have filled.
 *
 * Only regular files are opened (a FIFO would block, a device would do worse). Symbolic links are followed in the
 * path to a file: sharing one `blobs` directory between layouts is normal. A link in place of the file itself is
 * followed only while it stays inside the store: a mount that runs as root must not show `/etc/shadow` because an
 * image somebody unpacked has a blob that points there.
 */
import { constants, type BigIntStats } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { ImgfsError } from '../errors/imgfs-error.js';
import type { ErrorCode } from '../errors/codes.js';
import { fileError, fsErrorCode } from './file-error.js';

export interface OpenedFile {
  readonly handle: FileHandle;
  readonly stats: BigIntStats;
  readonly size: number;
}

export interface SafeOpenOptions {
  /** Verb phrase for messages: `open blob`. */
  readonly operation: string;
  /** Directories in which a link may end, besides the file's own. */
  readonly within: readonly string[];
  /** Code for a file that is not there; default `unavailable`. */
  readonly missing?: ErrorCode;
  readonly digest?: string;
}

/**
 * Open a regular file for reading. The caller closes the handle.
 * @throws ImgfsError `options.missing`, `denied` for a link that leaves the store, `invalid-content` for what is not a
 *   file, and whatever {@link fileError} says.
 */
export async function openRegularFile(path: string, options: SafeOpenOptions): Promise<OpenedFile> {
  const { operation, digest } = options;
  const context = digest === undefined ? {} : { digest };
  let handle: FileHandle | undefined;
  try {
    handle = await openNoFollow(path, options);
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) {
      throw new ImgfsError('invalid-content', `${operation} ${path}: not a regular file`, {
        path,
        ...context,
      });
    }
    return { handle, stats, size: Number(stats.size) };
  } catch (error) {
    await handle?.close();
    const missing = options.missing === undefined ? {} : { missing: options.missing };
    throw fileError(error, operation, path, { ...context, ...missing });
  }
}

/** O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever. */
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

async function openNoFollow(path: string, { operation, within }: SafeOpenOptions): Promise<FileHandle> {
  try {
    return await open(path, readFlags);
  } catch (error) {
    // Linux and macOS say ELOOP for a link where O_NOFOLLOW is given, FreeBSD EMLINK.
    if (!['ELOOP', 'EMLINK'].includes(fsErrorCode(error) ?? '')) throw error;
  }
  const real = await realpath(path);
  const roots = await Promise.all([dirname(path), ...within].map((root) => realpath(root)));
  if (!roots.some((root) => real.startsWith(root.endsWith(sep) ? root : root + sep))) {
    throw new ImgfsError('denied', `${operation} ${path}: a link that leads out of the store`, {
      path,
      hint: 'replace the link by the file it points to, or link the whole blobs directory',
    });
  }
  return open(real, readFlags);
}

/**
 * Read a whole small file.
 * @throws as {@link openRegularFile}; `too-large` over `maxBytes`; `stale` when it shrinks meanwhile.
 */
export async function readSmallFile(
  path: string,
  options: SafeOpenOptions & { readonly maxBytes: number },
): Promise<{ readonly bytes: Buffer; readonly stats: BigIntStats }> {
  const { handle, stats, size } = await openRegularFile(path, options);
  try {
    if (size > options.maxBytes) {
      throw new ImgfsError(
        'too-large',
        `${options.operation} ${path}: ${size} bytes, the limit is ${options.maxBytes}`,
        { path },
      );
    }
    const bytes = Buffer.allocUnsafeSlow(size);
    let filled = 0;
    while (filled < size) {
      const { bytesRead } = await handle.read(bytes, filled, size - filled, filled);
      if (bytesRead === 0) throw new ImgfsError('stale', `${options.operation} ${path}: it shrank`, { path });
      filled += bytesRead;
    }
    return { bytes, stats };
  } catch (error) {
    throw fileError(error, options.operation, path);
  } finally {
    await handle.close();
  }
}
