/** containerd's hosts.toml (docs/hosts.md there): mirrors of one registry, in the order of the file. */
import { isAbsolute, join } from 'node:path';
import type { EndpointCapability } from '../endpoint.js';
import { parseDurationMs } from './duration.js';
import {
  field,
  isTable,
  parseToml,
  refuseKey,
  tomlFlag,
  tomlTable,
  tomlText,
  tomlTexts,
  type TomlView,
} from './toml-document.js';

/** One place to ask, from a `[host."…"]` table or the top of the file. */
export interface HostEntry {
  /** `https://host:port`; undefined at the top of a file without `server`: the registry itself. */
  readonly origin: string | undefined;
  /** Path before the repository, without a slash at its end. */
  readonly apiPath: string;
  readonly capabilities: ReadonlySet<EndpointCapability>;
  /** Paths of files with trust anchors. */
  readonly caPaths: readonly string[];
  /** Paths of certificate and key; the same path twice for a file that holds both. */
  readonly clientPaths: readonly (readonly [string, string])[];
  /** Undefined where the file does not say. */
  readonly skipVerify: boolean | undefined;
  /** Names in lower case. Values may be secrets. */
  readonly headers: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number | undefined;
}

export interface HostsToml {
  readonly hosts: readonly HostEntry[];
  /** What is tried last: `server`, or the registry itself. */
  readonly server: HostEntry;
  readonly origin: string;
}

/**
 * Parse a hosts.toml; relative paths in it start at `folder`.
 * @throws ImgfsError `config` naming the file and the key.
 */
export function parseHostsToml(bytes: Buffer, path: string, folder: string): HostsToml {
  const root = parseToml(bytes, path);
  const table = tomlTable(root, 'host');
  // An object keeps its keys in the order of the file, but for those that are numbers: no host is one.
  const hosts = Object.keys(table?.table ?? {}).map((url) => {
    const view = table === undefined ? undefined : tomlTable(table, url);
    if (table === undefined || view === undefined) throw refuseKey(root, 'host', 'is not a table');
    if (field(view, 'host') !== undefined)
      throw refuseKey(view, 'host', 'a mirror has no mirrors of its own');
    return readEntry(view, url, folder);
  });
  return { hosts, server: readEntry(root, tomlText(root, 'server') ?? '', folder), origin: path };
}

function readEntry(view: TomlView, server: string, folder: string): HostEntry {
  const override = tomlFlag(view, 'override_path') ?? false;
  return {
    ...readServer(view, server, override),
    capabilities: readCapabilities(view),
    caPaths: readPaths(view, 'ca', folder),
    clientPaths: readClients(view, folder),
    skipVerify: tomlFlag(view, 'skip_verify'),
    headers: readHeaders(view),
    connectTimeoutMs: readTimeout(view),
  };
}

function readServer(
  view: TomlView,
  server: string,
  override: boolean,
): Pick<HostEntry, 'origin' | 'apiPath'> {
  if (server === '') return { origin: undefined, apiPath: '/v2' };
  let url: URL | undefined;
  try {
    url = new URL(/^https?:\/\//i.test(server) ? server : `https://${server}`);
  } catch {
    url = undefined;
  }
  if (
    url === undefined ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw refuseKey(view, 'server', 'an address looks like https://host:port/path, without user and query');
  }
  const path = url.pathname.replaceAll(/\/{2,}/g, '/').replace(/\/$/, '');
  return { origin: url.origin, apiPath: override || path.endsWith('/v2') ? path : `${path}/v2` };
}

const everything: ReadonlySet<EndpointCapability> = new Set(['pull', 'resolve', 'push']);

function readCapabilities(view: TomlView): ReadonlySet<EndpointCapability> {
  const words = tomlTexts(view, 'capabilities') ?? [];
  if (words.length === 0) return everything;
  const capabilities = new Set<EndpointCapability>();
  for (const word of words.map((each) => each.toLowerCase())) {
    if (word === 'pull' || word === 'resolve' || word === 'push') capabilities.add(word);
    // Referrers go where manifests go; a host that has this alone is good for nothing here.
    else if (word !== 'referrers')
      throw refuseKey(view, 'capabilities', `${JSON.stringify(word)} is unknown`);
  }
  return capabilities;
}

function absolute(path: string, folder: string): string {
  return isAbsolute(path) ? path : join(folder, path);
}

/** A string, or an array of strings. */
function readPaths(view: TomlView, key: string, folder: string): readonly string[] {
  const value = field(view, key);
  const paths = typeof value === 'string' ? [value] : (tomlTexts(view, key) ?? []);
  return paths.map((path) => absolute(path, folder));
}

/** A string, an array of strings (both in one file), or an array of pairs (an empty second one: both in the first). */
function readClients(view: TomlView, folder: string): HostEntry['clientPaths'] {
  const value = field(view, 'client');
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.every((item) => typeof item === 'string')) {
    return readPaths(view, 'client', folder).map((path) => [path, path] as const);
  }
  return value.map((item: unknown) => {
    if (typeof item === 'string') return [absolute(item, folder), absolute(item, folder)] as const;
    const [cert, key, more] = Array.isArray(item) ? (item as unknown[]) : [];
    if (typeof cert !== 'string' || typeof key !== 'string' || more !== undefined) {
      throw refuseKey(view, 'client', 'is neither a path, nor paths, nor pairs of paths');
    }
    return [absolute(cert, folder), absolute(key === '' ? cert : key, folder)] as const;
  });
}

/** Headers that belong to the connection or to the request itself: setting them would break either. */
const reservedHeaders = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'range',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

function readHeaders(view: TomlView): Readonly<Record<string, string>> {
  const table = tomlTable(view, 'header');
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(table?.table ?? {})) {
    const lower = name.toLowerCase();
    const values: unknown[] = Array.isArray(value) ? value : [value];
    const isToken = /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower) && !reservedHeaders.has(lower);
    // Values are not shown: they may be secrets.
    if (!isToken) throw refuseKey(view, 'header', `${JSON.stringify(name)} cannot be set`);
    if (isTable(value) || !values.every(isHeaderValue)) {
      throw refuseKey(
        view,
        'header',
        `the value of ${JSON.stringify(name)} is no text that a header can hold`,
      );
    }
    headers.set(lower, values.join(', '));
  }
  return Object.fromEntries(headers);
}

function isHeaderValue(value: unknown): boolean {
  return typeof value === 'string' && /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value);
}

function readTimeout(view: TomlView): number | undefined {
  const text = tomlText(view, 'dial_timeout');
  if (text === undefined || text === '') return undefined;
  const timeout = parseDurationMs(text);
  if (timeout === undefined)
    throw refuseKey(view, 'dial_timeout', `${JSON.stringify(text)} is no duration such as "1s"`);
  return timeout;
}
