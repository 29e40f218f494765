/** `imgfs umount`: unmount, then wait until the daemon has ended. */
import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { findMount, imgfsMountType } from '../../fuse/mount-table.js';
import { unmountPath } from '../../fuse/unmount.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { parseDuration } from '../output.js';
import { isAlive, readRecords, removeRecord, type DaemonRecord } from '../mount/state-directory.js';

/** How often a daemon that is ending is looked at: it needs milliseconds, and people notice a tenth of a second. */
const pollMs = 50;

/** The mount point as the mount table spells it; a dead mount cannot be resolved and is taken as written. */
async function mountPointOf(path: string): Promise<string> {
  const absolute = resolve(path);
  return realpath(absolute).catch(() => absolute);
}

async function waitForEnd(record: DaemonRecord, waitMs: number, signal: AbortSignal): Promise<boolean> {
  const until = Date.now() + waitMs;
  while (await isAlive(record)) {
    if (Date.now() > until || signal.aborted) return false;
    await new Promise((wake) => {
      setTimeout(wake, pollMs);
    });
  }
  return true;
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
    if (!(await waitForEnd(record, waitMs, context.signal))) {
      context.out.note(`unmounted; the daemon (pid ${record.pid}) is still finishing`);
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
        describe: 'detach at once, also when files are open',
      })
      .option('wait', { type: 'string', default: '30s', describe: 'how long to wait for the daemon to end' }),
  run,
};
