/**
 * Seeded faults under the tree: files by digest are right or fail, nothing that exists is ENOENT, nothing hangs past
 * the deadline of its operation, and a tree whose registry recovers recovers too.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openContentCache } from '../../src/content/disk.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { setLogLevels } from '../../src/observe/log.js';
import { digestHex } from '../../src/oci/digest.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { sameBytes } from '../support/bodies.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { walk, type Walker } from '../support/file-system-walker.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import type { Prng } from '../support/prng.js';
import { hastyOptions, openTestStore } from '../support/registry-client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { runOptions, runScenarios, serverHabits, watched, type ScenarioResult } from './fault-run.js';

setLogLevels(process.env['IMGFS_LOG'] ?? 'off');

/** The walker gives each operation 5 s; a path has up to 8 components, of which at most 3 ask the registry. */
const limitMs = 25_000;
const repository = 'group/app';

interface Scene {
  readonly walker: Walker;
  readonly root: string;
  succeeded: number;
  failed: number;
}

async function attempt<T>(scene: Scene, what: string, act: () => Promise<T>): Promise<T | undefined> {
  const done = await watched(what, limitMs, act);
  if (done.error === undefined) scene.succeeded += 1;
  else scene.failed += 1;
  return done.value;
}

/** What every file of an image directory must hold. */
function expectedFiles(image: BuiltSingleImage): Map<string, Uint8Array> {
  return new Map([
    ['manifest.json', image.manifests[0]?.bytes ?? new Uint8Array(0)],
    ['config.json', image.config.bytes],
    ['digest', Buffer.from(`${image.descriptor.digest}\n`)],
    ...image.layers.map((layer, at): [string, Uint8Array] => [`layers/${at}.tar.gz`, layer.bytes]),
  ]);
}

async function visit(scene: Scene, image: BuiltSingleImage): Promise<void> {
  const { walker, root } = scene;
  const byDigest = `${root}/@digests/sha256/${digestHex(image.descriptor.digest)}`;
  // Names: a tag may be lied about, but it is there.
  await attempt(scene, 'stat tag', () => walker.stat(`${root}/v1`));
  await attempt(scene, 'list tags', () => walker.list(`${root}/@tags`));
  for (const [name, bytes] of expectedFiles(image)) {
    const path = `${byDigest}/${name}`;
    await attempt(scene, `stat ${name}`, () => walker.stat(path));
    const got = await attempt(scene, `read ${name}`, () => walker.read(path));
    if (got === undefined) continue;
    sameBytes(got, bytes, name);
    // Before, the size of a manifest is the server's word (a HEAD); now it is known.
    const attributes = await attempt(scene, `stat ${name}`, () => walker.stat(path));
    if (attributes !== undefined) assert.equal(attributes.size, bytes.length, `size of ${name}`);
    await attempt(scene, `xattr of ${name}`, () => walker.xattr(path, 'user.oci.digest'));
  }
  const layers = await attempt(scene, 'list layers', () => walker.list(`${byDigest}/layers`));
  if (layers !== undefined) {
    for (const at of image.layers.keys()) assert.ok(layers.includes(`${at}.tar.gz`), layers.join());
  }
}

async function recovers(scene: Scene, image: BuiltSingleImage): Promise<void> {
  for (let round = 0; ; round += 1) {
    const before = scene.failed;
    await visit(scene, image);
    if (scene.failed === before) return;
    // A blob that failed twice is left alone for 10 s, a paused host for as long as it asked.
    assert.ok(round < 25, 'the tree does not recover');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function scenario(image: BuiltSingleImage, seed: number, prng: Prng): Promise<ScenarioResult> {
  const registry = await startFaultRegistry({
    ...serverHabits(prng),
    faults: { seed, probability: prng.pick([0.1, 0.25, 0.5]) },
  });
  registry.addImage(repository, image, 'v1');
  const directory = await makeTempDir('fault-tree');
  const strict = prng.next() < 0.5;
  const content = await openContentCache({ directory, verify: strict ? 'strict' : 'default' });
  const stores = createStoreDirectory({
    openRegistry: async () =>
      openTestStore(registry, {
        login: { username: 'me', password: 'secret' },
        options: { ...hastyOptions, callTimeoutMs: 1500, responseTimeoutMs: 250, stallWindowMs: 250 },
      }),
  });
  const fileSystem = createFileSystem({ stores, content, tagTtlMs: 50 });
  const scene: Scene = {
    walker: walk(fileSystem),
    root: `${registry.host}/${repository}`,
    succeeded: 0,
    failed: 0,
  };
  try {
    await visit(scene, image);
    await visit(scene, image);
    const { succeeded, failed } = scene;
    registry.clearFaults();
    await recovers(scene, image);
    const faults = registry.requests.filter((record) => record.fault !== undefined).length;
    return { faults, succeeded, failed };
  } finally {
    await fileSystem.close();
    await stores.close();
    await content.close();
    await registry.close();
    await removeTempDir(directory);
  }
}

void test('300 seeded faults under the tree', { timeout: 600_000 }, async (t) => {
  const image = await sampleImage({ payloadBytes: 100_000 });
  const total = await runScenarios(runOptions(300, 8), (seed, prng) => scenario(image, seed, prng));
  t.diagnostic(`${total.faults} faults, ${total.succeeded} operations well, ${total.failed} failed`);
  assert.ok(process.env['IMGFS_FAULT_SEED'] !== undefined || (total.succeeded > 0 && total.failed > 0));
});
