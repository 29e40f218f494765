/** `imgfs status`: the mounts of this machine, and what each tells of itself in `.imgfs/status.json`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { imgfsMountType, readMountTable } from '../../fuse/mount-table.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { readRecords } from '../mount/state-directory.js';
import { formatTable, styled } from '../output.js';

/** A mount that does not answer within this time is reported as silent; it must not hang the report. */
const answerTimeoutMs = 2_000;

interface MountReport {
  readonly mountPoint: string;
  readonly state: 'serving' | 'dead' | 'silent';
  readonly pid: number | undefined;
  readonly driver: string | undefined;
  readonly logFile: string | undefined;
  readonly status: unknown;
}

async function askMount(mountPoint: string): Promise<Pick<MountReport, 'state' | 'status'>> {
  const signal = AbortSignal.timeout(answerTimeoutMs);
  const silent = new Promise<Pick<MountReport, 'state' | 'status'>>((resolve) => {
    signal.addEventListener('abort', () => resolve({ state: 'silent', status: undefined }), { once: true });
  });
  const answer = readFile(join(mountPoint, '.imgfs', 'status.json'), { encoding: 'utf8', signal }).then(
    (text) => ({ state: 'serving' as const, status: JSON.parse(text) as unknown }),
    (error: NodeJS.ErrnoException) => ({
      state: error.code === 'ENOTCONN' ? ('dead' as const) : ('silent' as const),
      status: undefined,
    }),
  );
  return Promise.race([answer, silent]);
}

async function reports(only: string | undefined): Promise<MountReport[]> {
  const records = await readRecords();
  const mounts = (await readMountTable()).filter((entry) => entry.type === imgfsMountType);
  const wanted = mounts.filter((entry) => only === undefined || entry.mountPoint === only);
  return Promise.all(
    wanted.map(async ({ mountPoint }) => {
      const record = records.find((candidate) => candidate.mountPoint === mountPoint);
      return {
        mountPoint,
        pid: record?.pid,
        driver: record?.driver,
        logFile: record?.logFile,
        ...(await askMount(mountPoint)),
      };
    }),
  );
}

async function run(args: Arguments, { out }: CommandContext): Promise<void> {
  const only =
    typeof args['mountpoint'] === 'string' ? args['mountpoint'].replace(/(.)\/+$/, '$1') : undefined;
  const found = await reports(only);
  if (out.json) {
    out.document(found);
    return;
  }
  if (found.length === 0) {
    out.line('nothing is mounted');
    return;
  }
  const rows = found.map((report) => [
    styled(report.state, report.state === 'serving' ? 'green' : 'red', out.color),
    report.pid === undefined ? '-' : String(report.pid),
    report.driver ?? '-',
    report.mountPoint,
  ]);
  for (const line of formatTable([['state', 'pid', 'driver', 'mount point'], ...rows])) out.line(line);
}

export const statusCommand: Command = {
  usage: 'status [mountpoint]',
  examples: [['imgfs status --json | jq', 'mounts, their daemons and what waits']],
  options: (yargs) => yargs.positional('mountpoint', { type: 'string', describe: 'only this one' }),
  run,
};
