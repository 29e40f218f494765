/**
 * The FUSE drivers against the file system below, and against bindfs: every measure on every target in turn, several
 * rounds; rows show medians, and the ratio to ext4 (or whatever holds TMPDIR) of the same round.
 *
 * tmpfs shows what the kernel's page cache gives in pages of 4 KiB, which is what FUSE has: ext4 has larger ones.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findMount } from '../../src/fuse/mount-table.js';
import { hasCommand, mustRun } from '../support/child.js';
import { median, type Measurement, type Section } from './section.js';
import {
  coldFiles,
  fillBenchFolder,
  listedFiles,
  unknownFiles,
  unknownFolders,
} from '../support/bench-tree.js';
import { mountTree, type Mounted } from '../support/mounted.js';

const rounds = Number(process.env['IMGFS_BENCH_ROUNDS'] ?? 5);

/** Only measures whose title this matches. */
const wanted = new RegExp(process.env['IMGFS_BENCH_ROWS'] ?? '');

interface Target {
  readonly name: string;
  readonly path: string;
  readonly mounted?: Mounted;
  readonly isMount: boolean;
  /** Only measures of the page cache. */
  readonly pagesOnly?: boolean;
}

interface Measure {
  readonly title: string;
  readonly unit: string;
  /** Arguments of the client; undefined when the target cannot be measured so. */
  parameters(target: Target, round: number): string[] | undefined;
  /** Done before each run, not timed. */
  prepare?(target: Target, client: Client, round: number): Promise<void>;
  /** Done after each run. */
  finish?(target: Target): Promise<void>;
  /** Smaller is better: no ratio is shown. */
  readonly latency?: boolean;
  /** tmpfs is measured, too. */
  readonly pages?: boolean;
  /** Requests that the driver must have seen at least; otherwise the kernel answered and the row says nothing. */
  readonly requests?: number;
}

type Client = (parameters: readonly string[]) => Promise<number>;

const busyLookup = 'lookup latency, JavaScript busy in 50 ms slices: median';
const unknownStat = 'stat, unknown';
const randomReads = 50_000;
const absentNames = 5_000;
const opens = 5_000;
const idleLookups = 100;
const busyLookups = 40;

const readers = 8;

