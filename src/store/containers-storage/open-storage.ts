/**
 * `containers-storage:`: the images of podman, buildah and CRI-O, read where they lie.
 *
 * No lock is taken: the documents are replaced as a whole, and a lock of ours would hold up an engine. What is read
 * while an engine works shows the images as they are before or after; an image whose layers are not there yet says so.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { archiveIdentity } from '../archive/archive-file.js';
import { fileError, fsErrorCode } from '../file-error.js';
import {
  openSnapshotStore,
  type SnapshotSource,
  type SnapshotStore,
  type SnapshotStoreOptions,
} from '../snapshot-store.js';
import type { CallOptions } from '../store.js';
import type { EngineName } from '../engine-name.js';
import { readStorage } from './read-storage.js';
import { findStorage, type StorageRoot } from './storage-root.js';

/**
 * Open a storage.
 * @throws ImgfsError `not-found` when there is none, `denied` when it is somebody else's, `unsupported` for other
 *   drivers than overlay, vfs and btrfs, `invalid-content` for damaged lists.
 */
export async function openContainersStorage(
  place: EngineName = {},
  options: SnapshotStoreOptions & CallOptions = {},
): Promise<SnapshotStore> {
  return openSnapshotStore(storageSource(await findStorage(place)), options);
}

function storageSource(root: StorageRoot): SnapshotSource {
  const files = [
    join(root.imagesFolder, 'images.json'),
    join(root.layersFolder, 'layers.json'),
    join(root.layersFolder, 'volatile-layers.json'),
  ];
  const identity = async (): Promise<string> => (await Promise.all(files.map(identityOf))).join('; ');
  return {
    transport: 'containers-storage',
    id: `containers-storage:[${root.driver}@${root.path}]`,
    path: root.path,
    missingHint:
      'an engine keeps layers unpacked: the manifest under the tag names their tars; compressed blobs are in the registry',
    identity,
    load: async () => {
      // Before the reading: what changes meanwhile is read again the next time.
      const before = await identity();
      return { identity: before, snapshot: await readStorage(root) };
    },
  };
}

async function identityOf(path: string): Promise<string> {
  try {
    return archiveIdentity(await stat(path, { bigint: true }));
  } catch (error) {
    if (fsErrorCode(error) === 'ENOENT') return 'none';
    throw fileError(error, 'open containers-storage', path);
  }
}
