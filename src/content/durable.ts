/** Writing that survives a power loss: write, fsync, rename, fsync of the folder. */
import { constants, promises as fs } from 'node:fs';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { closeFile, closeQuietly, openFile, removePath, syncFile, writeFully } from './file-io.js';

/** Make the names in a folder durable. Some file systems refuse to fsync a folder: they need none. */
export async function syncFolder(folder: string): Promise<void> {
  let fd: number | undefined;
  try {
    fd = await openFile(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    await syncFile(fd);
  } catch {
    // EINVAL on network and FUSE file systems; ENOENT when the cache was deleted meanwhile.
  } finally {
    await closeQuietly(fd);
  }
}

/** Replace `path` by these bytes, whole or not at all. */
export async function replaceFile(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`);
  const fd = await openFile(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  );
  try {
    await writeFully(fd, [typeof bytes === 'string' ? Buffer.from(bytes) : bytes], 0);
    await syncFile(fd);
    await closeFile(fd);
    await fs.rename(temporary, path);
  } catch (error) {
    await closeQuietly(fd);
    await removePath(temporary);
    throw error;
  }
  await syncFolder(folder);
}