const measures: readonly Measure[] = [
  {
    title: 'sequential, repeated',
    unit: 'MB/s',
    pages: true,
    prepare: async (target, client) => void (await client(['sequential', join(target.path, 'big')])),
    parameters: (target) => ['sequential', join(target.path, 'big')],
  },
  {
    title: 'sequential, first read',
    unit: 'MB/s',
    // On disk all of them are one file, whose pages shall stay.
    prepare: async (target, client) =>
      target.isMount ? void (await client(['drop', join(target.path, `cold-${coldFiles - 1}`)])) : undefined,
    parameters: (target, round) => ['sequential', join(target.path, `cold-${round % (coldFiles - 1)}`)],
  },
  {
    title: 'random 4 KiB',
    unit: 'k/s',
    pages: true,
    parameters: (target) => ['random', join(target.path, 'big'), `${randomReads}`],
  },
  {
    title: '8 readers',
    unit: 'MB/s',
    parameters: (target) => ['readers', join(target.path, 'cold'), `${readers}`],
  },
  {
    title: 'stat, known',
    unit: 'k/s',
    prepare: async (target, client) => {
      await client(['walk', join(target.path, 'files')]);
      // Known for longer than the second that libfuse's default is.
      if (target.isMount) await sleep(1_100);
    },
    parameters: (target) => ['stat', join(target.path, 'files'), `${listedFiles}`],
  },
  {
    title: unknownStat,
    unit: 'k/s',
    requests: unknownFiles,
    parameters: (target, round) =>
      round < unknownFolders ? ['stat', join(target.path, `unknown-${round}`), `${unknownFiles}`] : undefined,
  },
  {
    title: 'absent names, new',
    unit: 'k/s',
    requests: absentNames,
    prepare: async (target, client) => void (await client(['list', join(target.path, 'files')])),
    parameters: (target, round) => [
      'absent',
      join(target.path, 'files'),
      `${absentNames}`,
      `absent-${round}-`,
    ],
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
    parameters: (target) => ['open', join(target.path, 'big'), `${opens}`],
  },
  {
    title: 'lookup latency, idle: median',
    unit: 'µs',
    latency: true,
    requests: idleLookups,
    parameters: (target, round) => [
      'latency',
      join(target.path, 'files'),
      `${idleLookups}`,
      `idle-${round}-`,
    ],
  },
  {
    title: busyLookup,
    unit: 'µs',
    latency: true,
    requests: busyLookups,
    prepare: async (target) => void (await target.mounted?.command('burn 60000')),
    finish: async (target) => void (await target.mounted?.command('burn 0')),
    parameters: (target, round) => [
      'latency',
      join(target.path, 'files'),
      `${busyLookups}`,
      `busy-${round}-`,
    ],
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

/** Requests that the driver has seen; undefined for a target that does not count them. */
async function requestsOf(target: Target): Promise<number | undefined> {
  return (await target.mounted?.statistics())?.['requests'];
}

async function measureOnce(
  measure: Measure,
  target: Target,
  round: number,
  client: Client,
): Promise<number | undefined> {
  const parameters = measure.parameters(target, round);
  if (parameters === undefined || (target.pagesOnly === true && measure.pages !== true)) return undefined;
  await measure.prepare?.(target, client, round);
  try {
    const before = await requestsOf(target);
    const value = await client(parameters);
    const seen = ((await requestsOf(target)) ?? 0) - (before ?? 0);
    if (before !== undefined && seen < (measure.requests ?? 0))
      throw new Error(`${measure.title}: the driver saw ${seen} requests only`);
    return value;
  } finally {
    await measure.finish?.(target);
  }
}

async function measureAll(
  targets: readonly Target[],
  client: Client,
): Promise<Map<string, Map<string, number[]>>> {
  const results = new Map<string, Map<string, number[]>>();
  for (const measure of measures) {
    if (!wanted.test(measure.title)) continue;
    const row = new Map<string, number[]>(targets.map((target) => [target.name, []]));
    results.set(measure.title, row);
    for (let round = 0; round < rounds; round += 1) {
      for (const target of targets) {
        const value = await measureOnce(measure, target, round, client);
        if (value !== undefined) row.get(target.name)?.push(value);
      }
    }
  }
  return results;
}

/**
 * The least ratio to the file system below, or the most of a latency, that the design asks of a target. Whatever has
 * a figure must also be so many times better than the fallback driver.
 */
const timesFallback = 3;

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
    [unknownStat]: {},
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
      const fallback = row.get('fuse-native') ?? [];
      const times =
        fallback.length === 0 || !target.name.startsWith('native')
          ? undefined
          : latency === true
            ? median(fallback) / value
            : value / median(fallback);
      const notes = [
        ...(index === 0 || latency === true ? [] : [`${ratio.toFixed(2)} ×`]),
        ...(times === undefined ? [] : [`${times.toFixed(times < 10 ? 1 : 0)} × fallback`]),
      ];
      const { text, reached } = judge(figures[target.name]?.[title], value, ratio, times);
      yield {
        what: `${title}: ${target.name}`,
        measured: `${show(value, unit)} ${unit}${notes.length === 0 ? '' : ` (${notes.join(', ')})`}`,
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
  times: number | undefined,
): { text: string; reached: boolean | undefined } {
  if (figure === undefined) return { text: '', reached: undefined };
  const { ratio: leastRatio, atLeast, atMost } = figure;
  const parts: readonly (readonly [string, boolean])[] = [
    ...(leastRatio === undefined ? [] : [[`≥ ${leastRatio} ×`, ratio >= leastRatio] as const]),
    ...(atLeast === undefined ? [] : [[`≥ ${atLeast}/s`, value >= atLeast] as const]),
    ...(atMost === undefined ? [] : [[`≤ ${atMost} µs`, value <= atMost] as const]),
    ...(times === undefined ? [] : [[`${timesFallback} × fallback`, times >= timesFallback] as const]),
  ];
  return { text: parts.map(([text]) => text).join(', '), reached: parts.every(([, good]) => good) };
}

/** Where memory is a file system; undefined elsewhere. */
function memoryFolder(): string | undefined {
  return existsSync('/dev/shm') ? mkdtempSync('/dev/shm/imgfs-bench-') : undefined;
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
  const targets: Target[] = [{ name: 'file system below', path: data, isMount: false }];
  const mounts: Mounted[] = [];
  const memory = memoryFolder();
  const refusals: string[] = [];
  let bindfs: ChildProcess | undefined;
  const add = async (
    name: string,
    driver: 'native' | 'fuse-native',
    environment: Record<string, string>,
  ): Promise<void> => {
    const mounted = await mountTree('bench', driver, {}, [], { IMGFS_BENCH_DATA: data, ...environment });
    mounts.push(mounted);
    targets.push({ name, path: mounted.path, mounted, isMount: true });
  };
  try {
    await add(process.getuid?.() === 0 ? 'native, root' : 'native', 'native', {});
    if (process.getuid?.() === 0) await add('native, as for a user', 'native', { IMGFS_FUSE_PLAIN: '1' });
    await add('fuse-native', 'fuse-native', {}).catch((error: unknown) => refusals.push(String(error)));
    if (hasCommand('bindfs')) {
      bindfs = await mountBindfs(data, join(folder, 'bindfs'));
      targets.push({ name: 'bindfs', path: join(folder, 'bindfs'), isMount: true });
    }
    if (memory !== undefined) {
      copyFileSync(join(data, 'big'), join(memory, 'big'));
      targets.push({ name: 'tmpfs', path: memory, isMount: false, pagesOnly: true });
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
    if (memory !== undefined) rmSync(memory, { recursive: true, force: true });
  }
}

/** The section. */
export const fuse: Section = { title: 'FUSE drivers', run };
