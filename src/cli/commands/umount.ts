/** `imgfs umount`: unmount, then wait until the daemon has ended. */
import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { findMount, imgfsMountType } from '../../fuse/mount-table.js';
import { unmountPath } from '../../fuse/unmount.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { UploadSpool } from '../../image/upload/spool.js';
import { formatBytes, parseDuration } from '../output.js';
import { endAtOnceSignal } from '../mount/end-at-once.js';
import { isAlive, readRecords, removeRecord, type DaemonRecord } from '../mount/state-directory.js';

/** How often a daemon that is ending is looked at: it needs milliseconds, and people notice a tenth of a second. */
const pollMs = 50;

/** How often uploads that are waited for are told of. */
const tellMs = 1_000;

/** The mount point as the mount table spells it; a dead mount cannot be resolved and is taken as written. */
async function mountPointOf(path: string): Promise<string> {
  const absolute = resolve(path);
  return realpath(absolute).catch(() => absolute);
}

/** What the daemon is still sending, as text; undefined when that is nothing. */
async function underWay(record: DaemonRecord): Promise<string | undefined> {
  const spooled = await new UploadSpool(record.cacheDirectory).list().catch(() => []);
  const sending = spooled.filter(({ state, owned }) => owned && state.phase === 'committing');
  if (sending.length === 0) return undefined;
  const bytes = sending.reduce((sum, { size }) => sum + size, 0);
  return `${sending.length} upload${sending.length === 1 ? '' : 's'} of ${formatBytes(bytes)}`;
}

/** True when it has ended. `waitMs` begins anew while uploads are finished, unless they are not waited for. */
async function waitForEnd(
  record: DaemonRecord,
  waitMs: number,
  { signal, out }: CommandContext,
  forUploads: boolean,
): Promise<boolean> {
  let until = Date.now() + waitMs;
  let toldAt = Date.now();
  while (await isAlive(record)) {
    if (forUploads && Date.now() - toldAt > tellMs) {
      toldAt = Date.now();
      const left = await underWay(record);
      if (left !== undefined) {
        until = Date.now() + waitMs;
        out.note(`waiting for ${left}`);
      }
    }
    if (Date.now() > until || signal.aborted) return false;
    await new Promise((wake) => {
      setTimeout(wake, pollMs);
    });
  }
  return true;
}

/** Its uploads stay in the spool, and programs that wait for it get an error. */
async function endAtOnce(record: DaemonRecord): Promise<void> {
  if (!(await isAlive(record))) return;
  try {
    process.kill(record.pid, endAtOnceSignal);
  } catch {
    // It has ended meanwhile.
  }
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const mountPoint = await mountPointOf(String(args['mountpoint']));
  const entry = await findMount(mountPoint);
  if (process.platform === 'linux' && entry?.type !== imgfsMountType) {
    throw new ImgfsError('not-found', `umount ${mountPoint}: imgfs is not mounted there`, {
      path: mountPoint,
      hint: 'imgfs status lists the mounts',
    });
  }
  const record = (await readRecords()).find((candidate) => candidate.mountPoint === mountPoint);
  await unmountPath(mountPoint, { lazy: args['force'] === true });
  if (record !== undefined) {
    const waitMs = parseDuration(String(args['wait'])) ?? 0;
    if (args['force'] === true) await endAtOnce(record);
    if (!(await waitForEnd(record, waitMs, context, args['force'] !== true))) {
      const left = await underWay(record);
      const what = left === undefined ? '' : `: ${left}, which the spool keeps (imgfs upload ls)`;
      context.out.note(`unmounted; the daemon (pid ${record.pid}) is still finishing${what}`);
      return;
    }
    await removeRecord(mountPoint);
  }
  if (context.out.json) context.out.document({ mountPoint, unmounted: true });
  else context.out.line(`unmounted ${mountPoint}`);
}

export const umountCommand: Command = {
  usage: 'umount <mountpoint>',
  examples: [['imgfs umount ~/images', 'waits for uploads and ends the daemon']],
  options: (yargs) =>
    yargs
      .positional('mountpoint', { type: 'string', demandOption: true, describe: 'where imgfs is mounted' })
      .option('force', {
        type: 'boolean',
        default: false,
        describe: 'detach at once, also when files are open; uploads stay in the spool',
      })
      .option('wait', {
        type: 'string',
        default: '30s',
        describe: 'how long to wait for the daemon to end, after its last upload',
      }),
  run,
};
