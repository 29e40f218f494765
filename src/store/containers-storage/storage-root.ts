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

/** Who asks, and of which machine. */
export interface StorageUser {
  readonly environment: NodeJS.ProcessEnv;
  readonly uid: number;
  /** Folder that `/etc` and `/usr` are in; `/` but in tests. */
  readonly system: string;
}

/** The key of a file that says where images are: a user's place is another key of the system's files. */
interface ConfigFile {
  readonly path: string;
  readonly key: 'graphroot' | 'rootless_storage_path';
}

function homeOf({ environment }: StorageUser): string {
  return environment['HOME'] || homedir();
}

/** As containers/storage (types/options.go): the first file that is there counts, and no other. */
function configFiles(user: StorageUser): readonly ConfigFile[] {
  const { environment, uid, system } = user;
  const override = environment['CONTAINERS_STORAGE_CONF'];
  if (override !== undefined && override !== '') return [{ path: override, key: 'graphroot' }];
  const isRoot = uid === 0;
  const own = join(
    environment['XDG_CONFIG_HOME'] || join(homeOf(user), '.config'),
    'containers',
    'storage.conf',
  );
  const shared = ['etc', 'usr/share'].map((folder): ConfigFile => ({
    path: join(system, folder, 'containers', 'storage.conf'),
    key: isRoot ? 'graphroot' : 'rootless_storage_path',
  }));
  return isRoot ? shared : [{ path: own, key: 'graphroot' }, ...shared];
}

/** `$HOME`, `$UID` and other variables, in braces or not. */
function expanded(path: string, { environment, uid }: StorageUser): string {
  return path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced: string | undefined, bare: string | undefined) => {
    const name = braced ?? bare ?? '';
    return name === 'UID' ? String(uid) : (environment[name] ?? '');
  });
}

/** The place that the first configuration file names, else the usual one of root or of a user. */
async function usualRoot(user: StorageUser): Promise<string> {
  for (const { path, key } of configFiles(user)) {
    const file = await readConfigFile(path);
    if (file === undefined) continue;
    const storage = tomlTable(parseToml(file.bytes, path), 'storage');
    const named = storage === undefined ? undefined : tomlText(storage, key);
    const place = named === undefined ? '' : expanded(named, user);
    if (place.startsWith('/')) return place;
    break;
  }
  if (user.uid === 0) return '/var/lib/containers/storage';
  const data = user.environment['XDG_DATA_HOME'] || join(homeOf(user), '.local', 'share');
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
  user: Partial<StorageUser> = {},
): Promise<StorageRoot> {
  const { environment = process.env, uid = process.getuid?.() ?? 0, system = '/' } = user;
  const path = place.root ?? (await usualRoot({ environment, uid, system }));
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
