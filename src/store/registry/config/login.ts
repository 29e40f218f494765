/**
 * Writing credentials where podman, skopeo, buildah and Docker find them, and taking them away again. Whether a
 * registry accepts them is for the caller to find out before.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { dockerHub, isRegistryHost, isRepositoryName, normalizeRegistry } from '../../../oci/reference.js';
import type { Credential } from '../credential.js';
import { parseAuthDocument } from './auth-document.js';
import { entryFields } from './auth-entry.js';
import { authFileHelper, createAuthSource, type AuthSourceOptions } from './auth-file.js';
import { dockerHubServer, normalizeKey } from './auth-key.js';
import { loginTargets, type LoginTarget } from './auth-places.js';
import { createCredentialHelper } from './credential-helper.js';
import { childObject, editJsonFile, type JsonObject } from './edit-json.js';
import { isPermissionError, readConfigFile, stampFile, unusable } from './read-file.js';

/** What a login is for: a registry, or a namespace or repository of it. */
export interface LoginScope {
  readonly host: string;
  readonly namespace?: string;
}

export interface LoginResult {
  /** Where it was written: a path or a helper, safe to print. */
  readonly writtenTo: string;
  /** Set when another place speaks first for this registry, so that the login does not count. */
  readonly shadowedBy?: string;
}

/**
 * Parse `host[:port][/namespace…]`, also as a URL (`https://index.docker.io/v1/`).
 * @throws ImgfsError `name-invalid`.
 */
export function parseLoginScope(text: string): LoginScope {
  const key = normalizeKey(text.trim());
  const slash = key.indexOf('/');
  const host = slash < 0 ? key : key.slice(0, slash);
  const namespace = slash < 0 ? undefined : key.slice(slash + 1);
  if (!isRegistryHost(host) || (namespace !== undefined && !isRepositoryName(namespace))) {
    throw new ImgfsError('name-invalid', `not a registry: ${JSON.stringify(text.slice(0, 300))}`, {
      hint: 'name it as registry.example:5000, or registry.example/namespace',
    });
  }
  return namespace === undefined ? { host } : { host, namespace };
}

/**
 * Keep a credential for later use by every tool. Goes through a helper where one is configured.
 * @throws ImgfsError `config` when no file can be written or the helper fails; `unsupported` for a namespace where
 *   only whole registries can be kept, and for a kind of credential the place cannot hold.
 */
export async function storeCredential(
  scope: LoginScope,
  credential: Credential,
  options: AuthSourceOptions,
): Promise<LoginResult> {
  const [helper = authFileHelper] = (await options.globalHelpers?.()) ?? [];
  const writtenTo =
    helper === authFileHelper
      ? await storeInFirstFile(scope, credential, options)
      : await storeInHelper(helper, normalizeRegistry(scope.host), scope, credential, options);
  const speaker = await firstSpeaker(scope, options);
  return speaker === writtenTo
    ? { writtenTo }
    : { writtenTo, shadowedBy: speaker ?? 'nothing was found again' };
}

/** The place that speaks for a registry now, or fails; undefined where there is none. */
async function firstSpeaker(scope: LoginScope, options: AuthSourceOptions): Promise<string | undefined> {
  const { steps } = await createAuthSource(options).explain(scope.host, scope.namespace);
  return steps.find((step) => step.outcome === 'matched' || step.outcome === 'failed')?.place;
}

async function storeInFirstFile(
  scope: LoginScope,
  credential: Credential,
  options: AuthSourceOptions,
): Promise<string> {
  const targets = loginTargets(options.environment, options);
  for (const [at, target] of targets.entries()) {
    try {
      return await storeInFile(target, scope, credential, options);
    } catch (error) {
      if (at === targets.length - 1 || !isUnwritable(error)) throw error;
    }
  }
  throw new ImgfsError(
    'config',
    'there is no place to keep a login: neither HOME nor XDG_RUNTIME_DIR is set',
    {
      hint: 'name a file with --authfile',
    },
  );
}

const sessionGone = Object.assign(new Error('no such folder'), { code: 'ENOENT' });

/** A folder that is not ours, read-only, or gone: the next place is tried. */
function isUnwritable(error: unknown): boolean {
  const cause = error instanceof ImgfsError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
  return isPermissionError(error) || cause?.code === 'EROFS' || cause?.code === 'ENOENT';
}

async function storeInFile(
  target: LoginTarget,
  scope: LoginScope,
  credential: Credential,
  options: AuthSourceOptions,
): Promise<string> {
  if (target.within !== undefined && (await stampFile(target.within)) === undefined) {
    throw unusable(target.path, `${target.within} does not exist`, sessionGone, 'unset XDG_RUNTIME_DIR');
  }
  const helper = await helperFor(target, scope.host);
  const server = fileKey(target, { host: scope.host });
  if (helper !== undefined) return await storeInHelper(helper, server, scope, credential, options);
  const fields = entryFields(credential);
  if (fields === undefined) throw new ImgfsError('invalid', 'there is nothing to keep of an anonymous login');
  if (target.dockerFormat && scope.namespace !== undefined) throw namespaceRefused(target.path);
  const key = fileKey(target, scope);
  await editJsonFile(target.path, (root) => {
    const auths = childObject(root, 'auths', target.path);
    removeSpellings(auths, key);
    auths[key] = fields;
    return true;
  });
  return target.path;
}

