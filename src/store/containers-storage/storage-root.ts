/** Where podman, buildah and CRI-O keep their images (containers-storage.conf(5)). */
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { fileError } from '../file-error.js';
import { readConfigFile } from '../registry/config/read-file.js';
import { parseToml, tomlTable, tomlText } from '../registry/config/toml-document.js';

/** Drivers whose layers are directories, by the folder of a layer's files. */
const layerFolders: Readonly<Record<string, (id: string) => string>> = {
  overlay: (id) => join('overlay', id, 'diff'),
  vfs: (id) => join('vfs', 'dir', id),
  btrfs: (id) => join('btrfs', 'subvolumes', id),
};

export interface StorageRoot {
  readonly path: string;
  readonly driver: string;
  readonly imagesFolder: string;
  readonly layersFolder: string;
  /** Directory of the files of a layer. */
  layerFiles(id: string): string;
}

function configFiles(environment: NodeJS.ProcessEnv, isRoot: boolean): readonly string[] {
  const override = environment['CONTAINERS_STORAGE_CONF'];
  if (override !== undefined && override !== '') return [override];
  const home = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config');
  return isRoot
    ? ['/etc/containers/storage.conf', '/usr/share/containers/storage.conf']
    : [join(home, 'containers', 'storage.conf')];
}

/** The place that the first configuration file names, else the usual one of root or of a user. */
async function usualRoot(environment: NodeJS.ProcessEnv, isRoot: boolean): Promise<string> {
  for (const path of configFiles(environment, isRoot)) {
    const file = await readConfigFile(path);
    if (file === undefined) continue;
    const storage = tomlTable(parseToml(file.bytes, path), 'storage');
    const graphroot = storage === undefined ? undefined : tomlText(storage, 'graphroot');
    if (graphroot !== undefined && graphroot.startsWith('/')) return graphroot;
    break;
  }
  if (isRoot) return '/var/lib/containers/storage';
  const data = environment['XDG_DATA_HOME'] || join(environment['HOME'] || homedir(), '.local', 'share');
  return join(data, 'containers', 'storage');
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const failure = fileError(error, 'open containers-storage', path, { missing: 'not-found' });
    if (failure.code === 'not-found') return false;
    throw failure;
  }
}

/**
 * Find a storage and its driver.
 * @throws ImgfsError `not-found` when there is none, `unsupported` for a driver whose layers are no directories,
 *   `config` for a storage.conf that cannot be used.
 */
export async function findStorage(
  place: { readonly part?: string; readonly root?: string } = {},
  environment: NodeJS.ProcessEnv = process.env,
): Promise<StorageRoot> {
  const path = place.root ?? (await usualRoot(environment, process.getuid?.() === 0));
  if (place.part !== undefined && layerFolders[place.part] === undefined) {
    throw new ImgfsError('unsupported', `open containers-storage ${path}: the driver ${place.part}`, {
      hint: `its layers are no directories; ${Object.keys(layerFolders).join(', ')} can be read`,
    });
  }
  for (const driver of place.part === undefined ? Object.keys(layerFolders) : [place.part]) {
    const folder = layerFolders[driver];
    if (folder === undefined || !(await isThere(join(path, `${driver}-images`)))) continue;
    return {
      path,
      driver,
      imagesFolder: join(path, `${driver}-images`),
      layersFolder: join(path, `${driver}-layers`),
      layerFiles: (id) => join(path, folder(id)),
    };
  }
  throw new ImgfsError('not-found', `open containers-storage ${path}: no images of podman or buildah there`, {
    path,
    hint: 'podman info says where they are (graphRoot): containers-storage:[overlay@/path]name',
  });
}
