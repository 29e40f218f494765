/**
 * What is known of running daemons: one small JSON file each, so that `umount` and `status` find the process
 * behind a mount point without touching the mount.
 */
import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';

export interface DaemonRecord {
  readonly mountPoint: string;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: a reused pid has another one. Empty where there is no /proc. */
  readonly startTime: string;
  readonly driver: string;
  readonly logFile: string | undefined;
  readonly cacheDirectory: string;
}

/** `$XDG_RUNTIME_DIR/imgfs`, `/run/imgfs` for root, else a private directory in the temporary one. */
function stateDirectory(): string {
  const runtime = process.env['XDG_RUNTIME_DIR'];
  if (runtime !== undefined && runtime.startsWith('/')) return join(runtime, 'imgfs');
  const uid = process.getuid?.() ?? 0;
  return uid === 0 && process.platform === 'linux' ? '/run/imgfs' : join('/tmp', `imgfs-${uid}`);
}

/** Make it, and refuse one that somebody else prepared for us in a shared directory. */
async function ensureStateDirectory(): Promise<string> {
  const directory = stateDirectory();
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const facts = await lstat(directory);
  if (!facts.isDirectory() || (process.getuid !== undefined && facts.uid !== process.getuid())) {
    throw new ImgfsError('denied', `state directory ${directory} belongs to somebody else`, {
      path: directory,
      hint: 'set XDG_RUNTIME_DIR to a directory of yours',
    });
  }
  return directory;
}

function fileName(mountPoint: string): string {
  return `${createHash('sha256').update(mountPoint).digest('hex').slice(0, 32)}.json`;
}

/** Start time of a process in clock ticks after boot; undefined when there is no such process. */
export async function processStartTime(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') {
    try {
      process.kill(pid, 0);
      return '';
    } catch {
      return undefined;
    }
  }
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command's name is in parentheses and may hold anything; fields are counted behind it.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** True while the very process that wrote the record lives. */
export async function isAlive(record: DaemonRecord): Promise<boolean> {
  return (await processStartTime(record.pid)) === record.startTime;
}

export async function writeRecord(record: DaemonRecord): Promise<void> {
  const path = join(await ensureStateDirectory(), fileName(record.mountPoint));
  await writeFile(`${path}.${process.pid}`, JSON.stringify(record), { mode: 0o600 });
  await rename(`${path}.${process.pid}`, path);
}

export async function removeRecord(mountPoint: string): Promise<void> {
  await rm(join(stateDirectory(), fileName(mountPoint)), { force: true });
}

function isRecord(value: unknown): value is DaemonRecord {
  const record = value as Partial<DaemonRecord> | null;
  return (
    typeof record === 'object' && typeof record?.mountPoint === 'string' && typeof record.pid === 'number'
  );
}

/** Records of daemons of this user that live; files of dead ones are removed. */
export async function readRecords(): Promise<DaemonRecord[]> {
  const directory = stateDirectory();
  const names = await readdir(directory).catch(() => [] as string[]);
  const records: DaemonRecord[] = [];
  for (const name of names.filter((candidate) => candidate.endsWith('.json'))) {
    const path = join(directory, name);
    try {
      const value: unknown = JSON.parse(await readFile(path, 'utf8'));
      if (isRecord(value) && (await isAlive(value))) records.push(value);
      else await rm(path, { force: true });
    } catch {
      await rm(path, { force: true });
    }
  }
  return records;
}
