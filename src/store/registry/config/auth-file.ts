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
import { keyLookupOrder } from './auth-key.js';
import { authPlaces, type AuthFileOptions, type AuthPlace } from './auth-places.js';
import {
  searchFiles,
  searchHelper,
  type HelperDesk,
  type LookupStep,
  type OneSearch,
} from './auth-search.js';
import { createCredentialHelper } from './credential-helper.js';
import type { Environment } from './environment.js';
import { createFileMemo } from './file-memo.js';

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
  readonly globalHelpers?: () => Promise<readonly string[] | undefined>;
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

/** Anonymous, with what was skipped: the reason a later 401 has to show. */
function nothingFound(steps: readonly LookupStep[]): FoundCredential {
  const skipped = steps
    .filter((step) => step.outcome === 'unavailable')
    .map((step) => step.detail ?? step.place);
  const origin =
    skipped.length === 0 ? 'no credentials found' : `no credentials found (${skipped.join('; ')})`;
  return { credential: { kind: 'anonymous' }, origin };
}

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
