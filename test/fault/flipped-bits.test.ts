/**
 * Seeded bit flips in what imgfs keeps and in what a store sends: manifests, configs and blobs in the cache, layer
 * indexes, decoded archives and their maps, answers on their way. Whatever flips, no tree serves a wrong byte, name or
 * attribute; and while the store is sound, the next look has everything right again.
 *
 * 120 flips by default; `IMGFS_FAULTS=10000` by hand, `IMGFS_FAULT_SEED=17` repeats one.
 */
import assert from 'node:assert/strict';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { after, test } from 'node:test';
import { openContentCache } from '../../src/content/disk.js';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { layerAddon } from '../../src/layer/native/layer-addon.js';
import { createNodeZstd } from '../../src/layer/read/node-zstd.js';
import { setLogLevels } from '../../src/observe/log.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import { CountingStore } from '../support/counting-store.js';
import { walk, type Walker } from '../support/file-system-walker.js';
import { buildImage, type BuiltImage } from '../support/image-builder.js';
import type { Prng } from '../support/prng.js';
import { packings, sampleFiles, sampleTar, type Packing } from '../support/sample-layer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { runOptions, runScenarios, type ScenarioResult } from './fault-run.js';

setLogLevels(process.env['IMGFS_LOG'] ?? 'off');

const hasZstd = layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined;
const mediaTypes: Partial<Record<Packing, string>> = {
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  frames: 'application/vnd.oci.image.layer.v1.tar+zstd',
  plain: 'application/vnd.oci.image.layer.v1.tar',
};
const subjects = (['gzip', 'members', 'many', 'stored', 'plain', 'zstd', 'frames'] as const).filter(
  (packing) => hasZstd || mediaTypes[packing]?.endsWith('zstd') !== true,
);
const files = sampleFiles(3).slice(0, 30);
const tar = sampleTar(files);
const host = 'registry.test';
const rootfs = `${host}/app/v1/rootfs`;
const gone = files[3]?.path ?? '';
const wanted = files.filter(({ path }) => path !== gone);
const roots: string[] = [];
after(async () => {
  for (const root of roots) await removeTempDir(root);
});

/** An image, and a cache that has all of it: blobs, indexes, decoded archives. */
interface Subject {
  readonly image: BuiltImage;
  readonly cache: string;
}

const prepared = new Map<Packing, Promise<Subject>>();

async function prepare(packing: Packing): Promise<Subject> {
  const mediaType = mediaTypes[packing];
  const image = await buildImage({
    layers: [
      { entries: tar, packed: packings[packing](tar), ...(mediaType === undefined ? {} : { mediaType }) },
      { entries: [{ name: gone.replace(/[^/]*$/, (name) => `.wh.${name}`) }] },
    ],
  });
  const root = await makeTempDir('pristine');
  roots.push(root);
  const subject = { image, cache: join(root, 'cache') };
  const seen = await look(subject.cache, storeOf(image));
  assert.deepEqual(seen.wrong, []);
  assert.equal(seen.failed, 0);
  return subject;
}

function storeOf(image: BuiltImage): CountingStore {
  const store = new CountingStore();
  store.add('app', image, 'v1');
  return store;
}

interface Look {
  /** What differs from the image. */
  readonly wrong: string[];
  succeeded: number;
  /** Operations that ended in an error, as they may. */
  failed: number;
}

/** Open everything over this cache, compare the whole tree with what the image has, close everything. */
async function look(cacheDirectory: string, store: CountingStore): Promise<Look> {
  const content = await openContentCache({ directory: cacheDirectory, maxBytes: 2 ** 33 });
  const stores = createStoreDirectory({ openRegistry: async () => store, locals: new Map() });
  const inside = new ImageInside({ content, layers: new LayerStore({ cache: content }) });
  const fileSystem = createFileSystem({ stores, content, extensions: [inside] });
  const result: Look = { wrong: [], succeeded: 0, failed: 0 };
  const attempt = async (what: string, work: () => Promise<boolean>): Promise<void> => {
    try {
      if (await work()) result.succeeded += 1;
      else result.wrong.push(what);
    } catch (error) {
      // An image that cannot be read is an error; one that is not there would be a lie.
      if (isImgfsError(error) && error.code !== 'not-found') result.failed += 1;
      else result.wrong.push(`${what}: ${String(error)}`);
    }
  };
  try {
    await compare(walk(fileSystem, 20_000), attempt);
  } finally {
    await fileSystem.close();
    await stores.close();
    await content.close();
  }
  return result;
}

