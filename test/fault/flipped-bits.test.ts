/**
 * Seeded bit flips in what imgfs keeps and in what a store sends: manifests, configs and blobs in the cache, spans of
 * blobs, layer indexes, decoded archives and their maps, answers on their way; over every packing and every index that an
 * image can bring. Whatever flips, no tree serves a wrong byte, name or attribute; and while the store is sound, the next
 * look has everything right again.
 *
 * 200 flips by default; `IMGFS_FAULTS=10000` by hand (15 minutes on a core), `IMGFS_FAULT_SEED=17` repeats one. With
 * `IMGFS_TEST_TMP=/dev/shm` nothing waits for a disk.
 */
import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openContentCache } from '../../src/content/disk.js';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { setLogLevels } from '../../src/observe/log.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import type { FileSystem } from '../../src/vfs/file-system.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import type { CountingStore } from '../support/counting-store.js';
import { walk, type Walker } from '../support/file-system-walker.js';
import type { Prng } from '../support/prng.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { damageCache } from './cache-damage.js';
import { runOptions, runScenarios, type ScenarioResult } from './fault-run.js';
import { checksOf } from './flip-checks.js';
import {
  repository,
  shuffled,
  subjectFor,
  subjectNames,
  type FlipSubject,
  type SubjectName,
} from './flip-subjects.js';

setLogLevels(process.env['IMGFS_LOG'] ?? 'off');

const place = `registry.test/${repository}/v1`;
const roots: string[] = [];
after(async () => {
  for (const root of roots) await removeTempDir(root);
});

/** `whole`: a cache that has everything. `parts`: indexes, and of blobs and decoded archives what a few files took. */
type State = 'whole' | 'parts';
const states: readonly State[] = ['whole', 'parts'];

const prepared = new Map<string, Promise<string>>();

/** A cache in that state, to be copied. */
function pristine(name: SubjectName, state: State): Promise<string> {
  const key = `${name} ${state}`;
  const known = prepared.get(key) ?? prepare(name, state);
  prepared.set(key, known);
  return known;
}

async function prepare(name: SubjectName, state: State): Promise<string> {
  const subject = await subjectFor(name);
  const root = await makeTempDir('pristine');
  roots.push(root);
  const cache = join(root, 'cache');
  const all = await look(cache, subject, subject.store(), 1);
  assert.deepEqual([all.wrong, all.failed], [[], 0], name);
  if (state === 'whole') return cache;
  for (const folder of ['blobs', 'partial', 'decoded']) await rm(join(cache, folder), { recursive: true });
  await withTree(cache, subject.store(), async (_, walker) => {
    for (const file of shuffled(subject.files, 2).slice(0, 4))
      await walker.read(`${place}/rootfs/${file.path}`);
  });
  return cache;
}

/** Open everything over this cache, and close everything. */
async function withTree(
  directory: string,
  store: CountingStore,
  work: (fileSystem: FileSystem, walker: Walker) => Promise<void>,
): Promise<void> {
  const content = await openContentCache({ directory, maxBytes: 2 ** 33 });
  const stores = createStoreDirectory({ openRegistry: async () => store, locals: new Map() });
  const layers = new LayerStore({ cache: content, foreignFromBytes: 100_000 });
  const fileSystem = createFileSystem({
    stores,
    content,
    extensions: [new ImageInside({ content, layers })],
  });
  try {
    await work(fileSystem, walk(fileSystem, 20_000));
  } finally {
    await fileSystem.close();
    await stores.close();
    await content.close();
  }
}

interface Look {
  /** What differs from the image. */
  readonly wrong: string[];
  succeeded: number;
  /** Operations that ended in an error, as they may. */
  failed: number;
}

/** Compare all trees with what the image has, in an order of the seed's. */
async function look(cache: string, subject: FlipSubject, store: CountingStore, seed: number): Promise<Look> {
  const result: Look = { wrong: [], succeeded: 0, failed: 0 };
  await withTree(cache, store, async (_, walker) => {
    for (const [what, isRight] of shuffled(checksOf(subject, place), seed)) {
      try {
        if (await isRight(walker)) result.succeeded += 1;
        else result.wrong.push(what);
      } catch (error) {
        // An image that cannot be read is an error; one that is not there would be a lie.
        if (isImgfsError(error) && error.code !== 'not-found') result.failed += 1;
        else result.wrong.push(`${what}: ${String(error)}`);
      }
    }
  });
  return result;
}

/** One bit of one blob or manifest in the store is wrong, in every answer or in the first few. */
function damageStore(store: CountingStore, prng: Prng): void {
  const { blobs } = store.repository(repository);
  const { descriptor, bytes } = prng.pick([...blobs.values()]);
  const bad = Uint8Array.from(bytes);
  const at = prng.integer(bad.length);
  bad[at] = (bad[at] ?? 0) ^ (1 << prng.integer(8));
  blobs.set(descriptor.digest, { descriptor, bytes: bad });
  if (prng.integer(2) === 0) return;
  let left = 1 + prng.integer(3);
  store.before = (request) => {
    if (!request.endsWith(descriptor.digest)) return;
    if (left === 0) blobs.set(descriptor.digest, { descriptor, bytes });
    left -= 1;
  };
}

async function scenario(seed: number, prng: Prng): Promise<ScenarioResult> {
  const name = prng.pick(subjectNames);
  const state = prng.pick(states);
  const subject = await subjectFor(name);
  const root = await makeTempDir('flips');
  const cache = join(root, 'cache');
  try {
    await cp(await pristine(name, state), cache, { recursive: true });
    const store = subject.store();
    const isStoreSound = prng.integer(5) !== 0;
    let victim = 'the store';
    if (isStoreSound) victim = (await damageCache(cache, prng)) ?? 'nothing';
    else {
      damageStore(store, prng);
      const lost = prng.pick([
        ['decoded', 'partial', 'blobs'],
        ['decoded', 'partial', 'blobs', 'index'],
      ]);
      for (const folder of lost) await rm(join(cache, folder), { recursive: true, force: true });
    }
    const first = await look(cache, subject, store, seed);
    const what = `seed ${seed}, ${name}, ${state}, ${victim}`;
    assert.deepEqual(first.wrong, [], what);
    if (isStoreSound) {
      const second = await look(cache, subject, store, seed + 1);
      assert.deepEqual([second.wrong, second.failed], [[], 0], `${what}, at the second look`);
    }
    return { faults: 1, succeeded: first.succeeded, failed: first.failed };
  } finally {
    await removeTempDir(root);
  }
}

test(
  'no flipped bit in cache, index, decoded bytes or answers shows in a tree',
  { timeout: 3_600_000 },
  async (t) => {
    const { faults, succeeded, failed } = await runScenarios(runOptions(200, 3), scenario);
    t.diagnostic(`${faults} flips: ${succeeded} operations right, ${failed} errors, none wrong`);
    assert.ok(succeeded > faults * 10, 'hardly anything was compared');
  },
);
