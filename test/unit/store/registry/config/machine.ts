/** A machine made of a temporary folder: the only one the tests of this folder see. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Environment } from '../../../../../src/store/registry/config/environment.js';

export interface Machine {
  readonly environment: Environment;
  readonly folder: string;
  /** Write a file below the folder; `~/x` is below home. Returns its path. */
  write(path: string, content: string | object): string;
  /** The same machine with these variables set as well. */
  with(variables: Readonly<Record<string, string>>): Environment;
  read(path: string): string;
  path(path: string): string;
  /** Install `docker-credential-<name>`: a shell script. Needs `with({PATH: machine.path('bin')+…})`. */
  helper(name: string, script: string): void;
}

export const basic = (user: string, password: string): string =>
  Buffer.from(`${user}:${password}`).toString('base64');

export function makeMachine(t: TestContext): Machine {
  const folder = mkdtempSync(join(tmpdir(), 'imgfs-config-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const home = join(folder, 'home');
  const runtime = join(folder, 'run-user');
  mkdirSync(home);
  mkdirSync(runtime);
  const environment: Environment = {
    variables: { XDG_RUNTIME_DIR: runtime, PATH: `${join(folder, 'bin')}:/usr/bin:/bin` },
    home,
    root: folder,
    uid: 1234,
    platform: 'linux',
    workingDirectory: folder,
  };
  const place = (path: string): string =>
    path.startsWith('~/') ? join(home, path.slice(2)) : join(folder, path);
  const write = (path: string, content: string | object): string => {
    const target = place(path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, typeof content === 'string' ? content : JSON.stringify(content));
    return target;
  };
  return {
    environment,
    folder,
    write,
    with: (variables) => ({ ...environment, variables: { ...environment.variables, ...variables } }),
    read: (path) => readFileSync(place(path), 'utf8'),
    path: place,
    helper: (name, script) => {
      chmodSync(write(`bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`), 0o755);
    },
  };
}
