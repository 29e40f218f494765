/**
 * `registries.d/*.yaml` (containers-registries.d(5)): where signatures of a registry lie. The files are two levels of
 * plain mappings, so no YAML library is needed; whatever is more than that is refused rather than misread.
 */
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { configHome, systemPath, type Environment } from '../registry/config/environment.js';
import { listConfigDirectory, readConfigFile } from '../registry/config/read-file.js';

/** Where the signatures of a name are read and written. */
export interface LookasidePlace {
  /** Base of the addresses signatures are read from. */
  readonly read: string;
  /** Base they are written to; default: `read`. */
  readonly write: string;
}

/** A mapping of scalars, and of mappings of scalars. */
type Mapping = ReadonlyMap<string, string | Mapping>;

/** Signature places as all files together say. */
export interface RegistriesD {
  /**
   * The most specific entry for `registry/repository` or `registry/repository:tag`; undefined without any.
   * @throws ImgfsError `config` when a file cannot be read.
   */
  placeOf(name: string): Promise<LookasidePlace | undefined>;
}

/** Read the files of this machine at each question: they are small, and may change while a mount lives. */
export function openRegistriesD(environment: Environment): RegistriesD {
  return {
    placeOf: async (name) => {
      const merged = new Map<string, string | Mapping>();
      await mergeFolder(merged, await folderOf(environment));
      return placeIn(merged, name);
    },
  };
}

/** As containers/image: the user's folder instead of the system's, when it is there. */
async function folderOf(environment: Environment): Promise<string> {
  const home = configHome(environment);
  const own = home === undefined ? undefined : join(home, 'containers', 'registries.d');
  if (own !== undefined && (await listConfigDirectory(own)) !== undefined) return own;
  return systemPath(environment, '/etc/containers/registries.d');
}

async function mergeFolder(merged: Map<string, string | Mapping>, folder: string): Promise<void> {
  const names = ((await listConfigDirectory(folder)) ?? []).filter((name) => /\.ya?ml$/.test(name)).sort();
  for (const name of names) {
    const path = join(folder, name);
    const file = await readConfigFile(path);
    if (file === undefined) continue;
    for (const [key, value] of parseMapping(file.bytes.toString('utf8'), path)) {
      const before = merged.get(key);
      const both = typeof value !== 'string' && before !== undefined && typeof before !== 'string';
      merged.set(key, both ? new Map([...before, ...value]) : value);
    }
  }
}

function placeIn(document: Mapping, name: string): LookasidePlace | undefined {
  const docker = document.get('docker');
  const fallback = document.get('default-docker');
  const entry = scopesOf(name)
    .map((scope) => (docker === undefined || typeof docker === 'string' ? undefined : docker.get(scope)))
    .find((found) => found !== undefined);
  const chosen = entry ?? fallback;
  if (chosen === undefined || typeof chosen === 'string') return undefined;
  const text = (...keys: readonly string[]): string | undefined => {
    for (const key of keys) {
      const value = chosen.get(key);
      if (typeof value === 'string' && value !== '') return value;
    }
    return undefined;
  };
  const read = text('lookaside', 'sigstore');
  const write = text('lookaside-staging', 'sigstore-staging') ?? read;
  return read === undefined && write === undefined
    ? undefined
    : { read: read ?? write ?? '', write: write ?? '' };
}

/** The name itself, and each namespace above it. */
function scopesOf(name: string): readonly string[] {
  const scopes = [name];
  const bare = name.replace(/(@[a-z0-9]+:[0-9a-f]+|:[A-Za-z0-9_][A-Za-z0-9._-]*)$/, '');
  if (bare !== name && bare.includes('/')) scopes.push(bare);
  for (let at = bare.lastIndexOf('/'); at > 0; at = bare.lastIndexOf('/', at - 1))
    scopes.push(bare.slice(0, at));
  return scopes;
}

/** Deeper files are something else. */
const maxDepth = 4;

/**
 * Block mappings with plain or quoted scalars.
 * @throws ImgfsError `config` naming the line, for every other construct of YAML.
 */
export function parseMapping(text: string, path: string): Mapping {
  const root = new Map<string, string | Mapping>();
  const stack: { readonly indent: number; readonly mapping: Map<string, string | Mapping> }[] = [
    { indent: -1, mapping: root },
  ];
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/(^|\s)#.*$/, '').trimEnd();
    if (line.trim() === '' || line === '---') continue;
    const refuse = (why: string): never => {
      throw new ImgfsError('config', `read ${path}: line ${index + 1}: ${why}`, {
        path,
        hint: 'only mappings of names to texts are understood here (containers-registries.d(5))',
      });
    };
    const match = /^( *)("[^"\\]*"|'[^']*'|[^\s"'[{&*!|>%@`-][^\s]*?)\s*:(?:\s+(.*))?$/.exec(line);
    if (match === null) refuse('not a name with a value');
    const [, spaces = '', quoted = '', value] = match ?? [];
    while ((stack.at(-1)?.indent ?? -1) >= spaces.length) stack.pop();
    const parent = stack.at(-1)?.mapping ?? root;
    const key = unquoted(quoted);
    if (value === undefined || value === '{}') {
      if (stack.length > maxDepth) refuse('nested too deep');
      const inner = new Map<string, string | Mapping>();
      parent.set(key, inner);
      stack.push({ indent: spaces.length, mapping: inner });
    } else if (/^[[{&*!|>]/.test(value)) refuse('not a plain text');
    else parent.set(key, unquoted(value));
  }
  return root;
}

function unquoted(text: string): string {
  return /^(".*"|'.*')$/.test(text) ? text.slice(1, -1) : text;
}
