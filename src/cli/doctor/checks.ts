/** The checks of `imgfs doctor`. Each looks at one thing, never throws, and never touches a network. */
import { access, constants, mkdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError, toImgfsError } from '../../errors/imgfs-error.js';
import { reportDrivers } from '../../fuse/choose-driver.js';
import { imgfsMountType, readMountTable } from '../../fuse/mount-table.js';
import { formatBytes } from '../output.js';
import type { Settings } from '../settings.js';

export interface Finding {
  readonly subject: string;
  /** `failure`: no mount is possible. `warning`: works, but something will surprise. */
  readonly state: 'ok' | 'note' | 'warning' | 'failure';
  readonly detail: string;
  readonly nextStep?: string;
}

const minimumNode = [20, 19] as const;

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [wantedMajor, wantedMinor] = minimumNode;
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  return {
    subject: 'node',
    state: enough ? 'ok' : 'failure',
    detail: `${process.version} on ${process.platform}-${process.arch}`,
    ...(enough ? {} : { nextStep: `install Node ${wantedMajor}.${wantedMinor} or newer` }),
  };
}

async function checkDrivers(): Promise<Finding[]> {
  const reports = await reportDrivers();
  const anyUsable = reports.some((report) => report.usable);
  return reports.map((report, index) => ({
    subject: `driver ${report.name}`,
    state: report.usable ? 'ok' : anyUsable ? 'note' : 'failure',
    detail: `${report.reason}${report.usable && reports.findIndex((other) => other.usable) === index ? ' (would be used)' : ''}`,
    ...(anyUsable ? {} : { nextStep: 'ls, cat and inspect work without a mount; install fuse3 for one' }),
  }));
}

async function checkDevice(): Promise<Finding> {
  const subject = '/dev/fuse';
  if (process.platform !== 'linux')
    return { subject, state: 'note', detail: `not used on ${process.platform}` };
  try {
    await access(subject, constants.R_OK | constants.W_OK);
    return { subject, state: 'ok', detail: 'there, and may be opened' };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return {
      subject,
      state: 'failure',
      detail: missing ? 'missing' : 'may not be opened by this user',
      nextStep: missing
        ? 'modprobe fuse; in a container start it with --device /dev/fuse --cap-add SYS_ADMIN'
        : 'chmod 0666 /dev/fuse (Debian does so by a udev rule of fuse3), or run as root',
    };
  }
}

async function findInPath(command: string): Promise<string | undefined> {
  for (const directory of (process.env['PATH'] ?? '/usr/bin:/bin').split(':')) {
    const path = join(directory, command);
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path; // prettier-ignore
  }
  return undefined;
}

async function checkHelper(): Promise<Finding> {
  const subject = 'fusermount';
  if (process.platform !== 'linux')
    return { subject, state: 'note', detail: `not used on ${process.platform}` };
  const path = (await findInPath('fusermount3')) ?? (await findInPath('fusermount'));
  if (path === undefined) {
    const root = process.getuid?.() === 0;
    return {
      subject,
      state: root ? 'note' : 'failure',
      detail: 'not found',
      nextStep: 'apt-get install fuse3',
    };
  }
  const setuid = ((await stat(path)).mode & 0o4000) !== 0;
  return setuid || process.getuid?.() === 0
    ? { subject, state: 'ok', detail: path }
    : { subject, state: 'warning', detail: `${path} is not setuid root`, nextStep: `chmod u+s ${path}` };
}

async function checkAllowOther(): Promise<Finding> {
  const text = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  const allowed = /^\s*user_allow_other\s*$/m.test(text) || process.getuid?.() === 0;
  return {
    subject: '--allow-other',
    state: allowed ? 'ok' : 'note',
    detail: allowed ? 'may be used' : 'only root may use it here',
    ...(allowed ? {} : { nextStep: 'put user_allow_other into /etc/fuse.conf if other users shall enter' }),
  };
}

/** The nearest directory that exists: a cache directory is made at first use. */
async function existingParent(path: string): Promise<string> {
  return stat(path).then(() => path, () => (dirname(path) === path ? path : existingParent(dirname(path)))); // prettier-ignore
}

async function checkCache(settings: Settings): Promise<Finding> {
  const subject = 'cache';
  const directory = settings.cacheDirectory;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const probe = join(directory, `.doctor-${process.pid}`);
    await writeFile(probe, 'probe');
    await rm(probe);
  } catch (error) {
    return {
      subject,
      state: 'warning',
      detail: `${directory} cannot be written: ${toImgfsError(error).message}; every read goes to the network`,
      nextStep: 'choose another with --cache-dir or IMGFS_CACHE_DIR',
    };
  }
  const space = await statfs(await existingParent(directory));
  const free = space.bavail * space.bsize;
  const tight = free < settings.cacheBytes / 10;
  return {
    subject,
    state: tight ? 'warning' : 'ok',
    detail: `${directory}, at most ${formatBytes(settings.cacheBytes)}, ${formatBytes(free)} free on that disk`,
    ...(tight ? { nextStep: 'free space, or choose a smaller --cache-size' } : {}),
  };
}

function checkProxies(): Finding {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [
    name,
    name.toLowerCase(),
  ]);
  const set = names.filter((name) => (process.env[name] ?? '') !== '');
  return { subject: 'proxy', state: 'note', detail: set.length === 0 ? 'none' : `from ${set.join(', ')}` };
}

/** Certificates are refused by a clock that is far off; a build cannot be newer than now. */
async function checkClock(): Promise<Finding> {
  const built = (await stat(new URL(import.meta.url))).mtimeMs;
  const behind = Date.now() < built - 24 * 3_600_000;
  return {
    subject: 'clock',
    state: behind ? 'warning' : 'ok',
    detail: new Date().toISOString(),
    ...(behind ? { nextStep: 'set the clock: certificates and tokens will be refused' } : {}),
  };
}

async function checkMounts(): Promise<Finding> {
  const mounts = (await readMountTable()).filter((entry) => entry.type === imgfsMountType);
  return {
    subject: 'mounts',
    state: 'note',
    detail: mounts.length === 0 ? 'none' : mounts.map((entry) => entry.mountPoint).join(', '),
  };
}

/** A check that threw is itself a finding. */
async function guarded(subject: string, check: () => Promise<Finding | Finding[]>): Promise<Finding[]> {
  try {
    return [await check()].flat();
  } catch (error) {
    return [{ subject, state: 'warning', detail: describeError(error).split('\n').join('; ') }];
  }
}

/** Run all checks, in the order in which a person mends things. */
export async function checkMachine(settings: Settings): Promise<Finding[]> {
  const { checkAccess } = await import('./access-checks.js');
  const checks: [string, () => Promise<Finding | Finding[]>][] = [
    ['node', async () => checkNode()],
    ['/dev/fuse', checkDevice],
    ['fusermount', checkHelper],
    ['drivers', checkDrivers],
    ['--allow-other', checkAllowOther],
    ['cache', () => checkCache(settings)],
    ['clock', checkClock],
    ['proxy', async () => checkProxies()],
    ['credentials', () => checkAccess(settings)],
    ['mounts', checkMounts],
  ];
  const findings: Finding[] = [];
  for (const [subject, check] of checks) findings.push(...(await guarded(subject, check)));
  return findings;
}
