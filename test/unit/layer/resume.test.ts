import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DiskCache } from '../../../src/content/disk.js';
import type { BlobSource } from '../../../src/content/content.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { snapshotMetrics } from '../../../src/observe/metrics.js';
import { createPrng } from '../../support/prng.js';
import { packings, sampleFiles, sampleTar } from '../../support/sample-layer.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 60_000, skip: layerAddon() === undefined ? 'needs the addon' : false };
const tar = sampleTar(sampleFiles(3));
const indexChild = fileURLToPath(new URL('../../support/index-child.js', import.meta.url));
const resumed = (): number => snapshotMetrics()['imgfs_layer_passes_resumed_total'] ?? 0;

interface Pass {
  readonly store: ScriptedStore;
  readonly source: BlobSource;
  readonly directory: string;
  /** Open the layer, stop the pass when the store has sent so much, or read it all. */
  run(stopAt?: number): Promise<Buffer | undefined>;
}

async function prepare(t: TestContext, blob: Uint8Array): Promise<Pass> {
  const directory = join(await tempDir(t, 'resume'), 'cache');
  let gate: Promise<void> | undefined;
  let limit = Infinity;
  const store = new ScriptedStore({
    chunkBytes: 32 * 1024,
    pace: async (request) => {
      if (request.start + request.sent > limit) await gate;
    },
  });
  const source = store.add(blob);
  const run = async (stopAt?: number): Promise<Buffer | undefined> => {
    let release: () => void = () => undefined;
    gate = new Promise((resolve) => {
      release = resolve;
    });
    limit = stopAt ?? Infinity;
    const cache = await DiskCache.open({ directory });
    const layers = new LayerStore({ cache, commitBytes: 100_000 });
    try {
      const layer = await layers.openLayer(source);
      if (stopAt !== undefined) {
        while (layer.progress().inBytes < stopAt * 0.6) await layer.whenChanged();
        return undefined;
      }
      const bytes = Buffer.alloc(tar.length);
      assert.equal(await layer.readDecoded(bytes, 0), tar.length);
      return bytes;
    } finally {
      const closing = layers.close();
      release();
      await closing;
      await cache.close();
    }
  };
  return { store, source, directory, run };
}

const buildFolder = ({ directory }: Pass): string => {
  const folder = join(directory, 'index');
  return join(folder, readdirSync(folder).find((name) => name.endsWith('.build')) ?? 'none');
};

for (const packing of ['gzip', 'members', 'frames', 'plain'] as const) {
  test(`a pass over ${packing} that is interrupted goes on`, options, async (t) => {
    if (packing === 'frames' && layerAddon()?.hasZstd() !== true) return t.skip('no zstd here');
    const blob = packings[packing](tar);
    const pass = await prepare(t, blob);
    const before = resumed();
    await pass.run(blob.length * 0.8);
    assert.deepEqual(readdirSync(buildFolder(pass)).sort(), ['journal', 'windows']);
    assert.ok((await pass.run())?.equals(tar));
    assert.equal(resumed(), before + 1);
    assert.deepEqual(
      readdirSync(join(pass.directory, 'index')).map((name) => name.slice(-5)),
      ['.lidx'],
    );
    assert.ok((await pass.run())?.equals(tar), 'the index is as good as any');
  });
}

test('a journal or windows that are damaged only cost time', options, async (t) => {
  const blob = packings.gzip(tar);
  const prng = createPrng(11);
  for (let round = 0; round < 8; round += 1) {
    const pass = await prepare(t, blob);
    await pass.run(blob.length * 0.8);
    const path = join(buildFolder(pass), round % 2 === 0 ? 'journal' : 'windows');
    const bytes = readFileSync(path);
    const at = prng.integer(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << prng.integer(8));
    writeFileSync(path, round % 3 === 2 ? bytes.subarray(0, at) : bytes);
    assert.ok((await pass.run())?.equals(tar), `${path.slice(-7)} at ${at}`);
  }
});

/** Run a process that indexes until it is so far, then kill it. Returns where it began. */
async function killAt(pass: Pass, blobPath: string, bytes: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [indexChild, JSON.stringify({ directory: pass.directory, blob: blobPath })],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = once(child, 'exit');
  let first = -1;
  for await (const line of createInterface({ input: child.stdout })) {
    const at = line === 'ready' ? Infinity : Number(line);
    if (first < 0 && at > 0) first = at;
    if (at >= bytes) break;
  }
  child.kill('SIGKILL');
  await ended;
  return first;
}

/** `IMGFS_KILLS` processes are killed; the full size is 100. */
const kills = Number(process.env['IMGFS_KILLS'] ?? 4);

test(
  'a pass whose process is killed goes on in the next one',
  { ...options, timeout: 60_000 + kills * 5000 },
  async (t) => {
    const prng = createPrng(13);
    const blob = packings.gzip(tar);
    const blobPath = join(await tempDir(t, 'killed'), 'blob');
    writeFileSync(blobPath, blob);
    let wentOn = 0;
    for (let round = 0; round < kills; round += 2) {
      const pass = await prepare(t, blob);
      const share = 0.3 + prng.integer(30) / 100;
      await killAt(pass, blobPath, blob.length * share);
      const second = await killAt(pass, blobPath, blob.length * (share + 0.2));
      if (second > blob.length * 0.1) wentOn += 1;
      const before = resumed();
      assert.ok((await pass.run())?.equals(tar), `killed at ${share}`);
      wentOn += resumed() - before;
      assert.deepEqual(
        readdirSync(join(pass.directory, 'index')).map((name) => name.slice(-5)),
        ['.lidx'],
      );
    }
    assert.ok(wentOn >= kills / 2, `${wentOn} of ${kills} passes went on where another was killed`);
  },
);
