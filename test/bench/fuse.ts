/**
 * The FUSE drivers against the file system below, and against bindfs: every measure on every target in turn, several
 * rounds; rows show medians, and the ratio to ext4 (or whatever holds TMPDIR) of the same round.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findMount } from '../../src/fuse/mount-table.js';
import { hasCommand, mustRun } from '../support/child.js';
import { median, type Measurement, type Section } from './section.js';
import { fillBenchFolder, coldFiles, listedFiles, unknownFolders } from '../support/bench-tree.js';
import { mountTree, type Mounted } from '../support/mounted.js';

const rounds = Number(process.env['IMGFS_BENCH_ROUNDS'] ?? 5);

interface Target {
  readonly name: string;
  readonly path: string;
  readonly mounted?: Mounted;
}

interface Measure {
  readonly title: string;
  readonly unit: string;
  /** Arguments of the client; undefined when the target cannot be measured so. */
  parameters(target: Target, round: number): string[] | undefined;
  /** Done before each run, not timed. */
  prepare?(target: Target, client: Client): Promise<void>;
  /** Done after each run. */
  finish?(target: Target): Promise<void>;
  /** Smaller is better: no ratio is shown. */
  readonly latency?: boolean;
}

type Client = (parameters: readonly string[]) => Promise<number>;

const busyLookup = 'lookup latency, JavaScript busy in 50 ms slices: median';

const measures: readonly Measure[] = [
  {
    title: 'sequential, repeated',
    unit: 'MB/s',
    prepare: async (target, client) => void (await client(['sequential', join(target.path, 'big')])),
    parameters: (target) => ['sequential', join(target.path, 'big')],
  },
  {
    title: 'sequential, first read',
    unit: 'MB/s',
    parameters: (target, round) => ['sequential', join(target.path, `cold-${round % coldFiles}`)],
  },
  {
    title: 'random 4 KiB',
    unit: 'k/s',
    parameters: (target) => ['random', join(target.path, 'big'), '200000'],
  },
  { title: '8 readers', unit: 'MB/s', parameters: (target) => ['readers', join(target.path, 'big'), '8'] },
  {
    title: 'stat, known',
    unit: 'k/s',
    prepare: async (target, client) => void (await client(['walk', join(target.path, 'files')])),
    parameters: (target) => ['stat', join(target.path, 'files'), `${listedFiles}`],
  },
  {
    title: 'stat, unknown (JavaScript)',
    unit: 'k/s',
    parameters: (target, round) =>
      round < unknownFolders ? ['stat', join(target.path, `unknown-${round}`), '2000'] : undefined,
  },
  {
    title: 'absent names, new',
    unit: 'k/s',
    prepare: async (target, client) => void (await client(['list', join(target.path, 'files')])),
    parameters: (target, round) => ['absent', join(target.path, 'files'), '20000', `absent-${round}-`],
  },
  {
    title: 'list (readdirplus, primed)',
    unit: 'k/s',
    prepare: async (target, client) => void (await client(['list', join(target.path, 'files')])),
    parameters: (target) => ['list', join(target.path, 'files')],
  },
  {
    title: 'list and stat each (ls -lR, primed)',
    unit: 'k/s',
    parameters: (target) => ['walk', join(target.path, 'files')],
  },
  {
    title: 'open, read 4 KiB, close',
    unit: 'k/s',
    parameters: (target) => ['open', join(target.path, 'big'), '20000'],
  },
  {
    title: 'lookup latency, idle: median',
    unit: 'µs',
    latency: true,
    parameters: (target, round) => ['latency', join(target.path, 'files'), '300', `idle-${round}-`],
  },
  {
    title: busyLookup,
    unit: 'µs',
    latency: true,
    prepare: async (target) => void (await target.mounted?.command('burn 60000')),
    finish: async (target) => void (await target.mounted?.command('burn 0')),
    parameters: (target, round) => ['latency', join(target.path, 'files'), '100', `busy-${round}-`],
  },
];

function show(value: number, unit: string): string {
  const scaled = unit === 'MB/s' ? value / 1e6 : unit === 'k/s' ? value / 1e3 : value;
  return scaled >= 100 ? scaled.toFixed(0) : scaled.toFixed(1);
}

async function mountBindfs(source: string, path: string): Promise<ChildProcess> {
  mkdirSync(path);
  const child = spawn('bindfs', ['-f', '-r', source, path], { stdio: 'ignore' });
  for (let wait = 0; wait < 100 && (await findMount(path)) === undefined; wait += 1)
    await new Promise((resolve) => setTimeout(resolve, 50));
  return child;
}

async function measureAll(
  targets: readonly Target[],
  client: Client,
): Promise<Map<string, Map<string, number[]>>> {
  const results = new Map<string, Map<string, number[]>>();
  for (const measure of measures) {
    const row = new Map<string, number[]>(targets.map((target) => [target.name, []]));
    results.set(measure.title, row);
    for (let round = 0; round < rounds; round += 1) {
      for (const target of targets) {
        const parameters = measure.parameters(target, round);
        if (parameters === undefined) continue;
        await measure.prepare?.(target, client);
        try {
          row.get(target.name)?.push(await client(parameters));
        } finally {
          await measure.finish?.(target);
        }
      }
    }
  }
  return results;
}

