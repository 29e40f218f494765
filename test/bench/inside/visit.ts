/** One mount of ours, and what a command on it costs: time, bytes of the line, disk, memory, a held-up event loop. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mustRun, run } from '../../support/child.js';
import { imgfsIn } from '../../support/imgfs-command.js';
import { heldUpSince, type HeldUp } from '../../support/loop-watch.js';
import { timed } from '../section.js';
import type { Ground } from './ground.js';

const loopWatch = pathToFileURL(fileURLToPath(new URL('../../support/loop-watch.js', import.meta.url))).href;
const commandTimeoutMs = 170_000;

export interface Cost {
  readonly ms: number;
  readonly bytesDown: number;
  readonly output: string;
}

export interface Held {
  /** The longest time while the machine was ours, in ms. */
  readonly longestMs: number;
  /** The most that JavaScript ran in one turn then, in ms; NaN where nobody counts. The rest waited for a processor. */
  readonly longestRunMs: number;
  /** The longest time while a hypervisor took the processors away; undefined when it never did. */
  readonly stolen: HeldUp | undefined;
}

function heldOf(turns: readonly HeldUp[]): Held {
  const ours = turns.filter(({ stolenMs }) => !((stolenMs ?? 0) > 0));
  const others = turns.filter((turn) => !ours.includes(turn));
  return {
    longestMs: Math.max(0, ...ours.map(({ heldMs }) => heldMs)),
    longestRunMs: Math.max(0, ...ours.map(({ ranMs }) => ranMs ?? Number.NaN)),
    stolen: others.toSorted((a, b) => b.heldMs - a.heldMs)[0],
  };
}

/** As a measurement says it. */
export function showHeld({ longestMs, longestRunMs, stolen }: Held): string {
  const text = `held up ${longestMs.toFixed(1)} ms, ran ${longestRunMs.toFixed(1)} ms`;
  if (stolen === undefined) return text;
  return `${text} (${stolen.heldMs.toFixed(1)} ms while a hypervisor took ${stolen.stolenMs})`;
}

export interface Visit {
  readonly rootfs: string;
  /** Run by sh in `rootfs/`. A command that fails is an error. */
  measure(command: string): Promise<Cost>;
  /** Peak resident memory of the daemon until now, in MiB. */
  residentMebibytes(): Promise<number>;
  /** How long the event loop was held up since the mount was ready. */
  held(): Promise<Held>;
  end(): Promise<void>;
}

let visits = 0;

/** Mount with this cache, new or used. */
export async function visit(ground: Ground, cacheDirectory: string): Promise<Visit> {
  const { directory, host, tag, proxy } = ground;
  visits += 1;
  const mountPoint = join(directory, `mnt-${visits}`);
  await mkdir(mountPoint);
  const loopFile = join(directory, `loop-${visits}`);
  const imgfs = imgfsIn(directory);
  const env = { NODE_OPTIONS: `--import ${loopWatch}`, IMGFS_LOOP_FILE: loopFile };
  const words = ['mount', mountPoint, '--cache-dir', cacheDirectory, '--timeout', '120s'];
  const { code, stderr } = await imgfs(words, { env });
  const readyAt = Date.now();
  if (code !== 0) throw new Error(`imgfs mount: ${stderr}`);
  const status = JSON.parse(await readFile(join(mountPoint, '.imgfs/status.json'), 'utf8')) as {
    pid: number;
  };
  const image = join(mountPoint, host, 'app', tag);
  const rootfs = join(image, 'rootfs');
  return {
    rootfs,
    measure: async (command) => {
      proxy.resetCounters();
      let output = '';
      // The shell is not in the tree before the clock runs: entering it is part of the cost.
      const ms = await timed(async () => {
        const script = `cd "$0" && ${command}`;
        output = (await mustRun('sh', ['-c', script, rootfs], { timeoutMs: commandTimeoutMs })).stdout;
      });
      return { ms, bytesDown: proxy.bytesDown(), output: output.trim() };
    },
    residentMebibytes: async () => {
      const text = await readFile(`/proc/${status.pid}/status`, 'utf8');
      return Number(/VmHWM:\s+(\d+) kB/.exec(text)?.[1] ?? Number.NaN) / 1024;
    },
    held: async () => {
      const text = await readFile(`${loopFile}.${status.pid}`, 'utf8').catch(() => '');
      return heldOf(heldUpSince(text, readyAt));
    },
    end: async () => {
      await imgfs(['umount', '--force', mountPoint]);
    },
  };
}

/** MiB that a directory takes on disk. */
export async function diskMebibytes(path: string): Promise<number> {
  const { stdout } = await run('du', ['-s', '--block-size=1K', path]);
  return Number.parseInt(stdout, 10) / 1024;
}
