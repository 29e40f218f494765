/**
 * At most one owner of a folder, among processes that may be killed at any instant.
 *
 * Each candidate creates a file whose name says who it is, then lists the folder: when another live owner is
 * there, it takes its own file away and has failed. Creating before listing means that two candidates can both
 * fail, but never both succeed; and since a file belongs to one process for ever, taking away the file of a
 * dead one can never hit a live one, which is the flaw of the usual single lock file.
 *
 * Owners that cannot be seen from here (another container, another machine) count as alive while they refresh
 * the time of their file.
 */
import { randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from './file-io.js';
import { lifeOf, ownIdentity } from './process-identity.js';

/** Refresh period of held locks. */
const refreshMs = 20_000;
/** Five missed refreshes: a stopped container, not a slow one. */
const strangerStaleMs = 5 * refreshMs;

const pattern = /^lock-(?<boot>\w+)-(?<namespace>\d+)-(?<pid>\d+)-(?<startTicks>\d+)-[0-9a-f]{12}$/u;

export interface OwnerLock {
  /** Idempotent; never fails. */
  release(): Promise<void>;
}

const held = new Set<string>();
let refresher: NodeJS.Timeout | undefined;

function keepFresh(path: string): void {
  held.add(path);
  refresher ??= setInterval(() => {
    const now = new Date();
    for (const each of held) void fs.utimes(each, now, now).catch(() => undefined);
  }, refreshMs).unref();
}

async function unlinkQuietly(path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch {
    // Gone already: the cache may be deleted at any time.
  }
}

async function isLive(folder: string, name: string): Promise<boolean> {
  const groups = pattern.exec(name)?.groups;
  if (groups === undefined) return false;
  const { boot = '', namespace = '', pid = '', startTicks = '' } = groups;
  const life = lifeOf({ boot, namespace, pid: Number(pid), startTicks });
  if (life !== 'unknown') return life === 'alive';
  try {
    return Date.now() - (await fs.stat(join(folder, name))).mtimeMs < strangerStaleMs;
  } catch {
    return false;
  }
}

/** Names of the lock files of live owners other than `own`; files of dead owners are taken away. */
async function liveOwners(folder: string, own?: string): Promise<string[]> {
  const live: string[] = [];
  for (const name of await fs.readdir(folder)) {
    if (name === own || !name.startsWith('lock-')) continue;
    if (await isLive(folder, name)) live.push(name);
    else await unlinkQuietly(join(folder, name));
  }
  return live;
}

/** True when somebody owns the folder now. A folder that is not there has no owner. */
export async function isOwned(folder: string): Promise<boolean> {
  try {
    return (await liveOwners(folder)).length > 0;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Become the owner of a folder, made if need be; undefined when another process (or another part of this one)
 * owns it. System errors pass through.
 */
export async function tryOwn(folder: string): Promise<OwnerLock | undefined> {
  const { boot, namespace, pid, startTicks } = ownIdentity();
  const name = `lock-${boot}-${namespace}-${pid}-${startTicks}-${randomBytes(6).toString('hex')}`;
  const path = join(folder, name);
  await createIn(folder, path);
  if ((await liveOwners(folder, name)).length > 0) {
    await unlinkQuietly(path);
    return undefined;
  }
  keepFresh(path);
  return {
    release: async () => {
      if (held.delete(path)) await unlinkQuietly(path);
    },
  };
}

/** The last owner may remove the folder between our mkdir and our create: then both are tried again. */
async function createIn(folder: string, path: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await fs.mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      await fs.writeFile(path, '', { flag: 'wx', mode: 0o600 });
      return;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT' || attempt >= 10) throw error;
    }
  }
}

/**
 * Wait for ownership: for short critical sections such as writing index.json.
 * Returns undefined when it was not had within `timeoutMs`.
 */
export async function own(folder: string, timeoutMs: number): Promise<OwnerLock | undefined> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const lock = await tryOwn(folder);
    if (lock !== undefined || Date.now() >= deadline) return lock;
    // Random, so that two candidates who saw each other do not meet again.
    await new Promise((resolve) => setTimeout(resolve, 2 + Math.random() * 20));
  }
}
