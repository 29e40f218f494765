/** One file in the format of containers-registries.conf(5), version 2. */
import { isRegistryHost, isRepositoryName, parseReference } from '../../../oci/reference.js';
import {
  field,
  parseToml,
  refuseKey,
  tomlFlag,
  tomlTable,
  tomlTables,
  tomlText,
  tomlTexts,
  type TomlView,
} from './toml-document.js';

/** For which reads a mirror is used. */
export type PullFromMirror = 'all' | 'digest-only' | 'tag-only';

export interface RegistryMirror {
  /** `host[:port][/namespace…]`. */
  readonly location: string;
  readonly insecure: boolean;
  readonly use: PullFromMirror;
}

/** A `[[registry]]` table. */
export interface RegistryTable {
  /** What names have to begin with: `host[:port][/namespace…]`, or `*.domain`. */
  readonly prefix: string;
  /** What replaces the prefix; undefined with a wildcard: the name stays. */
  readonly location: string | undefined;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly RegistryMirror[];
  /** The file it stands in. */
  readonly origin: string;
}

/** One file; undefined fields were not given and overwrite nothing. */
export interface RegistriesConf {
  readonly origin: string;
  readonly registries: readonly RegistryTable[];
  readonly searchRegistries?: readonly string[];
  readonly credentialHelpers?: readonly string[];
  /** Short name to `host/repository`; '' takes an alias of an earlier file away. */
  readonly aliases: ReadonlyMap<string, string>;
}

/**
 * Parse one file.
 * @throws ImgfsError `config` naming file and key: malformed, contradictory, or in the format of version 1.
 */
export function parseRegistriesConf(bytes: Buffer, origin: string): RegistriesConf {
  const root = parseToml(bytes, origin);
  refuseVersion1(root);
  const searchRegistries = readHosts(root, 'unqualified-search-registries');
  const credentialHelpers = tomlTexts(root, 'credential-helpers');
  const registries = tomlTables(root, 'registry').map(readRegistry);
  refuseContradictions(root, registries);
  return {
    origin,
    registries: firstOfEachPrefix(registries),
    ...(searchRegistries === undefined ? {} : { searchRegistries }),
    ...(credentialHelpers === undefined ? {} : { credentialHelpers }),
    aliases: readAliases(root),
  };
}

function refuseVersion1(root: TomlView): void {
  const value = field(root, 'registries');
  if (value === undefined) return;
  const hint =
    'write [registries.search] as unqualified-search-registries = [...], and each host of [registries.insecure] ' +
    'or [registries.block] as [[registry]] with location, and insecure = true or blocked = true';
  throw refuseKey(root, 'registries', 'this is the old version 1 of the format', hint);
}

function readHosts(root: TomlView, key: string): readonly string[] | undefined {
  return tomlTexts(root, key)?.map((text) => {
    const host = text.replace(/\/+$/, '').toLowerCase();
    if (!isRegistryHost(host)) throw refuseKey(root, key, `${JSON.stringify(text)} is not host[:port]`);
    return host;
  });
}

function readRegistry(view: TomlView): RegistryTable {
  const location = readLocation(view, 'location');
  const prefix = readLocation(view, 'prefix') ?? location;
  if (prefix === undefined) throw refuseKey(view, 'prefix', 'neither prefix nor location is given');
  const wildcard = prefix.startsWith('*.');
  if (wildcard && /[/:@]/.test(prefix)) {
    throw refuseKey(view, 'prefix', `${JSON.stringify(prefix)}: wildcards look like *.example.com`);
  }
  if (!wildcard && location === undefined) {
    throw refuseKey(view, 'location', 'is missing: only a prefix with a wildcard goes without it');
  }
  if (tomlText(view, 'pull-from-mirror') !== undefined) {
    throw refuseKey(view, 'pull-from-mirror', 'belongs into a [[registry.mirror]]');
  }
  const byDigestOnly = tomlFlag(view, 'mirror-by-digest-only') ?? false;
  return {
    prefix,
    location,
    insecure: tomlFlag(view, 'insecure') ?? false,
    blocked: tomlFlag(view, 'blocked') ?? false,
    mirrors: tomlTables(view, 'mirror').map((mirror) => readMirror(mirror, byDigestOnly)),
    origin: view.origin,
  };
}

