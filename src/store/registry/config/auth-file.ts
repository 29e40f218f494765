/**
 * Credentials from files and helpers: everybody else's logins work here (containers-auth.json(5), Docker's
 * config.json, .dockercfg, credential helpers).
 *
 * Nothing is cached beyond the parsed file, which is looked at again on each call: a login made while a mount runs
 * counts from the next 401 on.
 */
import type { CallOptions } from '../../store.js';
import { isRegistryHost, normalizeRegistry } from '../../../oci/reference.js';
import { ImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import type { Credential, CredentialSource, FoundCredential } from '../credential.js';
import { parseAuthDocument, type AuthDocument } from './auth-document.js';
import { credentialOf } from './auth-entry.js';
import { helperServers, keyLookupOrder } from './auth-key.js';
import { authPlaces, type AuthFileOptions, type AuthPlace } from './auth-places.js';
import { createCredentialHelper, isHelperMissing } from './credential-helper.js';
import { untilAborted } from './deadline.js';
import type { Environment } from './environment.js';
import { createFileMemo } from './file-memo.js';

/** What was found at one place. `unavailable` is a default helper that is not installed: the search goes on. */
export type LookupOutcome = 'matched' | 'no entry' | 'absent' | 'unavailable' | 'failed';

/** One line of `auth why`. Never holds a secret. */
export interface LookupStep {
  /** Path, `$VARIABLE`, or `docker-credential-<name>`. */
  readonly place: string;
  /** What put the place on the list: an option, a variable, a file, `default`. */
  readonly reason: string;
  readonly outcome: LookupOutcome;
  /** Key, server or user name concerned; why it failed. */
  readonly detail?: string;
}

export interface Explanation {
  readonly found: FoundCredential;
  /** In the order looked at; the search ends at the first match or failure. */
  readonly steps: readonly LookupStep[];
  /** Set when the search ended with an error, the one that `find` throws. */
  readonly error?: ImgfsError;
}

export interface AuthSourceOptions extends AuthFileOptions {
  readonly environment: Environment;
  /**
   * `credential-helpers` of registries.conf: helper names in order, where `containers-auth.json` stands for the
   * files. Only the files when there is none.
   */
  readonly globalHelpers?: () => Promise<readonly string[]>;
  /** Limit for each question to a helper, in milliseconds; for tests. */
  readonly helperDeadlineMs?: number;
}

export interface AuthSource extends CredentialSource {
  /** Every place looked at, in order, and which one matched: `auth why`. Does not throw `config`: it tells. */
  explain(host: string, repository: string | undefined, options?: CallOptions): Promise<Explanation>;
}

/** The name that stands for the credential files in `credential-helpers`. */
export const authFileHelper = 'containers-auth.json';

/**
 * Credentials as podman, skopeo and Docker would find them. Its `find` throws ImgfsError `config` when a file is
 * malformed or unreadable, or a helper named for this very registry fails.
 */
export function createAuthSource(options: AuthSourceOptions): AuthSource {
  const search = createSearch(options);
  return {
    find: async (host, repository, call) => {
      const { found, error } = await search(host, repository, call?.signal);
      if (error !== undefined) throw error;
      return found;
    },
    explain: async (host, repository, call) => await search(host, repository, call?.signal),
  };
}

type Search = (host: string, repository: string | undefined, signal?: AbortSignal) => Promise<Explanation>;

function createSearch(options: AuthSourceOptions): Search {
  const files = createFileMemo((bytes, path) => parseAuthDocument(bytes.toString('utf8'), path, 'docker'));
  const legacyFiles = createFileMemo((bytes, path) =>
    parseAuthDocument(bytes.toString('utf8'), path, 'legacy'),
  );
  const askHelper = createHelperDesk(options);
  const load = async (place: AuthPlace): Promise<AuthDocument | undefined> => {
    if (place.inline !== undefined) return parseAuthDocument(place.inline, place.name, place.format);
    return await (place.format === 'legacy' ? legacyFiles : files).read(place.path ?? '');
  };
  return async (host, repository, signal) => {
    const steps: LookupStep[] = [];
    const search: OneSearch = { keys: lookupKeys(host, repository), host, steps, load, askHelper, signal };
    try {
      const found = await searchAll(search, options);
      return { found: found ?? nothingFound(steps), steps };
    } catch (error) {
      const known = toImgfsError(error, 'read credentials');
      if (known.code !== 'config' && known.code !== 'timeout') throw known;
      return { found: nothingFound(steps), steps, error: known };
    }
  };
}

/** Keys to look for; a host that is none must not reach files or helpers. */
function lookupKeys(host: string, repository: string | undefined): readonly string[] {
  if (!isRegistryHost(normalizeRegistry(host))) {
    throw new ImgfsError('name-invalid', `not a registry: ${JSON.stringify(host.slice(0, 300))}`);
  }
  return keyLookupOrder(host, repository);
}

/** What one search carries along. */
interface OneSearch {
  readonly keys: readonly string[];
  readonly host: string;
  readonly steps: LookupStep[];
  readonly load: (place: AuthPlace) => Promise<AuthDocument | undefined>;
  readonly askHelper: HelperDesk;
  readonly signal: AbortSignal | undefined;
}

async function searchAll(
  search: OneSearch,
  options: AuthSourceOptions,
): Promise<FoundCredential | undefined> {
  for (const helper of (await options.globalHelpers?.()) ?? [authFileHelper]) {
    const found =
      helper === authFileHelper
        ? await searchFiles(search, authPlaces(options.environment, options))
        : await searchHelper(search, helper, 'credential-helpers of registries.conf', 'default');
    if (found !== undefined) return found;
  }
  return undefined;
}

async function searchFiles(
  search: OneSearch,
  places: readonly AuthPlace[],
): Promise<FoundCredential | undefined> {
  for (const place of places) {
    const found = await searchPlace(search, place);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function searchPlace(search: OneSearch, place: AuthPlace): Promise<FoundCredential | undefined> {
  const at = { place: place.name, reason: place.reason };
  let document: AuthDocument | undefined;
  try {
    document = await search.load(place);
    if (document === undefined && place.required) throw missingFile(place);
  } catch (error) {
    search.steps.push({ ...at, outcome: 'failed', detail: toImgfsError(error).message });
    throw error;
  }
  if (document === undefined) {
    search.steps.push({ ...at, outcome: 'absent' });
    return undefined;
  }
  return await searchDocument(search, place, document);
}

function missingFile(place: AuthPlace): ImgfsError {
  return new ImgfsError(
    'config',
    `cannot use ${place.name}: there is no such file, and ${place.reason} names it`,
    {
      operation: 'read credentials',
      path: place.name,
      hint: `log in, or correct ${place.reason}`,
    },
  );
}

/**
 * One file: the helper named for the host, then entries below the host, then the default helper, then the entry of
 * the host. Docker does not look at `auths` where there is a default helper, so an entry beside it is older than
 * what the helper has; entries for a namespace are podman's and more specific than anything a helper knows.
 */
async function searchDocument(
  search: OneSearch,
  place: AuthPlace,
  document: AuthDocument,
): Promise<FoundCredential | undefined> {
  const host = search.keys.at(-1) ?? '';
  const ownHelper = document.credHelpers.get(host);
  if (ownHelper !== undefined && ownHelper !== '') {
    const found = await searchHelper(search, ownHelper, `credHelpers of ${place.name}`, 'named');
    if (found !== undefined) return found;
  }
  const below = matchEntry(search, place, document, search.keys.slice(0, -1));
  if (below !== undefined) return below;
  if (ownHelper === undefined && document.credsStore !== undefined) {
    const found = await searchHelper(search, document.credsStore, `credsStore of ${place.name}`, 'default');
    if (found !== undefined) return found;
  }
  const exact = matchEntry(search, place, document, [host]);
  if (exact === undefined) {
    search.steps.push({ place: place.name, reason: place.reason, outcome: 'no entry' });
  }
  return exact;
}

function matchEntry(
  search: OneSearch,
  place: AuthPlace,
  document: AuthDocument,
  keys: readonly string[],
): FoundCredential | undefined {
  const at = { place: place.name, reason: place.reason };
  for (const key of keys) {
    const entry = document.auths.get(key);
    if (entry === undefined) continue;
    let credential: Credential;
    try {
      credential = credentialOf(entry, place.name);
    } catch (error) {
      search.steps.push({ ...at, outcome: 'failed', detail: toImgfsError(error).message });
      throw error;
    }
    if (credential.kind === 'anonymous') continue;
    search.steps.push({
      ...at,
      outcome: 'matched',
      detail: `key ${JSON.stringify(entry.key)}${describe(credential)}`,
    });
    return { credential, origin: `${place.name}, key ${JSON.stringify(entry.key)}` };
  }
  return undefined;
}

/** What kind of credential it is, without the secret: `, user "alice"`. */
function describe(credential: Credential): string {
  switch (credential.kind) {
    case 'anonymous':
      return '';
    case 'basic':
      return `, user ${JSON.stringify(credential.username)}`;
    case 'identity-token':
      return ', a refresh token';
    case 'registry-token':
      return ', a bearer token';
  }
}

/**
 * Ask one helper. A helper `named` for this registry has to work. A `default` one that is not installed is common
 * (a config.json copied from a desktop into a container) and must not keep public images from being read.
 */
async function searchHelper(
  search: OneSearch,
  helper: string,
  reason: string,
  role: 'named' | 'default',
): Promise<FoundCredential | undefined> {
  const at = { place: `docker-credential-${helper.slice(0, 128)}`, reason };
  for (const server of helperServers(search.host)) {
    let credential: Credential | undefined;
    try {
      credential = await untilAborted(search.askHelper(helper, server), search.signal);
    } catch (error) {
      const detail = toImgfsError(error).message;
      const skip = role === 'default' && isHelperMissing(error);
      search.steps.push({ ...at, outcome: skip ? 'unavailable' : 'failed', detail });
      if (skip) return undefined;
      throw error;
    }
    if (credential !== undefined) {
      search.steps.push({ ...at, outcome: 'matched', detail: `server ${server}${describe(credential)}` });
      return { credential, origin: `${at.place} for ${server}, by ${reason}` };
    }
  }
  search.steps.push({ ...at, outcome: 'no entry' });
  return undefined;
}

/** Anonymous, with what was skipped: the reason a later 401 has to show. */
function nothingFound(steps: readonly LookupStep[]): FoundCredential {
  const skipped = steps
    .filter((step) => step.outcome === 'unavailable')
    .map((step) => step.detail ?? step.place);
  const origin =
    skipped.length === 0 ? 'no credentials found' : `no credentials found (${skipped.join('; ')})`;
  return { credential: { kind: 'anonymous' }, origin };
}

type HelperDesk = (helper: string, server: string) => Promise<Credential | undefined>;

/** Asks helpers, one process for each question however many callers wait: 256 readers may get a 401 at once. */
function createHelperDesk(options: AuthSourceOptions): HelperDesk {
  const running = new Map<string, Promise<Credential | undefined>>();
  const limit = options.helperDeadlineMs === undefined ? {} : { deadlineMs: options.helperDeadlineMs };
  return async (name, server) => {
    const question = `${name} ${server}`;
    const shared = running.get(question);
    if (shared !== undefined) return await shared;
    const helper = createCredentialHelper(name, options.environment, limit);
    const work = helper.get(server).finally(() => running.delete(question));
    running.set(question, work);
    return await work;
  };
}
