/**
 * A lock between processes, in a file: Node has no flock.
 *
 * The file is created with O_EXCL and says who holds it. Its holder touches it every few seconds. It is stale when the
 * process is gone (same host and boot) or when it was not touched for a minute (other hosts). Only who holds the file
 * `<lock>.break` may remove a stale lock, after reading it again: two processes that find the same stale lock cannot
 * remove each other's new one.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, readFile, stat, unlink, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { fileError, fsErrorCode } from '../file-error.js';
import type { CallOptions } from '../store.js';

export interface LockOptions extends CallOptions {
  /** How long to wait for another holder; default 30 s: an edit of an index takes milliseconds, a collection seconds. */
  readonly timeoutMs?: number;
}

/** Touched this often, stale after twelve times as long: a busy or suspended host misses a few. */
const heartbeatMs = 5_000;
const staleMs = 60_000;

interface Holder {
  readonly nonce: string;
  readonly host: string;
  readonly pid: number;
  /** Start time of the process in clock ticks since boot: a pid comes back, this does not. */
  readonly started: string;
}

/** Field 22 of /proc/<pid>/stat; '' where there is no /proc. The name in field 2 may contain spaces. */
function startTime(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

let boot: string | undefined;

/** Names this machine since its last start: pids mean nothing on another one. */
function hostIdentity(): string {
  if (boot === undefined) {
    try {
      boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    } catch {
      boot = '';
    }
  }
  return `${hostname()} ${boot}`;
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return fsErrorCode(error) === 'EPERM';
  }
  return holder.started === startTime(holder.pid);
}

/**
 * Run `work` while holding the lock file `path`.
 * @throws ImgfsError `timeout` naming the holder, `interrupted`, `read-only-store`, `denied`; whatever `work` throws.
 */
export async function withLock<Result>(
  path: string,
  work: () => Promise<Result>,
  options: LockOptions = {},
): Promise<Result> {
  const holder = await acquire(path, options);
  const heartbeat = setInterval(() => {
    const now = new Date();
    // A lock that cannot be touched will be taken for stale; nothing else can be done about it here.
    utimes(path, now, now).catch(() => undefined);
  }, heartbeatMs);
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await release(path, holder);
  }
}

async function acquire(path: string, options: LockOptions): Promise<Holder> {
  const { signal, timeoutMs = 30_000 } = options;
  const deadline = performance.now() + timeoutMs;
  const pid = process.pid;
  const holder = { nonce: randomUUID(), host: hostIdentity(), pid, started: startTime(pid) };
  for (let delayMs = 2; ; delayMs = Math.min(delayMs * 2, 100)) {
    if (await tryCreate(path, holder)) return holder;
    // The way is free now, however long finding that out took.
    if ((await removeIfStale(path)) && (await tryCreate(path, holder))) return holder;
    if (signal?.aborted === true) throw new ImgfsError('interrupted', `lock ${path}: given up`, { path });
    if (performance.now() >= deadline) throw await timedOut(path, timeoutMs);
    await sleep(delayMs * (0.5 + Math.random()));
  }
}

async function timedOut(path: string, timeoutMs: number): Promise<ImgfsError> {
  const holder = await readHolder(path);
  const who =
    holder === undefined ? 'another process' : `process ${holder.pid} on ${holder.host.split(' ')[0]}`;
  return new ImgfsError('timeout', `lock ${path}: ${who} holds it for more than ${timeoutMs} ms`, {
    path,
    hint: 'wait for it to finish, or remove the lock file when that process is gone',
  });
}

async function tryCreate(path: string, holder: Holder): Promise<boolean> {
  try {
    const handle = await open(path, 'wx', 0o644);
    try {
      await handle.writeFile(JSON.stringify(holder));
    } catch (error) {
      // A full disk must not leave a lock that nobody holds.
      await unlink(path).catch(() => undefined);
      throw error;
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if (fsErrorCode(error) === 'EEXIST') return false;
    throw fileError(error, 'lock', path);
  }
}

async function release(path: string, holder: Holder): Promise<void> {
  // Somebody may have taken it for stale; then it is not ours to remove.
  if ((await readHolder(path))?.nonce !== holder.nonce) return;
  await unlink(path).catch((error: unknown) => {
    if (fsErrorCode(error) !== 'ENOENT') throw fileError(error, 'unlock', path);
  });
}

/** Undefined when there is none, or while it is being written. */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    const { nonce, host, pid, started } = value as Partial<Holder>;
    if (typeof nonce !== 'string' || typeof host !== 'string' || typeof started !== 'string')
      return undefined;
    return typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0
      ? { nonce, host, pid, started }
      : undefined;
  } catch {
    return undefined;
  }
}

async function isStale(path: string): Promise<boolean> {
  const holder = await readHolder(path);
  if (holder?.host === hostIdentity()) return !isAlive(holder);
  const touched = await stat(path).catch(() => undefined);
  return touched !== undefined && Date.now() - touched.mtimeMs > staleMs;
}

/** True when there was a stale lock and it is gone. */
async function removeIfStale(path: string): Promise<boolean> {
  if (!(await isStale(path))) return false;
  const breaker = `${path}.break`;
  const pid = process.pid;
  const self = { nonce: randomUUID(), host: hostIdentity(), pid, started: startTime(pid) };
  if (!(await tryCreate(breaker, self))) {
    // Held for the few file operations below; who died among them is found out the same way.
    if (await isStale(breaker)) await unlink(breaker).catch(() => undefined);
    return false;
  }
  try {
    if (!(await isStale(path))) return false;
    return await unlink(path).then(
      () => true,
      () => false,
    );
  } finally {
    await release(breaker, self);
  }
}
