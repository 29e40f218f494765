/**
 * The configuration file, `$IMGFS_CONFIG` or `$XDG_CONFIG_HOME/imgfs/config.toml`: stores that every mount has, and the
 * policy.json that images must meet.
 *
 *     policy = "/etc/containers/policy.json"
 *
 *     [stores]
 *     old = "docker-archive:/srv/old.tar"
 *     podman = "containers-storage:"
 */
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { isImgfsError } from '../errors/imgfs-error.js';
import { readConfigFile } from '../store/registry/config/read-file.js';
import {
  parseToml,
  refuseKey,
  tomlTable,
  tomlText,
  type TomlView,
} from '../store/registry/config/toml-document.js';
import type { NamedStore } from './mount/mount-settings.js';
import { namedStore } from './named-store.js';
import { nearestWord } from './nearest-word.js';

export interface FileConfig {
  readonly path: string;
  /** False: there is no file, everything is as usual. */
  readonly exists: boolean;
  readonly stores: readonly NamedStore[];
  /** Absolute path; undefined without one. */
  readonly policyFile?: string;
}

/** What may stand in the file. README.md says what each is for. */
export const configKeys: readonly string[] = ['policy', 'stores'];

function unknownKey(root: TomlView, key: string): Error {
  const meant = nearestWord(key, configKeys);
  const hint = meant === undefined ? `known: ${configKeys.join(', ')}` : `did you mean ${meant}?`;
  return refuseKey(root, key, 'is not known here', hint);
}

/** Where the file is expected. */
export function configPath(environment: NodeJS.ProcessEnv = process.env): string {
  const chosen = environment['IMGFS_CONFIG'];
  if (chosen !== undefined && chosen !== '') return chosen;
  const base = environment['XDG_CONFIG_HOME'];
  const home = environment['HOME'] || homedir();
  return join(
    base !== undefined && base.startsWith('/') ? base : join(home, '.config'),
    'imgfs',
    'config.toml',
  );
}

/** Read the file. @throws ImgfsError `config` naming file and key. */
export async function readFileConfig(path = configPath()): Promise<FileConfig> {
  const file = await readConfigFile(path);
  if (file === undefined) return { path, exists: false, stores: [] };
  const root = parseToml(file.bytes, path);
  for (const key of Object.keys(root.table)) if (!configKeys.includes(key)) throw unknownKey(root, key);
  const table = tomlTable(root, 'stores');
  const stores = Object.keys(table?.table ?? {}).map((name) => {
    if (table === undefined) throw refuseKey(root, 'stores', 'is not a table');
    const location = tomlText(table, name) ?? '';
    try {
      return namedStore(name, location, dirname(path), name);
    } catch (error) {
      if (!isImgfsError(error)) throw error;
      throw refuseKey(table, name, error.message, error.hint);
    }
  });
  const policy = tomlText(root, 'policy');
  const policyFile = policy === undefined ? {} : { policyFile: resolve(dirname(path), policy) };
  return { path, exists: true, stores, ...policyFile };
}
