/** A cache of 100,000 blobs: how long a mount takes to be ready, and how long it holds its event loop up. */
import { utimes, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { stampSeconds } from '../../src/content/verified-stamp.js';
import { digestHex, digestOf } from '../../src/oci/digest.js';
import type { ImgfsCommand } from '../support/imgfs-command.js';
import { heldUpSince } from '../support/loop-watch.js';
import { median, spread, timed, type Measurement } from './section.js';

const blobs = 100_000;
const rounds = 3;
const loopWatch = fileURLToPath(new URL('../support/loop-watch.js', import.meta.url));

/** Verified blobs of a few bytes, as the cache keeps them. */
async function fillCache(directory: string): Promise<void> {
  const folder = join(directory, 'blobs/sha256');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  for (let first = 0; first < blobs; first += 500) {
    await Promise.all(
      Array.from({ length: 500 }, async (_, index) => {
        const bytes = Buffer.from(String(first + index));
        const digest = digestOf(bytes);
        const path = join(folder, digestHex(digest));
        await writeFile(path, bytes);
        await utimes(path, 1_700_000_000 + first + index, stampSeconds(digest));
      }),
    );
  }
}

async function control<T>(mountPoint: string, name: string): Promise<T> {
  return JSON.parse(await readFile(join(mountPoint, '.imgfs', name), 'utf8')) as T;
}

/**
 * Wait until the cache was listed; resolves to the longest hold-up of the event loop meanwhile, in ms. Before `readyAt`
 * nobody can be held up: the mount is not there yet.
 */
async function listed(mountPoint: string, loopFile: string, readyAt: number): Promise<number> {
  const { pid } = await control<{ pid: number }>(mountPoint, 'status.json');
  while (!(await control<{ known: boolean }>(mountPoint, 'cache.json')).known) await sleep(100);
  await sleep(500);
  const turns = heldUpSince(await readFile(`${loopFile}.${pid}`, 'utf8'), readyAt);
  return Math.max(0, ...turns.map(({ heldMs }) => heldMs));
}

export async function* manyBlobs(ground: {
  readonly directory: string;
  readonly mountPoint: string;
  readonly imgfs: ImgfsCommand;
}): AsyncIterable<Measurement> {
  const { directory, mountPoint, imgfs } = ground;
  const cacheDirectory = join(directory, 'many');
  await fillCache(cacheDirectory);
  const ready: number[] = [];
  const holds: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const loopFile = join(directory, `loop-${round}`);
    const env = { NODE_OPTIONS: `--import ${loopWatch}`, IMGFS_LOOP_FILE: loopFile };
    ready.push(
      await timed(async () => {
        const { code, stderr } = await imgfs(['mount', mountPoint, '--cache-dir', cacheDirectory], { env });
        if (code !== 0) throw new Error(stderr);
      }),
    );
    holds.push(await listed(mountPoint, loopFile, Date.now()));
    await imgfs(['umount', mountPoint]);
  }
  yield {
    what: 'imgfs mount ready, 100,000 cached blobs, no registry, ms',
    measured: spread(ready, 0),
    figure: '< 1000',
    reached: median(ready) < 1000,
  };
  yield {
    what: '  event loop held up while they are listed, ms',
    measured: spread(holds, 0),
    figure: '<= 10',
    reached: median(holds) <= 10,
  };
}