/** The least ratio to the file system below, or the most of a latency, that the design asks of a target. */
interface Figure {
  readonly ratio?: number;
  readonly atLeast?: number;
  readonly atMost?: number;
}

const figures: Readonly<Record<string, Readonly<Record<string, Figure>>>> = {
  'native, root': {
    'sequential, repeated': { ratio: 0.95 },
    'random 4 KiB': { ratio: 0.9 },
    '8 readers': { ratio: 0.95 },
    'stat, known': { ratio: 0.5 },
    'list (readdirplus, primed)': { atLeast: 500_000 },
    [busyLookup]: { atMost: 50 },
  },
  'native, as for a user': {
    'sequential, repeated': { ratio: 0.7 },
    'sequential, first read': { ratio: 0.2 },
    'stat, known': { ratio: 0.5 },
    'list (readdirplus, primed)': { atLeast: 500_000 },
    [busyLookup]: { atMost: 50 },
  },
};

function* rows(
  targets: readonly Target[],
  results: Map<string, Map<string, number[]>>,
): Generator<Measurement> {
  for (const { title, unit, latency } of measures) {
    const row = results.get(title) ?? new Map<string, number[]>();
    const base = row.get(targets[0]?.name ?? '') ?? [];
    for (const [index, target] of targets.entries()) {
      const values = row.get(target.name) ?? [];
      if (values.length === 0) continue;
      const ratio = median(values.map((value, round) => value / (base[round] ?? Number.NaN)));
      const value = median(values);
      const shown = `${show(value, unit)} ${unit}`;
      const figure = figures[target.name]?.[title];
      const { text, reached } = judge(figure, value, ratio);
      yield {
        what: `${title}: ${target.name}`,
        measured: index === 0 || latency === true ? shown : `${shown} (${ratio.toFixed(2)} ×)`,
        figure: text,
        ...(reached === undefined ? {} : { reached }),
      };
    }
  }
}

function judge(
  figure: Figure | undefined,
  value: number,
  ratio: number,
): { text: string; reached: boolean | undefined } {
  if (figure?.ratio !== undefined) return { text: `≥ ${figure.ratio} ×`, reached: ratio >= figure.ratio };
  if (figure?.atLeast !== undefined)
    return { text: `≥ ${figure.atLeast}/s`, reached: value >= figure.atLeast };
  if (figure?.atMost !== undefined) return { text: `≤ ${figure.atMost} µs`, reached: value <= figure.atMost };
  return { text: '', reached: undefined };
}

async function* run(): AsyncGenerator<Measurement> {
  const folder = mkdtempSync(join(tmpdir(), 'imgfs-bench-'));
  const program = join(folder, 'client');
  const source = fileURLToPath(new URL('../../../native/bench/fuse-client.cc', import.meta.url));
  execFileSync('c++', ['-std=c++17', '-O2', source, '-o', program]);
  const client: Client = async (parameters) => {
    const { stdout } = await mustRun(program, parameters, { timeoutMs: 120_000 });
    return Number(stdout.trim().split(' ')[0]);
  };
  const data = join(folder, 'data');
  mkdirSync(data);
  fillBenchFolder(data);
  const targets: Target[] = [{ name: 'file system below', path: data }];
  const mounts: Mounted[] = [];
  const refusals: string[] = [];
  let bindfs: ChildProcess | undefined;
  const add = async (
    name: string,
    driver: 'native' | 'fuse-native',
    environment: Record<string, string>,
  ): Promise<void> => {
    const mounted = await mountTree('bench', driver, {}, [], { IMGFS_BENCH_DATA: data, ...environment });
    mounts.push(mounted);
    targets.push({ name, path: mounted.path, mounted });
  };
  try {
    await add(process.getuid?.() === 0 ? 'native, root' : 'native', 'native', {});
    if (process.getuid?.() === 0) await add('native, as for a user', 'native', { IMGFS_FUSE_PLAIN: '1' });
    await add('fuse-native', 'fuse-native', {}).catch((error: unknown) => refusals.push(String(error)));
    if (hasCommand('bindfs')) {
      bindfs = await mountBindfs(data, join(folder, 'bindfs'));
      targets.push({ name: 'bindfs', path: join(folder, 'bindfs') });
    }
    for (const measured of refusals) yield { what: 'fuse-native', measured, figure: '' };
    yield* rows(targets, await measureAll(targets, client));
  } finally {
    for (const mounted of mounts) await mounted.dispose();
    if (bindfs !== undefined) {
      await mustRun('umount', [join(folder, 'bindfs')]).catch(() => {});
      bindfs.kill();
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The section. */
export const fuse: Section = { title: 'FUSE drivers', run };
