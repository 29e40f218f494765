/** Opening a complete blob, with all doubts a file in a shared folder deserves. */
import { constants, promises as fs } from 'node:fs';
import { ImgfsError } from '../errors/imgfs-error.js';
import { createLogger } from '../observe/log.js';
import type { JournalKey } from './extent-journal.js';
import { closeQuietly, errorCode, openFile, removePath, statFile } from './file-io.js';
import { isStamped } from './verified-stamp.js';

const log = createLogger('content');

export interface CompleteFile {
  /** Read-only descriptor. */
  readonly fd: number;
  /** False when the file was written to, or came from another tool: hash it before use. */
  readonly trusted: boolean;
}

async function openForReading(path: string): Promise<number | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return await openFile(path, flags);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EACCES' || code === 'EPERM') {
      // Permissions were changed: the owner can change them back.
      await fs.chmod(path, 0o444);
      return openFile(path, flags);
    }
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'ELOOP' || code === 'ENXIO') {
      await removePath(path);
      return undefined;
    }
    throw error;
  }
}

/**
 * Open the blob's file; undefined when there is none. What cannot be the blob is removed.
 * @throws ImgfsError `integrity` when the verified blob has another size than the descriptor says. System errors
 *   pass through.
 */
export async function openComplete(path: string, key: JournalKey): Promise<CompleteFile | undefined> {
  const fd = await openForReading(path);
  if (fd === undefined) return undefined;
  try {
    const stat = await statFile(fd);
    const stamped = stat.isFile() && isStamped(key.digest, stat);
    if (stat.isFile() && stat.size === key.size) return { fd, trusted: stamped };
    await closeQuietly(fd);
    if (stamped) throw wrongSize(key, stat.size);
    log.warn('cached blob is damaged and was removed', { digest: key.digest, path });
    await removePath(path);
    return undefined;
  } catch (error) {
    if (!(error instanceof ImgfsError)) await closeQuietly(fd);
    throw error;
  }
}

function wrongSize(key: JournalKey, size: number): ImgfsError {
  return new ImgfsError(
    'integrity',
    `blob ${key.digest} has ${size} bytes, its descriptor says ${key.size}`,
    {
      operation: 'open blob',
      digest: key.digest,
      hint: 'the manifest that names this blob is wrong: its author must fix the size',
    },
  );
}
