/** The sample tree, mounted by a child process, with its commands. */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { MountOptions } from '../../src/fuse/driver.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { loadAddon } from '../../src/addon/load-addon.js';
import { makeTempDir, removeTempDir } from './temp.js';

export type DriverName = 'native' | 'fuse-native';

const program = fileURLToPath(new URL('./mount-child.js', import.meta.url));

/** Reason to skip tests that mount; false when they can run. */
export function skipWithoutMount(driver: DriverName): string | false {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    return 'needs access to /dev/fuse';
  }
  const loaded = driver === 'native' ? loadAddon() : undefined;
  return loaded !== undefined && loaded.addon === undefined ? `needs the addon: ${loaded.reason}` : false;
}

export interface Counts {
  readonly calls: Record<string, number>;
  readonly lookups: number;
  readonly openFiles: number;
  readonly openDirectories: number;
  readonly fills: readonly { readonly start: number; readonly end: number }[];
  readonly abortedFills: number;
  readonly errors: readonly string[];
}

export interface Mounted {
  readonly path: string;
  readonly scratch: string;
  readonly child: ChildProcess;
  /** Settles when the session said that it is closed. */
  readonly closed: Promise<void>;
  /** Settles when the process has ended. */
  readonly exited: Promise<number | null>;
  command(line: string): Promise<unknown>;
  counts(): Promise<Counts>;
  statistics(): Promise<Record<string, number>>;
  /** Unmount, end the child, remove the folders; safe in any state. */
  dispose(): Promise<void>;
}

const commandTimeoutMs = 20_000;

/** Mount the sample tree. `wrap` puts another command before node (unshare, setpriv…). */
export async function mountSample(
  driver: DriverName,
  options: Partial<MountOptions> = {},
  wrap: readonly string[] = [],
): Promise<Mounted> {
  return mountTree('sample', driver, options, wrap);
}

/** Mount one of the trees that the child program knows. */
export async function mountTree(
  tree: 'sample' | 'bench',
  driver: DriverName,
  options: Partial<MountOptions> = {},
  wrap: readonly string[] = [],
  environment: Readonly<Record<string, string>> = {},
): Promise<Mounted> {
  const folder = await makeTempDir('mount');
  const path = join(folder, 'mnt');
  const scratch = join(folder, 'scratch');
  mkdirSync(path);
  const words = [...wrap, process.execPath, program, driver, path, scratch, JSON.stringify(options)];
  const child = spawn(words[0] ?? '', words.slice(1), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, IMGFS_TEST_TREE: tree, ...environment },
  });
  const waiting: ((message: Record<string, unknown>) => void)[] = [];
  let ready = (_error?: Error): void => {};
  let closed = (): void => {};
  const whenClosed = new Promise<void>((resolve) => {
    closed = resolve;
  });
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => {
      resolve(code);
      ready(new Error(`the child ended with ${code}`));
      for (const answer of waiting.splice(0)) answer({ error: `the child ended with ${code}` });
    });
  });
  const whenReady = new Promise<void>((resolve, reject) => {
    ready = (error) => (error === undefined ? resolve() : reject(error));
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as Record<string, unknown>;
    if (message['event'] === 'ready') ready();
    else if (message['event'] === 'closed') closed();
    else waiting.shift()?.(message);
  });
  child.stdin.on('error', () => {
    // The child is gone; `exited` tells.
  });

  const ask = async (line: string): Promise<unknown> => {
    const answer = new Promise<Record<string, unknown>>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${line}`)), commandTimeoutMs);
      waiting.push((message) => {
        clearTimeout(timer);
        resolve(message);
      });
    });
    child.stdin.write(`${line}\n`);
    const message = await answer;
    if (message['error'] !== undefined) throw new Error(message['error'] as string);
    return message['answer'];
  };
  const mounted: Mounted = {
    path,
    scratch,
    child,
    closed: whenClosed,
    exited,
    command: ask,
    counts: async () => (await ask('counts')) as Counts,
    statistics: async () => (await ask('statistics')) as Record<string, number>,
    dispose: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        await ask('force').catch(() => {});
        child.kill('SIGKILL');
        await exited;
      }
      if ((await findMount(path)) !== undefined) await unmountPath(path, { lazy: true }).catch(() => {});
      await removeTempDir(folder);
    },
  };
  try {
    await whenReady;
  } catch (error) {
    await mounted.dispose();
    throw error;
  }
  return mounted;
}
