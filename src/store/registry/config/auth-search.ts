/** One search for a credential: place by place, until one has it. Every place leaves a line for `auth why`. */
import { ImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import type { Credential, FoundCredential } from '../credential.js';
import type { AuthDocument } from './auth-document.js';
import { credentialOf } from './auth-entry.js';
import { helperServers } from './auth-key.js';
import type { AuthPlace } from './auth-places.js';
import { isHelperMissing } from './credential-helper.js';
import { untilAborted } from './deadline.js';

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

/** Asks a helper for a server. */
export type HelperDesk = (helper: string, server: string) => Promise<Credential | undefined>;

/** What one search carries along. */
export interface OneSearch {
  readonly keys: readonly string[];
  readonly host: string;
  readonly steps: LookupStep[];
  readonly load: (place: AuthPlace) => Promise<AuthDocument | undefined>;
  readonly askHelper: HelperDesk;
  readonly signal: AbortSignal | undefined;
}

/** Look at files in their order. @throws ImgfsError `config` at the first that cannot be used. */
export async function searchFiles(
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
export async function searchHelper(
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
