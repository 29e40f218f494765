/** Where credentials are looked for, in order, and where a login is written. */
import { join } from 'node:path';
import {
  configHome,
  homePath,
  runtimeDirectory,
  systemPath,
  userPath,
  variable,
  type Environment,
} from './environment.js';
import type { AuthFormat } from './auth-document.js';

export interface AuthPlace {
  /** For messages: a path, or the name of a variable. */
  readonly name: string;
  /** What put it on the list: `--authfile`, a variable, `default`. */
  readonly reason: string;
  readonly format: AuthFormat;
  /** Undefined for a document that stands in a variable. */
  readonly path?: string;
  /** The document itself, when it stands in a variable. */
  readonly inline?: string;
  /** The user named this very file: it has to exist. */
  readonly required: boolean;
}

export interface AuthFileOptions {
  /** `--authfile`. */
  readonly authFile?: string;
}

/**
 * The places to read, first match wins.
 *
 * A file named by `--authfile` or `REGISTRY_AUTH_FILE` is the only one, as in podman and skopeo. `DOCKER_CONFIG`
 * comes before the auth.json files when it is set: Docker, podman and skopeo all read and write that file alone
 * then, and a login they made would otherwise be shadowed by an older one.
 */
export function authPlaces(environment: Environment, options: AuthFileOptions): readonly AuthPlace[] {
  const explicit = explicitFile(environment, options);
  if (explicit !== undefined) return [explicit];
  const dockerHome = homePath(environment, '.docker/config.json');
  const dockerConfig = dockerConfigFile(environment);
  const legacy = homePath(environment, '.dockercfg');
  const places = [
    inlinePlace(environment),
    dockerConfig === undefined ? undefined : filePlace(dockerConfig, 'DOCKER_CONFIG'),
    filePlace(primaryFile(environment), 'default'),
    userFile(environment) === undefined ? undefined : filePlace(userFile(environment) ?? '', 'default'),
    dockerConfig !== undefined || dockerHome === undefined ? undefined : filePlace(dockerHome, 'default'),
    legacy === undefined ? undefined : filePlace(legacy, 'default', 'legacy'),
  ].filter((place) => place !== undefined);
  return places.filter((place, at) => places.findIndex((other) => other.name === place.name) === at);
}

function explicitFile(environment: Environment, options: AuthFileOptions): AuthPlace | undefined {
  const flag = options.authFile;
  const path = flag ?? variable(environment, 'REGISTRY_AUTH_FILE');
  if (path === undefined) return undefined;
  const reason = flag === undefined ? 'REGISTRY_AUTH_FILE' : '--authfile';
  return { ...filePlace(userPath(environment, path), reason), required: true };
}

function filePlace(path: string, reason: string, format: AuthFormat = 'docker'): AuthPlace {
  return { name: path, reason, format, path, required: false };
}

function inlinePlace(environment: Environment): AuthPlace | undefined {
  const inline = variable(environment, 'DOCKER_AUTH_CONFIG');
  if (inline === undefined) return undefined;
  const name = 'DOCKER_AUTH_CONFIG';
  return { name: `$${name}`, reason: name, format: 'docker', inline, required: false };
}

function dockerConfigFile(environment: Environment): string | undefined {
  const folder = variable(environment, 'DOCKER_CONFIG');
  return folder === undefined ? undefined : join(userPath(environment, folder), 'config.json');
}

/** containers-auth.json(5): the file that logins go to; on Linux it lives as long as the machine runs. */
function primaryFile(environment: Environment): string {
  if (environment.platform !== 'linux') {
    return (
      homePath(environment, '.config/containers/auth.json') ??
      systemPath(environment, '/etc/containers/auth.json')
    );
  }
  const runtime = runtimeDirectory(environment);
  return runtime === undefined
    ? systemPath(environment, `/run/containers/${environment.uid}/auth.json`)
    : join(runtime, 'containers/auth.json');
}

function userFile(environment: Environment): string | undefined {
  const folder = configHome(environment);
  return folder === undefined ? undefined : join(folder, 'containers/auth.json');
}

/** A file a login can be written to. */
export interface LoginTarget {
  readonly path: string;
  readonly reason: string;
  /**
   * Docker reads this file: the Hub is written under Docker's key, and keys with a namespace, which Docker does not
   * know, are refused.
   */
  readonly dockerFormat: boolean;
  /** Only when this folder exists: a session's folder is made by whoever manages sessions. */
  readonly within?: string;
}

/**
 * Where a login goes: the first of these that can be written to. Only defaults have an alternative: without a
 * session (`XDG_RUNTIME_DIR` unset or gone, and /run/containers not ours) the next file that is read everywhere is
 * `~/.config/containers/auth.json`.
 */
export function loginTargets(environment: Environment, options: AuthFileOptions): readonly LoginTarget[] {
  const explicit = explicitFile(environment, options);
  if (explicit !== undefined) {
    const { name: path, reason } = explicit;
    return [{ path, reason, dockerFormat: isDockerFile(environment, path) }];
  }
  const dockerConfig = dockerConfigFile(environment);
  if (dockerConfig !== undefined)
    return [{ path: dockerConfig, reason: 'DOCKER_CONFIG', dockerFormat: true }];
  const within = environment.platform === 'linux' ? runtimeDirectory(environment) : undefined;
  const primary = { path: primaryFile(environment), reason: 'default', dockerFormat: false };
  const targets: LoginTarget[] = [within === undefined ? primary : { ...primary, within }];
  const path = userFile(environment);
  if (path !== undefined && path !== primary.path)
    targets.push({ path, reason: 'default', dockerFormat: false });
  return targets;
}

/** Docker's own file may be named explicitly too: writing podman's spelling of the Hub there would be lost on Docker. */
function isDockerFile(environment: Environment, path: string): boolean {
  return path === homePath(environment, '.docker/config.json') || path === dockerConfigFile(environment);
}
