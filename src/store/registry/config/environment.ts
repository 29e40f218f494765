/**
 * The machine as the configuration files see it: variables, home, absolute paths, user. Everything in this folder
 * takes it as an argument, so that a test never reads the real machine.
 */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** What of a machine the configuration depends on. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** Home directory; undefined where there is none (a mount unit of systemd): places below it are skipped. */
  readonly home: string | undefined;
  /** Put before `/etc`, `/run` and `/var`: `/` on a real machine. */
  readonly root: string;
  readonly uid: number;
  readonly platform: NodeJS.Platform;
  /** What relative paths given by the user are relative to. */
  readonly workingDirectory: string;
}

/** This process' own machine. `HOME` counts first, as in every tool that reads these files. */
export function processEnvironment(): Environment {
  return {
    variables: process.env,
    home: process.env['HOME'] || homeOrUndefined(),
    root: '/',
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    workingDirectory: process.cwd(),
  };
}

function homeOrUndefined(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined; // A user id without an entry in passwd.
  }
}

/** A variable's value; an empty one counts as unset, as in the peers. */
export function variable(environment: Environment, name: string): string | undefined {
  const value = environment.variables[name];
  return value === undefined || value === '' ? undefined : value;
}

/** An absolute path of the machine, below the environment's root. */
export function systemPath(environment: Environment, path: string): string {
  return join(environment.root, path);
}

/** A path the user gave, made absolute. */
export function userPath(environment: Environment, path: string): string {
  return resolve(environment.workingDirectory, path);
}

/** A path below the home directory; undefined where there is none. */
export function homePath(environment: Environment, path: string): string | undefined {
  return environment.home === undefined ? undefined : join(environment.home, path);
}

/** `$XDG_CONFIG_HOME` (relative values are ignored, as its specification says) or `~/.config`. */
export function configHome(environment: Environment): string | undefined {
  return xdgPath(environment, 'XDG_CONFIG_HOME') ?? homePath(environment, '.config');
}

/** `$XDG_CACHE_HOME` or `~/.cache`. */
export function cacheHome(environment: Environment): string | undefined {
  return xdgPath(environment, 'XDG_CACHE_HOME') ?? homePath(environment, '.cache');
}

/** `$XDG_RUNTIME_DIR`, when it is set to an absolute path. */
export function runtimeDirectory(environment: Environment): string | undefined {
  return xdgPath(environment, 'XDG_RUNTIME_DIR');
}

function xdgPath(environment: Environment, name: string): string | undefined {
  const value = variable(environment, name);
  return value?.startsWith('/') === true ? value : undefined;
}
