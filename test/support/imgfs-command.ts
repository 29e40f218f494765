/** The `imgfs` command as a user runs it: a process of its own, with a home of its own. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, type RunOptions, type RunResult } from './child.js';

/** The program. */
export const imgfsMain = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface ImgfsCommand {
  /** Home directory: logins and caches of this command live there. */
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Run it; the exit code is an answer. */
  (parameters: readonly string[], options?: RunOptions): Promise<RunResult>;
}

/** Commands that share a home below `directory`, and nothing with this machine. */
export function imgfsIn(directory: string): ImgfsCommand {
  const home = join(directory, 'home');
  const runtime = join(directory, 'run');
  mkdirSync(home, { recursive: true });
  mkdirSync(runtime, { recursive: true, mode: 0o700 });
  const environment = {
    HOME: home,
    XDG_RUNTIME_DIR: runtime,
    XDG_CONFIG_HOME: undefined,
    XDG_CACHE_HOME: undefined,
    XDG_STATE_HOME: undefined,
    IMGFS_CACHE_DIR: undefined,
    IMGFS_LOG: undefined,
    REGISTRY_AUTH_FILE: undefined,
    DOCKER_CONFIG: undefined,
    SSL_CERT_FILE: undefined,
    SSL_CERT_DIR: undefined,
    NO_COLOR: '1',
  };
  const command = (parameters: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
    run(process.execPath, [imgfsMain, ...parameters], {
      ...options,
      env: { ...environment, ...options.env },
    });
  return Object.assign(command, { home, environment });
}
