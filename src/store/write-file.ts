/** Durable writes: what has a name is whole, also after a power cut. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileError, fsErrorCode } from './file-error.js';

/** Make the entries of a directory durable. File systems that cannot (EINVAL on some network ones) are let be. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (fsErrorCode(error) !== 'EINVAL') throw error;
  } finally {
    await handle.close();
  }
}

/** Make a directory and its parents, and their names durable. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncDirectory(dirname(at));
}

/**
 * Put bytes in place of `path` at once: a reader sees the file before or after, never between. The temporary file is
 * in `temporary`, which must be on the same file system; default: beside the file.
 * @throws ImgfsError as {@link fileError}; the old file is untouched then.
 */
export async function replaceFile(
  path: string,
  bytes: Uint8Array,
  options: { readonly mode?: number; readonly temporary?: string } = {},
): Promise<void> {
  const temporary = join(options.temporary ?? dirname(path), `.imgfs-${randomUUID()}`);
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      await handle.writeFile(bytes);
      // Set apart from open, whose mode the umask cuts.
      await handle.chmod(options.mode ?? 0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw fileError(error, 'write', path);
  }
}
