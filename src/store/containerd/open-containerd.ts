/**
 * `containerd:`: the images of one namespace of containerd, read where they lie. Read-only: content that is put there
 * behind containerd's back is removed by its garbage collector.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { explained } from '../../errors/explained.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { archiveIdentity } from '../archive/archive-file.js';
import type { EngineName } from '../engine-name.js';
import { fileError } from '../file-error.js';
import { parseTagName, type ImageName } from '../image-name.js';
import { BlobDirectory } from '../layout/blob-directory.js';
import { ImageTable, isSameName, type ImageEntry } from '../layout/image-table.js';
import {
  openSnapshotStore,
  type Snapshot,
  type SnapshotSource,
  type SnapshotStore,
  type SnapshotStoreOptions,
} from '../snapshot-store.js';
import type { CallOptions } from '../store.js';
import { copyDatabase, readNamespaces, type NamedTarget } from './metadata.js';

/** Root of containerd where its configuration says nothing else. */
const usualRoot = '/var/lib/containerd';

const missingHint =
  'containerd has not pulled it (it pulls one platform, and may drop blobs it has unpacked): ctr content fetch gets it';

/**
 * Open the images of a namespace (`part`): the one named, else `default`, else the only one that has images.
 * @throws ImgfsError `not-found` when there is no containerd or no such namespace, `denied` when its files are
 *   somebody else's, `usage` when several namespaces could be meant, `busy`, `invalid-content`.
 */
export async function openContainerd(
  place: EngineName = {},
  options: SnapshotStoreOptions & CallOptions = {},
): Promise<SnapshotStore> {
  const root = place.root ?? usualRoot;
  return openSnapshotStore(containerdSource(root, place.part), options);
}

function containerdSource(root: string, namespace: string | undefined): SnapshotSource {
  const database = join(root, 'io.containerd.metadata.v1.bolt', 'meta.db');
  const identity = async (): Promise<string> => {
    try {
      return archiveIdentity(await stat(database, { bigint: true }));
    } catch (error) {
      throw fileError(error, 'open containerd', database, {
        missing: 'not-found',
        hint: `name the directory that containerd's configuration calls root: containerd:[NAMESPACE@/path]`,
      });
    }
  };
  return {
    transport: 'containerd',
    id: `containerd:[${namespace ?? ''}@${root}]`,
    path: root,
    missingHint,
    identity,
    load: async (options) => {
      // Before the reading: what changes meanwhile is read again the next time.
      const before = await identity();
      const namespaces = namespacesOf(await copyDatabase(database, options), database);
      const images = imagesOf(namespaces, namespace, database);
      return { identity: before, snapshot: makeSnapshot(root, images) };
    },
  };
}

function namespacesOf(copy: Buffer, path: string): ReturnType<typeof readNamespaces> {
  try {
    return readNamespaces(copy, path);
  } catch (error) {
    const hint = 'the database is damaged: look what containerd says of it (journalctl -u containerd)';
    throw explained(error, { path, hint });
  }
}

function imagesOf(
  namespaces: ReadonlyMap<string, readonly NamedTarget[]>,
  wanted: string | undefined,
  path: string,
): readonly NamedTarget[] {
  const names = [...namespaces.keys()];
  const [only, ...others] = names;
  const chosen = wanted ?? (namespaces.has('default') || only === undefined ? 'default' : only);
  const hint = names.length === 0 ? 'no namespace has images' : `namespaces with images: ${names.join(', ')}`;
  if (wanted === undefined && chosen !== 'default' && others.length > 0) {
    throw new ImgfsError('usage', `open containerd ${path}: which namespace?`, {
      hint: `${hint}: write containerd:[${only}@]name`,
    });
  }
  const images = namespaces.get(chosen);
  if (images === undefined && wanted !== undefined) {
    throw new ImgfsError(
      'not-found',
      `open containerd ${path}: no images in namespace ${JSON.stringify(wanted)}`,
      {
        hint,
      },
    );
  }
  return images ?? [];
}

/** One entry for each manifest; Kubernetes names one image three times. */
function entriesOf(images: readonly NamedTarget[]): readonly Omit<ImageEntry, 'position'>[] {
  const entries = new Map<string, { descriptor: ImageEntry['descriptor']; names: ImageName[] }>();
  for (const { name, target } of images) {
    const entry = entries.get(target.digest) ?? { descriptor: target, names: [] };
    entries.set(target.digest, entry);
    const parsed = parseTagName(name);
    if (parsed !== undefined && !entry.names.some((other) => isSameName(other, parsed)))
      entry.names.push(parsed);
  }
  return [...entries.values()];
}

function makeSnapshot(root: string, images: readonly NamedTarget[]): Snapshot {
  const blobs = new BlobDirectory(join(root, 'io.containerd.content.v1.content'));
  return {
    images: new ImageTable(root, entriesOf(images)),
    close: async () => undefined,
    blob: async (digest) => {
      try {
        const descriptor = await blobs.stat(digest);
        return {
          size: descriptor.size,
          open: (range, options) => blobs.fetch(descriptor, { ...options, range }),
        };
      } catch (error) {
        if (isImgfsError(error, 'not-found')) return undefined;
        throw error;
      }
    },
  };
}
