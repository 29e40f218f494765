/** Everything is here: repeats on one mount, and on a new mount over a full cache, beside files on disk. */
import { join } from 'node:path';
import { mustRun } from '../../support/child.js';
import { median, spread, type Measurement } from '../section.js';
import { dropPageCacheAndSettle, type Ground } from './ground.js';
import { cachedKinds } from './indexed.js';
import { operationNames, operations, type Operation } from './operations.js';
import { operate } from './peers.js';
import { showHeld, visit, type Visit } from './visit.js';

const rounds = Number(process.env['IMGFS_BENCH_ROUNDS'] ?? 5);

async function unpack({ layout, tag, directory }: Ground): Promise<string> {
  const bundle = join(directory, 'unpacked');
  await mustRun('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle], { timeoutMs: 120_000 });
  return join(bundle, 'rootfs');
}

interface Times {
  readonly ours: number[];
  readonly theirs: number[];
}

async function compare(mounted: Visit, unpacked: string, operation: Operation): Promise<Times> {
  const times: Times = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    times.ours.push((await mounted.measure(operations[operation])).ms);
    times.theirs.push(await operate(unpacked, operations[operation]));
  }
  return times;
}

/** Warm repeats. */
export async function* warm(ground: Ground): AsyncIterable<Measurement> {
  const cache = join(ground.directory, 'warm');
  const unpacked = await unpack(ground);
  const first = await visit(ground, cache);
  await first.measure(operations.tar);
  await first.end();
  yield { what: 'cache after reading everything, MiB', measured: await cachedKinds(cache), figure: '' };
  await dropPageCacheAndSettle();
  const mounted = await visit(ground, cache);
  try {
    for (const operation of operationNames) {
      const cold = (await mounted.measure(operations[operation])).ms;
      const disk = await operate(unpacked, operations[operation]);
      yield {
        what: `new mount, cached: ${operation}, ms`,
        measured: `${cold.toFixed(0)} (on disk ${disk.toFixed(0)})`,
        figure: '',
      };
    }
    for (const operation of operationNames) yield* repeats(mounted, unpacked, operation);
    const resident = await mounted.residentMebibytes();
    const held = await mounted.held();
    yield {
      what: 'memory, and event loop held up',
      measured: `${resident.toFixed(0)} MiB, ${showHeld(held)}`,
      figure: '< 200 MiB, <= 10 ms',
      reached: resident < 200 && held.longestMs <= 10,
    };
  } finally {
    await mounted.end();
  }
}

async function* repeats(mounted: Visit, unpacked: string, operation: Operation): AsyncIterable<Measurement> {
  const { ours, theirs } = await compare(mounted, unpacked, operation);
  const ratio = median(ours.map((ms, index) => ms / (theirs[index] ?? Number.NaN)));
  yield {
    what: `repeated: ${operation}, ms`,
    measured: `${spread(ours, 0)}; ${ratio.toFixed(1)} × unpacked on disk`,
    figure: '',
  };
  if (operation !== 'find') return;
  const entries = Number((await mounted.measure(operations.find)).output);
  const rate = entries / (median(ours) / 1000);
  yield {
    what: '  entries per second',
    measured: `${(rate / 1000).toFixed(0)} k`,
    figure: '>= 200 k',
    reached: rate >= 200_000,
  };
}
