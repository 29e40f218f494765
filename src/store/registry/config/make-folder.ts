/** Making a folder and its parents. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Make a folder, and its missing parents, all private (0700).
 *
 * `mkdir(path, {recursive: true})` of Node 20 never returns where the parent exists and yet answers ENOENT, as
 * /proc does and any FUSE file system may: it spins on a thread of the pool. This one tries each level once.
 * @throws the system's error of the level that failed.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await mkdir(path, { mode: 0o700 }).catch((again: unknown) => {
      if ((again as NodeJS.ErrnoException).code !== 'EEXIST') throw again;
    });
  }
}
