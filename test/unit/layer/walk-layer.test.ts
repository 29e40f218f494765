/** Going through an indexed layer whose blob is gone: how often the store is asked, and for how much. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { DiskCache } from '../../../src/content/disk.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import type { Layer } from '../../../src/layer/layer.js';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { createPrng } from '../../support/prng.js';
import { sampleTar, type SampleFile } from '../../support/sample-layer.js';
import { ScriptedStore, type ScriptedRequest } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 60_000, skip: layerAddon() === undefined };
const fileCount = 400;
const fileBytes = 60_000;

/** 24 MB that do not compress: a run of spans is some 450 KB of the blob. */
function manyFiles(): SampleFile[] {
  const prng = createPrng(7);
  return Array.from({ length: fileCount }, (_, index) => ({
    path: `f${index}`,
    content: Buffer.from(prng.bytes(fileBytes)),
  }));
}

const files = manyFiles();
const packed = gzipSync(sampleTar(files), { level: 1 });

interface Evicted {
  readonly layer: Layer;
  readonly requests: readonly ScriptedRequest[];
}

/** The layer, indexed, with nothing else of it on disk; requests from now on. */
async function evicted(t: TestContext): Promise<Evicted> {
  const directory = join(await tempDir(t, 'walk'), 'cache');
  const store = new ScriptedStore();
  const source = store.add(packed);
  for (const isFirst of [true, false]) {
    const cache = await DiskCache.open({ directory });
    const layers = new LayerStore({ cache });
    const layer = await layers.openLayer(source);
    await layer.whenReady();
    if (!isFirst) {
      t.after(() => cache.close());
      t.after(() => layers.close());
      store.requests.length = 0;
      return { layer, requests: store.requests };
    }
    await layer.close();
    await layers.close();
    await cache.close();
    for (const folder of ['blobs', 'partial', 'decoded'])
      rmSync(join(directory, folder), { recursive: true, force: true });
  }
  throw new Error('not reached');
}

async function assertContent(layer: Layer, row: number): Promise<void> {
  const content = files[row]?.content ?? Buffer.alloc(0);
  const into = Buffer.alloc(content.length);
  assert.equal(await layer.readEntry(row, into, 0), content.length);
  assert.ok(into.equals(content), `file ${row}`);
}

/** What a driver does that reads by itself what is there: it asks for the rest only. */
async function readAsDriver(layer: Layer, row: number): Promise<void> {
  const start = layer.table.dataOffset(row);
  const end = start + layer.table.size(row);
  const backing = layer.backing();
  assert.ok(backing);
  const release = backing.hold({ start, end });
  const [first] = backing.present({ start, end });
  const isThere = first !== undefined && first.start <= start && first.end >= end;
  if (!isThere) await layer.fillDecoded({ start, end });
  release();
}

const told = (requests: readonly ScriptedRequest[]): string =>
  requests.map(({ start, end }) => `${start}-${end}`).join(' ');

const largest = (requests: readonly ScriptedRequest[]): number =>
  Math.max(...requests.map(({ start, end }) => end - start));

test('files read one behind the other are fetched in few requests', options, async (t) => {
  const { layer, requests } = await evicted(t);
  for (let row = 0; row < fileCount; row += 1) await assertContent(layer, row);
  assert.ok(requests.length <= 24, told(requests));
  assert.ok(largest(requests) >= 3 << 20);
});

test('so are files of which a driver reads without asking what is there', options, async (t) => {
  const { layer, requests } = await evicted(t);
  for (let row = 0; row < fileCount; row += 1) {
    await readAsDriver(layer, row);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.ok(requests.length <= 24, told(requests));
  for (const row of [0, 100, fileCount - 1]) await assertContent(layer, row);
});

test('two readers at two places are two that go on', options, async (t) => {
  const { layer, requests } = await evicted(t);
  const half = fileCount / 2;
  for (let row = 0; row < half; row += 1) {
    await assertContent(layer, row);
    await assertContent(layer, half + row);
  }
  assert.ok(requests.length <= 48, told(requests));
});

test('who jumps about gets what was asked for', options, async (t) => {
  const { layer, requests } = await evicted(t);
  const prng = createPrng(3);
  const into = Buffer.alloc(10_000);
  const reads = 12;
  for (let read = 0; read < reads; read += 1) {
    const row = prng.integer(fileCount);
    await layer.readEntry(row, into, 0);
    assert.ok(into.equals((files[row]?.content ?? into).subarray(0, into.length)));
  }
  const bytes = requests.reduce((sum, { start, end }) => sum + end - start, 0);
  assert.ok(bytes / reads <= 450_000, `${bytes / reads} bytes for each`);
  assert.ok(largest(requests) <= 1 << 20, `${largest(requests)} bytes in one request`);
});
