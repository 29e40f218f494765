/** The contents of a credential file: auth.json, Docker's config.json, or the older .dockercfg. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { normalizeKey } from './auth-key.js';

/** An entry as it stands in the file, with only the fields that matter here. All of them are secrets. */
export interface AuthEntry {
  /** The key as the file spells it: safe to print. */
  readonly key: string;
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export interface AuthDocument {
  /** By normalized key; entries without any credential (markers of a helper) are left out. */
  readonly auths: ReadonlyMap<string, AuthEntry>;
  /** Helper name by normalized host; '' switches `credsStore` off for that host, as in Docker. */
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore?: string;
}

/** `docker` covers auth.json and config.json; `legacy` is .dockercfg, the `auths` object alone. */
export type AuthFormat = 'docker' | 'legacy';

/**
 * Parse a credential file. An empty one counts as `{}`, as in Docker.
 * @throws ImgfsError `config` naming `origin`, never quoting the content.
 */
export function parseAuthDocument(text: string, origin: string, format: AuthFormat): AuthDocument {
  const root = text.trim() === '' ? {} : parseObject(text, origin);
  if (format === 'legacy') {
    return { auths: readAuths(root, origin, true), credHelpers: new Map() };
  }
  const credsStore = optionalText(root, 'credsStore', origin);
  return {
    auths: readAuths(objectField(root, 'auths', origin), origin, false),
    credHelpers: readHelpers(objectField(root, 'credHelpers', origin), origin),
    ...(credsStore === undefined || credsStore === '' ? {} : { credsStore }),
  };
}

type JsonObject = Record<string, unknown>;

/** A JSON object. The parser's own message is not passed on: it quotes the text, and the text holds secrets. */
export function parseObject(text: string, origin: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text.startsWith('\ufeff') ? text.slice(1) : text);
  } catch {
    throw malformed(origin, 'it is not valid JSON');
  }
  if (!isObject(value)) throw malformed(origin, 'it is not a JSON object');
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(origin: string, why: string): ImgfsError {
  return new ImgfsError('config', `cannot use ${origin}: ${why}`, {
    operation: 'read credentials',
    path: origin,
    hint: 'correct the file, or move it away and log in again',
  });
}

function field(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

function objectField(object: JsonObject, name: string, origin: string): JsonObject {
  const value = field(object, name) ?? {};
  if (!isObject(value)) throw malformed(origin, `${name} is not an object`);
  return value;
}

function optionalText(object: JsonObject, name: string, origin: string): string | undefined {
  const value = field(object, name) ?? undefined;
  if (value !== undefined && typeof value !== 'string') throw malformed(origin, `${name} is not a string`);
  return value;
}

function readHelpers(object: JsonObject, origin: string): Map<string, string> {
  const helpers = new Map<string, string>();
  for (const [key, value] of Object.entries(object)) {
    if (typeof value !== 'string')
      throw malformed(origin, `credHelpers of ${JSON.stringify(key)} is not a string`);
    setUnlessSpelledExactly(helpers, key, normalizeKey(key), value);
  }
  return helpers;
}

function readAuths(object: JsonObject, origin: string, legacy: boolean): Map<string, AuthEntry> {
  const entries = new Map<string, AuthEntry>();
  for (const [key, value] of Object.entries(object)) {
    if (!isObject(value)) throw malformed(origin, `the entry ${JSON.stringify(key)} is not an object`);
    const entry = readEntry(key, value, origin);
    if (Object.keys(entry).length > 1)
      setUnlessSpelledExactly(entries, key, normalizeKey(key, legacy), entry);
  }
  return entries;
}

/** Where several spellings mean one key, the key that needed no normalizing wins, else the first. */
function setUnlessSpelledExactly<T>(map: Map<string, T>, key: string, normalized: string, value: T): void {
  if (key === normalized || !map.has(normalized)) map.set(normalized, value);
}

function readEntry(key: string, object: JsonObject, origin: string): AuthEntry {
  const text = (name: string): string | undefined => {
    const value = optionalText(object, name, `${origin}: entry ${JSON.stringify(key)}`);
    return value === '' ? undefined : value;
  };
  const [auth, username, password] = [text('auth'), text('username'), text('password')];
  const [identityToken, registryToken] = [text('identitytoken'), text('registrytoken')];
  return {
    key,
    ...(auth === undefined ? {} : { auth }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(identityToken === undefined ? {} : { identityToken }),
    ...(registryToken === undefined ? {} : { registryToken }),
  };
}
