/** The index pass alone, without network and mount: processor time beside gunzip's, and memory of what it keeps. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DiskCache } from '../../../src/content/disk.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import { median, spread, type Measurement } from '../section.js';
import { dropPageCache, type Ground } from './ground.js';

const rounds = 3;

/** Processor seconds, user and system, of `gunzip` over all layers. */
async function gunzipSeconds({ layout, layers }: Ground): Promise<number> {
  const paths = layers.map(({ digest }) => join(layout, 'blobs', digest.replace(':', '/')));
  const script = 'TIMEFORMAT="%U %S"; time (for f; do gunzip -c <"$f" >/dev/null; done)';
  const { stderr } = await promisify(execFile)('bash', ['-c', script, '-', ...paths], { timeout: 120_000 });
  const [user = 0, system = 0] = stderr.trim().split(/\s+/).map(Number);
  return user + system;
}

interface PassCost {
  readonly seconds: number;
  readonly tableBytes: number;
  readonly entries: number;
}

/** Open every layer over the cache in `folder`, which makes the indexes that are not there. */
async function indexAll({ layout, layers }: Ground, folder: string): Promise<PassCost> {
  const cache = await DiskCache.open({ directory: folder });
  const store = await openLayoutStore(layout);
  const layerStore = new LayerStore({ cache });
  try {
    const before = process.cpuUsage();
    const opened = await Promise.all(
      layers.map((descriptor) => layerStore.openLayer({ store, repository: '', descriptor })),
    );
    await Promise.all(opened.map((layer) => layer.whenReady({ signal: AbortSignal.timeout(120_000) })));
    const used = process.cpuUsage(before);
    return {
      seconds: (used.user + used.system) / 1e6,
      tableBytes: opened.reduce((sum, { table }) => sum + table.memoryBytes, 0),
      entries: opened.reduce((sum, { table }) => sum + table.count, 0),
    };
  } finally {
    await layerStore.close();
    await store.close();
    await cache.close();
  }
}

async function forgetIndexes(folder: string): Promise<void> {
  for (const kind of ['index', 'decoded']) await rm(join(folder, kind), { recursive: true, force: true });
}

/**
 * Index pass against gunzip: over blobs that the cache has, as gunzip has its files; and from a store into an empty
 * cache, where receiving, verifying and keeping the blob are paid as well.
 */
export async function* pass(ground: Ground): AsyncIterable<Measurement> {
  const ratios: number[] = [];
  const ours: number[] = [];
  const whole: number[] = [];
  let last: PassCost | undefined;
  await dropPageCache();
  for (let round = 0; round < rounds; round += 1) {
    const folder = join(ground.directory, `pass-${round}`);
    whole.push((await indexAll(ground, folder)).seconds);
    await forgetIndexes(folder);
    last = await indexAll(ground, folder);
    const gunzip = await gunzipSeconds(ground);
    ours.push(last.seconds);
    ratios.push(gunzip / last.seconds);
  }
  yield {
    what: 'index pass over cached blobs, incl. sha256: CPU s',
    measured: spread(ours),
    figure: '',
  };
  yield {
    what: '  gunzip of the layers against it',
    measured: spread(ratios),
    figure: '>= 1.5',
    reached: median(ratios) >= 1.5,
  };
  yield {
    what: 'index pass from a store, writing the blob: CPU s',
    measured: spread(whole),
    figure: '',
  };
  const perEntry = ((last?.tableBytes ?? Number.NaN) / (last?.entries ?? 1)) * 100_000;
  yield {
    what: '  memory of the index, MB per 100,000 entries',
    measured: `${(perEntry / 1e6).toFixed(1)} (${last?.entries} entries)`,
    figure: '<= 8',
    reached: perEntry <= 8e6,
  };
}
