/** The files of registries.conf that count on this machine, merged. */
import { join } from 'node:path';
import { cacheHome, homePath, systemPath, userPath, variable, type Environment } from './environment.js';
import { createFileMemo } from './file-memo.js';
import { listConfigDirectory, stampFile, unusable } from './read-file.js';
import {
  isShortName,
  parseRegistriesConf,
  type RegistriesConf,
  type RegistryTable,
} from './registries-conf.js';

/** All files together. */
export interface MergedRegistries {
  readonly tables: readonly RegistryTable[];
  readonly searchRegistries: readonly string[];
  readonly credentialHelpers: readonly string[];
  readonly aliases: ReadonlyMap<string, string>;
  /** The files read, in order. */
  readonly origins: readonly string[];
}

export interface RegistriesReader {
  /**
   * The configuration as it is now; the same object while no file changed.
   * @throws ImgfsError `config` for a file that cannot be used.
   */
  read(): Promise<MergedRegistries>;
  /**
   * The repositories a short name may mean, best first: its alias alone, else one for each search registry.
   * Empty when nothing is configured for it.
   * @throws ImgfsError `config`.
   */
  expand(shortName: string): Promise<readonly string[]>;
}

/** Reads registries.conf, its drop-in folders and the aliases podman recorded. */
export function createRegistriesReader(environment: Environment): RegistriesReader {
  const files = createFileMemo(parseRegistriesConf);
  let last: { parts: readonly RegistriesConf[]; merged: MergedRegistries } | undefined;
  const read = async (): Promise<MergedRegistries> => {
    const parts: RegistriesConf[] = [];
    for (const path of await configFiles(environment)) {
      const part = await files.read(path);
      if (part !== undefined) parts.push(part);
    }
    if (last === undefined || !sameItems(last.parts, parts)) last = { parts, merged: merge(parts) };
    return last.merged;
  };
  return {
    read,
    expand: async (shortName) => {
      if (!isShortName(shortName)) return [];
      const recorded = recordedAliases(environment);
      const own = recorded === undefined ? undefined : (await files.read(recorded))?.aliases.get(shortName);
      const { aliases, searchRegistries } = await read();
      const alias = own ?? aliases.get(shortName) ?? '';
      return alias === '' ? searchRegistries.map((host) => `${host}/${onHost(host, shortName)}`) : [alias];
    },
  };
}

function onHost(host: string, shortName: string): string {
  return host === 'docker.io' && !shortName.includes('/') ? `library/${shortName}` : shortName;
}

function sameItems<T>(left: readonly T[], right: readonly T[]): boolean {
  return left.length === right.length && left.every((item, at) => item === right[at]);
}

/**
 * The main file, then the drop-ins, in order: containers-registries.conf.d(5). A user's main file switches all
 * system files off. A file named by CONTAINERS_REGISTRIES_CONF has to exist.
 */
async function configFiles(environment: Environment): Promise<readonly string[]> {
  const system = systemPath(environment, '/etc/containers/registries.conf');
  const own = homePath(environment, '.config/containers/registries.conf');
  const folders = [`${system}.d`, ...(own === undefined ? [] : [`${own}.d`])];
  const name = fileVariables.find((each) => variable(environment, each) !== undefined);
  if (name !== undefined) {
    const path = userPath(environment, variable(environment, name) ?? '');
    if ((await stampFile(path)) === undefined)
      throw unusable(path, `there is no such file, and ${name} names it`);
    return [path, ...(await dropIns(folders))];
  }
  if (own !== undefined && (await stampFile(own)) !== undefined)
    return [own, ...(await dropIns([`${own}.d`]))];
  return [system, ...(await dropIns(folders))];
}

/** The second one is the older name of the first; podman reads both. */
const fileVariables = ['CONTAINERS_REGISTRIES_CONF', 'REGISTRIES_CONFIG_PATH'] as const;

async function dropIns(folders: readonly string[]): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const folder of folders) {
    const names = (await listConfigDirectory(folder)) ?? [];
    paths.push(...names.filter((name) => name.endsWith('.conf')).map((name) => join(folder, name)));
  }
  return paths;
}

/** Later files overwrite: tables by prefix, aliases by name, everything else as a whole. */
function merge(parts: readonly RegistriesConf[]): MergedRegistries {
  const tables = new Map<string, RegistryTable>();
  const aliases = new Map<string, string>();
  let searchRegistries: readonly string[] = [];
  let credentialHelpers: readonly string[] = [];
  for (const part of parts) {
    for (const table of part.registries) tables.set(table.prefix, table);
    for (const [name, value] of part.aliases) aliases.set(name, value);
    searchRegistries = part.searchRegistries ?? searchRegistries;
    credentialHelpers = part.credentialHelpers ?? credentialHelpers;
  }
  const origins = parts.map((part) => part.origin);
  return { tables: [...tables.values()], searchRegistries, credentialHelpers, aliases, origins };
}

/** Where podman records the answers users gave: it counts before the files people write. */
function recordedAliases(environment: Environment): string | undefined {
  const name = 'containers/short-name-aliases.conf';
  if (environment.uid === 0) return systemPath(environment, `/var/cache/${name}`);
  const cache = cacheHome(environment);
  return cache === undefined ? undefined : join(cache, name);
}