async function compare(
  walker: Walker,
  attempt: (what: string, work: () => Promise<boolean>) => Promise<void>,
): Promise<void> {
  for (const folder of ['d0', 'd3']) {
    const names = wanted.filter(({ path }) => path.startsWith(`${folder}/`)).map(({ path }) => path.slice(3));
    await attempt(`list ${folder}`, async () => {
      const listed = await walker.list(`${rootfs}/${folder}`);
      return listed.toSorted().join() === names.toSorted().join();
    });
  }
  for (const { path, content } of wanted) {
    await attempt(path, async () => (await walker.read(`${rootfs}/${path}`)).equals(content));
    await attempt(`stat ${path}`, async () => {
      const { size, mode, mtimeNs } = await walker.stat(`${rootfs}/${path}`);
      return size === content.length && mode === 0o644 && mtimeNs === 1_700_000_000_000_000_000n;
    });
  }
  await attempt('layers/0.tar', async () => (await walker.read(`${host}/app/v1/layers/0.tar`)).equals(tar));
}

async function filesBelow(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Files of a cache by the folder that they are in. */
function byKind(cache: string, paths: readonly string[]): string[][] {
  const kinds = new Map<string, string[]>();
  for (const path of paths) {
    const [kind = ''] = relative(cache, path).split('/');
    kinds.set(kind, [...(kinds.get(kind) ?? []), path]);
  }
  return [...kinds.values()];
}

/** Flip one to three bits, or cut the file. */
async function damage(path: string, prng: Prng): Promise<void> {
  const bytes = await readFile(path);
  if (bytes.length === 0) return;
  const times = 1 + prng.integer(3);
  for (let time = 0; time < times; time += 1) {
    const at = prng.integer(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << prng.integer(8));
  }
  await writeFile(path, prng.integer(10) === 0 ? bytes.subarray(0, prng.integer(bytes.length)) : bytes);
}

/** What is no longer in the cache, so that what was damaged is needed. */
const losses: readonly (readonly string[])[] = [
  [],
  ['decoded'],
  ['decoded', 'partial', 'blobs'],
  ['index'],
  ['index', 'decoded'],
  ['decoded', 'partial', 'blobs', 'index'],
];

/** One bit of one blob in the store is wrong, in every answer or in the first few. */
function damageStore(store: CountingStore, image: BuiltImage, prng: Prng): void {
  const { blobs } = store.repository('app');
  const { descriptor, bytes } = prng.pick(image.blobs.slice(1));
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
  const packing = prng.pick(subjects);
  const subject = await (prepared.get(packing) ?? prepared.set(packing, prepare(packing)).get(packing));
  assert.ok(subject !== undefined);
  const root = await makeTempDir('flips');
  const cache = join(root, 'cache');
  try {
    await cp(subject.cache, cache, { recursive: true });
    const store = storeOf(subject.image);
    const isStoreSound = prng.integer(4) !== 0;
    let victim = 'the store';
    for (const folder of prng.pick(losses)) await rm(join(cache, folder), { recursive: true, force: true });
    if (isStoreSound) {
      // Each kind as often as the others, whatever its number of files.
      const kinds = byKind(cache, await filesBelow(cache));
      const path = prng.pick(prng.pick(kinds));
      victim = relative(cache, path);
      await damage(path, prng);
    } else {
      damageStore(store, subject.image, prng);
    }
    const first = await look(cache, store);
    const what = `seed ${seed}, ${packing}, ${victim}`;
    assert.deepEqual(first.wrong, [], what);
    if (isStoreSound) {
      const second = await look(cache, store);
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
    const { faults, succeeded, failed } = await runScenarios(runOptions(120, 2), scenario);
    t.diagnostic(`${faults} flips: ${succeeded} operations right, ${failed} errors, none wrong`);
    assert.ok(succeeded > faults * 10, 'hardly anything was compared');
  },
);