function readMirror(view: TomlView, byDigestOnly: boolean): RegistryMirror {
  const location = readLocation(view, 'location');
  if (location === undefined) throw refuseKey(view, 'location', 'is missing');
  const use = tomlText(view, 'pull-from-mirror') ?? '';
  if (byDigestOnly && use !== '') {
    throw refuseKey(view, 'pull-from-mirror', 'cannot be given together with mirror-by-digest-only');
  }
  if (use !== '' && use !== 'all' && use !== 'digest-only' && use !== 'tag-only') {
    throw refuseKey(view, 'pull-from-mirror', `${JSON.stringify(use)} is not all, digest-only or tag-only`);
  }
  return {
    location,
    insecure: tomlFlag(view, 'insecure') ?? false,
    use: byDigestOnly ? 'digest-only' : use === '' ? 'all' : use,
  };
}

/** A location or prefix without trailing slashes; '' counts as missing. */
function readLocation(view: TomlView, key: string): string | undefined {
  const text = tomlText(view, key)?.replace(/\/+$/, '');
  if (text === undefined || text === '') return undefined;
  if (/^https?:\/\//i.test(text)) {
    throw refuseKey(
      view,
      key,
      `${JSON.stringify(text)}: no http:// or https:// here`,
      'use insecure = true for http',
    );
  }
  const slash = text.indexOf('/');
  const host = (slash < 0 ? text : text.slice(0, slash)).toLowerCase();
  const rest = slash < 0 ? '' : text.slice(slash);
  const bare = rest.slice(1).replace(/[:@].*$/, '');
  const known =
    key === 'prefix' && host.startsWith('*.') ? isRegistryHost(host.slice(2)) : isRegistryHost(host);
  if (!known || (rest !== '' && !isRepositoryName(bare)) || (key === 'location' && bare !== rest.slice(1))) {
    throw refuseKey(view, key, `${JSON.stringify(text)} is not host[:port][/namespace]`);
  }
  return host + rest;
}

/** The same place must not be secure in one table and insecure in another: which one counts would be chance. */
function refuseContradictions(root: TomlView, registries: readonly RegistryTable[]): void {
  const known = new Map<string, RegistryTable>();
  for (const table of registries) {
    const place = table.location ?? table.prefix;
    const other = known.get(place) ?? table;
    known.set(place, other);
    const key = other.insecure === table.insecure ? 'blocked' : 'insecure';
    if (other[key] !== table[key]) {
      throw refuseKey(root, 'registry', `${place} is given twice, with different values of ${key}`);
    }
  }
}

function firstOfEachPrefix(registries: readonly RegistryTable[]): readonly RegistryTable[] {
  const first = new Map<string, RegistryTable>();
  for (const table of registries) if (!first.has(table.prefix)) first.set(table.prefix, table);
  return [...first.values()];
}

function readAliases(root: TomlView): ReadonlyMap<string, string> {
  const view = tomlTable(root, 'aliases');
  const aliases = new Map<string, string>();
  for (const name of Object.keys(view?.table ?? {})) {
    if (view !== undefined) aliases.set(name, readAlias(view, name));
  }
  return aliases;
}

/** `host/repository` of an alias. */
function readAlias(view: TomlView, name: string): string {
  const value = tomlText(view, name) ?? '';
  if (!isShortName(name))
    throw refuseKey(view, name, 'is not a short name: it has a registry, a tag or a digest');
  if (value === '') return '';
  const slash = value.indexOf('/');
  if (slash < 0 || !isRegistryHost(value.slice(0, slash))) {
    throw refuseKey(view, name, `${JSON.stringify(value)} has no registry`);
  }
  const { registry, repository, tag, digest } = parseAliasValue(view, name, value);
  if (tag !== undefined || digest !== undefined) throw refuseKey(view, name, 'an alias has no tag or digest');
  return `${registry}/${repository}`;
}

function parseAliasValue(view: TomlView, name: string, value: string): ReturnType<typeof parseReference> {
  try {
    return parseReference(value);
  } catch {
    throw refuseKey(view, name, `${JSON.stringify(value)} is not host/repository`);
  }
}

/** True for a name without registry, tag and digest: `alpine`, `ubi8/ubi`. */
export function isShortName(name: string): boolean {
  const slash = name.indexOf('/');
  return isRepositoryName(name) && !(slash > 0 && isRegistryHost(name.slice(0, slash)));
}