/** The helper the file names for a registry: its own, or the default one where the file is Docker's. */
async function helperFor(target: LoginTarget, host: string): Promise<string | undefined> {
  const file = await readConfigFile(target.path);
  if (file === undefined) return undefined;
  const document = parseAuthDocument(file.bytes.toString('utf8'), target.path, 'docker');
  const helper = document.credHelpers.get(normalizeRegistry(host)) ?? document.credsStore;
  return helper === '' ? undefined : helper;
}

function namespaceRefused(place: string): ImgfsError {
  return new ImgfsError(
    'unsupported',
    `${place} can keep a login for a whole registry only, not for a namespace`,
    {
      hint: 'log in to the registry, or name another file with --authfile',
    },
  );
}

async function storeInHelper(
  name: string,
  server: string,
  scope: LoginScope,
  credential: Credential,
  options: AuthSourceOptions,
): Promise<string> {
  const place = `docker-credential-${name}`;
  if (scope.namespace !== undefined) throw namespaceRefused(place);
  const helper = createCredentialHelper(name, options.environment, limitOf(options));
  switch (credential.kind) {
    case 'basic':
      await helper.store(server, credential.username, credential.password);
      return place;
    case 'identity-token':
      await helper.store(server, '<token>', credential.token);
      return place;
    case 'registry-token':
    case 'anonymous':
      throw new ImgfsError('unsupported', `${place} can keep passwords and refresh tokens only`);
  }
}

function limitOf(options: AuthSourceOptions): { deadlineMs?: number } {
  return options.helperDeadlineMs === undefined ? {} : { deadlineMs: options.helperDeadlineMs };
}

/** The key as the readers of that file spell it. */
function fileKey(target: LoginTarget, scope: LoginScope): string {
  const host = normalizeRegistry(scope.host);
  if (target.dockerFormat && host === dockerHub) return dockerHubServer;
  return scope.namespace === undefined ? host : `${host}/${scope.namespace}`;
}

/** Take out every spelling of a key: an older one would otherwise be found by some reader. */
function removeSpellings(entries: JsonObject, key: string): boolean {
  const wanted = normalizeKey(key);
  const spellings = Object.keys(entries).filter((other) => normalizeKey(other) === wanted);
  for (const spelling of spellings) delete entries[spelling];
  return spellings.length > 0;
}

export interface LogoutResult {
  /** Files and helpers that held a login; empty when nobody was logged in there. */
  readonly removedFrom: readonly string[];
  /** A place no login of ours goes to (Docker's file, a variable) that still speaks for the registry. */
  readonly stillFoundIn?: string;
}

/**
 * Remove what a login wrote: from the files a login goes to, and from the helpers named there or in registries.conf.
 * @throws ImgfsError `config` when a file cannot be written or a helper fails.
 */
export async function eraseCredential(scope: LoginScope, options: AuthSourceOptions): Promise<LogoutResult> {
  const removedFrom = await eraseEverywhere(scope, options);
  const stillFoundIn = await firstSpeaker(scope, options);
  return stillFoundIn === undefined ? { removedFrom } : { removedFrom, stillFoundIn };
}

async function eraseEverywhere(scope: LoginScope, options: AuthSourceOptions): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const helper of (await options.globalHelpers?.()) ?? [authFileHelper]) {
    if (helper !== authFileHelper) {
      removed.push(...(await eraseFromHelper(helper, normalizeRegistry(scope.host), scope, options)));
      continue;
    }
    for (const target of loginTargets(options.environment, options)) {
      removed.push(...(await eraseFromFile(target, scope, options)));
    }
  }
  return removed;
}

async function eraseFromFile(
  target: LoginTarget,
  scope: LoginScope,
  options: AuthSourceOptions,
): Promise<readonly string[]> {
  const removed: string[] = [];
  if ((await readConfigFile(target.path)) === undefined) return removed;
  const helper = await helperFor(target, scope.host);
  if (helper !== undefined) {
    const server = fileKey(target, { host: scope.host });
    removed.push(...(await eraseFromHelper(helper, server, scope, options)));
  }
  const written = await editJsonFile(target.path, (root) =>
    removeSpellings(childObject(root, 'auths', target.path), fileKey(target, scope)),
  );
  return written ? [...removed, target.path] : removed;
}

async function eraseFromHelper(
  name: string,
  server: string,
  scope: LoginScope,
  options: AuthSourceOptions,
): Promise<readonly string[]> {
  if (scope.namespace !== undefined) return [];
  const helper = createCredentialHelper(name, options.environment, limitOf(options));
  return (await helper.erase(server)) ? [`docker-credential-${name}`] : [];
}
