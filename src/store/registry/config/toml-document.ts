/** TOML with types checked on the way out: every reader names the file and the key it complains about. */
import { parse, TomlError } from 'smol-toml';
import { unusable } from './read-file.js';

/** A table, and where it stands, for messages. */
export interface TomlView {
  readonly origin: string;
  /** `registry[2].mirror[0]`, '' for the root. */
  readonly path: string;
  readonly table: Readonly<Record<string, unknown>>;
}

/** These files nest tables three deep at most. */
const maxDepth = 16;

/** Parse a file. @throws ImgfsError `config` with line and column. */
export function parseToml(bytes: Buffer, origin: string): TomlView {
  try {
    const table = parse(bytes.toString('utf8'), { maxDepth, unsafeKeyBehaviour: 'throw' });
    return { origin, path: '', table };
  } catch (error) {
    // The parser's message goes on with an excerpt of the file; headers in hosts.toml may be secrets.
    const why = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
    const where = error instanceof TomlError ? ` (line ${error.line}, column ${error.column})` : '';
    throw unusable(origin, `${why.replace(/^Invalid TOML document: /, 'not TOML: ')}${where}`);
  }
}

export function tomlText(view: TomlView, key: string): string | undefined {
  const value = field(view, key);
  if (value !== undefined && typeof value !== 'string') throw wrongType(view, key, 'a string');
  return value;
}

export function tomlFlag(view: TomlView, key: string): boolean | undefined {
  const value = field(view, key);
  if (value !== undefined && typeof value !== 'boolean') throw wrongType(view, key, 'true or false');
  return value;
}

export function tomlTexts(view: TomlView, key: string): readonly string[] | undefined {
  const value = field(view, key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw wrongType(view, key, 'an array of strings');
  }
  return value;
}

export function tomlTable(view: TomlView, key: string): TomlView | undefined {
  const value = field(view, key);
  if (value === undefined) return undefined;
  if (!isTable(value)) throw wrongType(view, key, 'a table');
  return { origin: view.origin, path: pathOf(view, key), table: value };
}

export function tomlTables(view: TomlView, key: string): readonly TomlView[] {
  const value = field(view, key);
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrongType(view, key, 'an array of tables');
  return value.map((table: unknown, at) => {
    if (!isTable(table)) throw wrongType(view, key, 'an array of tables');
    return { origin: view.origin, path: `${pathOf(view, key)}[${at}]`, table };
  });
}

/** Any value, for keys that allow several types. */
export function field(view: TomlView, key: string): unknown {
  return Object.hasOwn(view.table, key) ? view.table[key] : undefined;
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function pathOf(view: TomlView, key: string): string {
  return view.path === '' ? key : `${view.path}.${key}`;
}

/** A `config` error for a key: `cannot use FILE: KEY: why`. */
export function refuseKey(view: TomlView, key: string, why: string, hint?: string): Error {
  return unusable(view.origin, `${pathOf(view, key)}: ${why}`, undefined, hint);
}

function wrongType(view: TomlView, key: string, expected: string): Error {
  return refuseKey(view, key, `is not ${expected}`);
}
