/** An archive that comes as a stream, as a store: archives are read by seeking, so it lies on disk for the time. */
import { randomUUID } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { openArchiveStore } from '../../store/archive/archive-store.js';
import type { CallOptions } from '../../store/store.js';

type ArchiveStore = Awaited<ReturnType<typeof openArchiveStore>>;

/** An archive on disk, open. */
export interface SpooledArchive {
  readonly store: ArchiveStore;
  /** Close the store and remove the file. */
  close(): Promise<void>;
}

/** @throws ImgfsError `invalid-content` when it is no archive of images; `interrupted`. */
export async function spoolArchive(
  archive: AsyncIterable<Uint8Array>,
  directory: string,
  { signal }: CallOptions = {},
): Promise<SpooledArchive> {
  const path = join(directory, `load-${randomUUID()}.tar`);
  const remove = (): Promise<void> => unlink(path).catch(() => undefined);
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      for await (const chunk of archive) {
        if (signal?.aborted === true) throw new ImgfsError('interrupted', 'load archive: cancelled');
        await file.writeFile(chunk);
      }
    } finally {
      await file.close();
    }
    const store = await openEither(path, directory);
    return {
      store,
      close: async () => {
        await store.close();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** An archive with an index.json is a layout; docker's hybrid form has both, and says more as a layout. */
async function openEither(path: string, spoolDirectory: string): Promise<ArchiveStore> {
  try {
    return await openArchiveStore('oci-archive', path, { spoolDirectory });
  } catch (error) {
    if (!isImgfsError(error, 'invalid-content')) throw error;
    return openArchiveStore('docker-archive', path, { spoolDirectory });
  }
}
