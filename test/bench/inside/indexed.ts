/** An image whose layers were indexed once, and whose blobs are gone: what an eviction leaves. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createPrng } from '../../support/prng.js';
import { median, spread, type Measurement } from '../section.js';
import { dropPageCache, type Ground } from './ground.js';
import { operationNames, operations, type Operation } from './operations.js';
import { diskMebibytes, visit, type Cost, type Visit } from './visit.js';

const rounds = Number(process.env['IMGFS_BENCH_ROUNDS'] ?? 5);
const scattered = 40;

/** Layers, whole or in part, and what was decoded of them; manifests and configs stay, as small blobs do. */
async function evict(ground: Ground, cache: string): Promise<void> {
  for (const { digest } of ground.layers)
    await rm(join(cache, 'blobs', digest.replace(':', '/')), { force: true });
  for (const folder of ['partial', 'decoded'])
    await rm(join(cache, folder), { recursive: true, force: true });
}

async function atEvicted(
  ground: Ground,
  cache: string,
  work: (mounted: Visit) => Promise<Cost>,
): Promise<Cost> {
  await evict(ground, cache);
  await dropPageCache();
  const mounted = await visit(ground, cache);
  try {
    return await work(mounted);
  } finally {
    await mounted.end();
  }
}

/** Paths of files of 10 KiB and more in the image. */
async function someFiles(mounted: Visit): Promise<string[]> {
  const { output } = await mounted.measure(`find usr -type f -size +10k`);
  const all = output.split('\n');
  const prng = createPrng(4);
  return Array.from({ length: scattered }, () => prng.pick(all));
}

/** Read 10 KiB of each file; bytes fetched for each, and times. */
async function scatter(mounted: Visit, files: readonly string[]): Promise<{ bytes: number[]; ms: number[] }> {
  const bytes: number[] = [];
  const ms: number[] = [];
  for (const file of files) {
    const cost = await mounted.measure(`head -c 10240 '${file}' >/dev/null`);
    bytes.push(cost.bytesDown);
    ms.push(cost.ms);
  }
  return { bytes, ms };
}

/** Operations on an image that is indexed and evicted. */
export async function* indexed(ground: Ground): AsyncIterable<Measurement> {
  const cache = join(ground.directory, 'indexed');
  const first = await visit(ground, cache);
  const files = await someFiles(first);
  await first.end();
  const indexMebibytes = await diskMebibytes(join(cache, 'index'));
  const share = (indexMebibytes * 2 ** 20 * 100) / ground.imageBytes;
  yield {
    what: 'index on disk, of the layers',
    measured: `${indexMebibytes.toFixed(2)} MiB, ${share.toFixed(2)} %`,
    figure: '<= 0.8 %',
    reached: share <= 0.8,
  };
  for (const operation of operationNames) yield* operationRow(ground, cache, operation);
  yield* scatteredRows(ground, cache, files);
}

async function* operationRow(
  ground: Ground,
  cache: string,
  operation: Operation,
): AsyncIterable<Measurement> {
  const costs: Cost[] = [];
  // Reading everything takes as long as the line does.
  const times = operation === 'tar' ? 1 : rounds;
  for (let round = 0; round < times; round += 1) {
    costs.push(await atEvicted(ground, cache, (mounted) => mounted.measure(operations[operation])));
  }
  const ms = costs.map((cost) => cost.ms);
  const percent = (median(costs.map(({ bytesDown }) => bytesDown)) * 100) / ground.imageBytes;
  const isOneFile = operation === 'cat';
  yield {
    what: `indexed, evicted: ${operation}, ms`,
    measured: `${spread(ms, 0)}, ${percent.toFixed(2)} % of the image`,
    figure: isOneFile ? '<= 1000 ms, <= 1 %' : '',
    ...(isOneFile ? { reached: median(ms) <= 1000 && percent <= 1 } : {}),
  };
}

async function* scatteredRows(
  ground: Ground,
  cache: string,
  files: readonly string[],
): AsyncIterable<Measurement> {
  await evict(ground, cache);
  const mounted = await visit(ground, cache);
  try {
    await mounted.measure('ls');
    const { bytes, ms } = await scatter(mounted, files);
    const mean = bytes.reduce((sum, each) => sum + each, 0) / bytes.length / 1000;
    yield {
      what: `10 KiB of ${scattered} scattered files: fetched for each, kB`,
      measured: `mean ${mean.toFixed(0)}, ${spread(
        bytes.map((each) => each / 1000),
        0,
      )}`,
      figure: '<= 250 on average',
      reached: mean <= 250,
    };
    yield { what: '  time of each with its shell, ms', measured: spread(ms, 0), figure: '' };
  } finally {
    await mounted.end();
  }
}

/** Everything cached: sizes of what lies on disk, for the report. */
export async function cachedKinds(cache: string): Promise<string> {
  const parts: string[] = [];
  for (const name of await readdir(cache)) {
    if ((await stat(join(cache, name))).isDirectory())
      parts.push(`${name} ${(await diskMebibytes(join(cache, name))).toFixed(0)}`);
  }
  return parts.join(', ');
}
