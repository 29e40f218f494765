import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { DiskCache } from '../../../src/content/disk.js';
import type { BlobSource } from '../../../src/content/content.js';
import { LayerStore, type LayerStoreOptions } from '../../../src/layer/layer-store.js';
import type { Layer } from '../../../src/layer/layer.js';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { snapshotMetrics } from '../../../src/observe/metrics.js';
import { createNodeZstd } from '../../../src/layer/read/node-zstd.js';
import { createPrng } from '../../support/prng.js';
import { packings, sampleFiles, sampleTar, type Packing } from '../../support/sample-layer.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 60_000 };
const files = sampleFiles();
const tar = sampleTar(files);
const packed = new Map<Packing, Uint8Array>();
const withoutAddon = layerAddon() === undefined;

function pack(packing: Packing): Uint8Array {
  const bytes = packed.get(packing) ?? packings[packing](tar);
  packed.set(packing, bytes);
  return bytes;
}

function canRead(packing: Packing): boolean {
  const isZstd = packing === 'zstd' || packing === 'frames';
  return !isZstd || layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined;
}

interface Ground {
  readonly directory: string;
  readonly store: ScriptedStore;
  open(source: BlobSource, more?: Partial<LayerStoreOptions>): Promise<Layer>;
  /** Close everything that is open. */
  close(): Promise<void>;
}

async function ground(t: TestContext): Promise<Ground> {
  const directory = join(await tempDir(t, 'layer'), 'cache');
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  t.after(close);
  return {
    directory,
    store: new ScriptedStore(),
    open: async (source, more) => {
      const cache = await DiskCache.open({ directory });
      const layers = new LayerStore({ cache, ...more });
      closers.push(
        () => cache.close(),
        () => layers.close(),
      );
      return layers.openLayer(source);
    },
    close,
  };
}

async function decodedOf(layer: Layer, pieceBytes = 300_000): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const piece = Buffer.alloc(pieceBytes);
    const got = await layer.readDecoded(piece, at);
    parts.push(piece.subarray(0, got));
    at += got;
    if (got < pieceBytes) return Buffer.concat(parts);
  }
}

async function assertFiles(layer: Layer, only = files): Promise<void> {
  await layer.whenReady();
  for (const { path, content } of only) {
    const row = Array.from({ length: layer.table.count }, (_, index) => index).find(
      (index) => layer.table.path(index) === path,
    );
    assert.notEqual(row, undefined, path);
    const into = Buffer.alloc(content.length + 10);
    assert.equal(await layer.readEntry(row ?? 0, into, 0), content.length);
    assert.ok(into.subarray(0, content.length).equals(content), path);
  }
}

for (const packing of Object.keys(packings) as Packing[]) {
  test(`${packing}: every byte is right, at the first and at later openings`, options, async (t) => {
    if (!canRead(packing)) return t.skip('no zstd here');
    const place = await ground(t);
    const source = place.store.add(pack(packing));
    const first = await place.open(source);
    await assertFiles(first);
    assert.ok((await decodedOf(first)).equals(tar));
    assert.equal(first.decodedSize, tar.length);
    await place.close();
    const sent = place.store.sent;
    const again = await place.open(source);
    assert.equal(again.progress().state, 'ready');
    assert.ok((await decodedOf(again, 77_777)).equals(tar));
    assert.equal(place.store.sent, sent, 'nothing is fetched twice');
  });
}

for (const packing of ['gzip', 'members', 'many', 'pigz', 'bgzf', 'frames', 'plain'] as const) {
  test(`${packing}: without the blob one small file costs a few spans`, options, async (t) => {
    if (!canRead(packing) || withoutAddon) return t.skip('needs the addon');
    const place = await ground(t);
    const source = place.store.add(pack(packing));
    await (await place.open(source)).whenReady();
    await place.close();
    for (const folder of ['blobs', 'partial', 'decoded'])
      rmSync(join(place.directory, folder), { recursive: true, force: true });
    const sent = place.store.sent;
    const layer = await place.open(source);
    const small = files.filter(({ content }) => content.length > 0 && content.length < 20_000).slice(-1);
    await assertFiles(layer, small);
    // Read-ahead of the cache and neighbouring spans included.
    assert.ok(place.store.sent - sent < pack(packing).length * 0.7, `${place.store.sent - sent}`);
  });
}

test('a pass asks for a layer in long ranges from the first one on', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('plain'));
  await (await place.open(source)).whenReady();
  const [first, ...others] = place.store.requests;
  assert.deepEqual([first?.start, first?.end, others.length], [0, source.descriptor.size, 0]);
});

test('a blob that is not what its digest says gives no layer and leaves no index', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  place.store.fault = () => ({ flipAt: 300_000 });
  const layer = await place.open(source);
  await assert.rejects(layer.whenReady(), { code: 'integrity' });
  assert.equal(layer.progress().state, 'failed');
  await assert.rejects(layer.readDecoded(Buffer.alloc(10), 0), { code: 'integrity' });
  await place.close();
  assert.deepEqual(readdirSync(join(place.directory, 'index')), []);
});

test('a store that errs once is asked again by the next who opens the layer', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  place.store.fault = () => ({ flipAt: 300_000 });
  await assert.rejects((await place.open(source)).whenReady());
  await place.close();
  place.store.fault = undefined;
  await assertFiles(await place.open(source), files.slice(0, 3));
});

const malformed: readonly (readonly [name: string, bytes: () => Uint8Array, error: object])[] = [
  ['a cut gzip stream', () => pack('gzip').subarray(0, 400_000), { code: 'invalid-content' }],
  ['a cut zstd stream', () => pack('zstd').subarray(0, 400_000), { code: 'invalid-content' }],
  ['an archive cut inside a file', () => gzipSync(tar.subarray(0, 600_000)), { code: 'invalid-content' }],
  [
    'no archive inside gzip',
    () => gzipSync(Buffer.alloc(5000, 'x')),
    { code: 'invalid-content', message: /checksum/ },
  ],
  ['no archive at all', () => Buffer.alloc(5000, 'x'), { code: 'invalid-content', message: /neither/ }],
  ['xz', () => Buffer.from('fd377a585a000004', 'hex'), { code: 'unsupported', message: /xz/ }],
  ['bzip2', () => Buffer.from('BZh91AY&SY'), { code: 'unsupported', message: /bzip2/ }],
];

for (const [name, bytes, error] of malformed) {
  test(`refused with the reason: ${name}`, options, async (t) => {
    if (name.includes('zstd') && !canRead('zstd')) return t.skip('no zstd here');
    const place = await ground(t);
    const layer = await place.open(place.store.add(bytes()));
    await assert.rejects(layer.whenReady(), error);
  });
}

test('an encrypted layer is refused with the reason', options, async (t) => {
  const place = await ground(t);
  const type = 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted';
  const layer = await place.open(place.store.add(pack('gzip'), 'sha256', type));
  await assert.rejects(layer.whenReady(), { code: 'unsupported', message: /encrypted/ });
});

for (const algorithm of ['sha512', 'blake3'] as const) {
  test(`blobs named by ${algorithm} are verified too`, options, async (t) => {
    const place = await ground(t);
    await assertFiles(await place.open(place.store.add(pack('gzip'), algorithm)), files.slice(0, 3));
  });
}

test('a decompression bomb is refused, by its size and by its ratio', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(gzipSync(Buffer.concat([tar, Buffer.alloc(64 << 20)])));
  const limits = { maxBytes: 32 << 20, maxRatio: 1e9, ratioFromBytes: 0 };
  await assert.rejects((await place.open(source, { limits })).whenReady(), {
    code: 'too-large',
    message: /more than/,
  });
  await place.close();
  const ratio = { maxBytes: 1e12, maxRatio: 10, ratioFromBytes: 8 << 20 };
  await assert.rejects((await place.open(source, { limits: ratio })).whenReady(), {
    code: 'too-large',
    message: /to 1/,
  });
});

test('flipped bits in the index are found, and it is made anew', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  await (await place.open(source)).whenReady();
  await place.close();
  const [name = ''] = readdirSync(join(place.directory, 'index'));
  const path = join(place.directory, 'index', name);
  const good = readFileSync(path);
  const prng = createPrng(7);
  for (let round = 0; round < 10; round += 1) {
    const bad = Buffer.from(good);
    const at = prng.integer(bad.length);
    bad[at] = (bad[at] ?? 0) ^ (1 << prng.integer(8));
    writeFileSync(path, round % 4 === 3 ? bad.subarray(0, at) : bad);
    rmSync(join(place.directory, 'decoded'), { recursive: true, force: true });
    const layer = await place.open(source);
    assert.ok((await decodedOf(layer, 1 << 20)).equals(tar), `flip at ${at}`);
    await place.close();
  }
});

test('an index that another version wrote is made anew', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  await (await place.open(source)).whenReady();
  await place.close();
  const [name = ''] = readdirSync(join(place.directory, 'index'));
  const path = join(place.directory, 'index', name);
  const other = readFileSync(path);
  // The last byte of the header; no checksum covers it, so that it can be told from damage.
  other[15] = (other[15] ?? 0) + 1;
  writeFileSync(path, other);
  const layer = await place.open(source);
  assert.equal(layer.progress().state, 'indexing');
  await assertFiles(layer, files.slice(0, 5));
  assert.equal(layer.origin, 'pass');
  assert.notEqual(readFileSync(path)[15], other[15]);
});

test('a file that is known is not empty while the index is made anew', options, async (t) => {
  if (withoutAddon) return t.skip('needs the addon: windows');
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  await (await place.open(source)).whenReady();
  await place.close();
  const [name = ''] = readdirSync(join(place.directory, 'index'));
  const path = join(place.directory, 'index', name);
  // Windows carry no checksum of their own: a wrong one shows when its span is read.
  const bad = readFileSync(path);
  bad.fill(0x55, 16, 1000);
  writeFileSync(path, bad);
  for (const folder of ['blobs', 'partial', 'decoded'])
    rmSync(join(place.directory, folder), { recursive: true, force: true });
  const layer = await place.open(source);
  assert.equal(layer.progress().state, 'ready');
  const known = files.findLast(({ content }) => content.length > 0);
  assert.ok(known !== undefined);
  const row = Array.from({ length: layer.table.count }, (_, index) => index).find(
    (index) => layer.table.path(index) === known.path,
  );
  const whole = decodedOf(layer);
  const reads: Promise<void>[] = [];
  const read = async (): Promise<void> => {
    const into = Buffer.alloc(known.content.length);
    assert.equal(await layer.readEntry(row ?? 0, into, 0), into.length);
    assert.ok(into.equals(known.content));
  };
  while (layer.progress().state === 'ready') await new Promise((resolve) => void setImmediate(resolve));
  while (layer.progress().state === 'indexing') {
    if (reads.length < 500) reads.push(read());
    await new Promise((resolve) => void setImmediate(resolve));
  }
  await Promise.all(reads);
  assert.ok(reads.length > 0);
  assert.ok((await whole).equals(tar));
});

test('flipped bits in decoded bytes are found, and they are decoded anew', options, async (t) => {
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  assert.ok((await decodedOf(await place.open(source))).equals(tar));
  await place.close();
  const folder = join(place.directory, 'decoded');
  const path = join(folder, readdirSync(folder).find((name) => name.endsWith('.tar')) ?? '');
  const prng = createPrng(8);
  for (let round = 0; round < 10; round += 1) {
    const bad = readFileSync(path);
    const at = prng.integer(bad.length);
    bad[at] = (bad[at] ?? 0) ^ (1 << prng.integer(8));
    writeFileSync(path, round % 4 === 3 ? bad.subarray(0, at) : bad);
    const layer = await place.open(source);
    assert.ok((await decodedOf(layer, 1 << 20)).equals(tar), `flip at ${at}`);
    await place.close();
  }
});

test('flipped bits in the cached blob are found, and its bytes are fetched anew', options, async (t) => {
  if (withoutAddon) return t.skip('needs the addon: spans of their own');
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  await (await place.open(source)).whenReady();
  await place.close();
  const path = join(place.directory, 'blobs/sha256', source.descriptor.digest.slice(7));
  const bad = readFileSync(path);
  for (let at = 1000; at < bad.length; at += 300_000) bad[at] = (bad[at] ?? 0) ^ 4;
  chmodSync(path, 0o600);
  writeFileSync(path, bad);
  rmSync(join(place.directory, 'decoded'), { recursive: true, force: true });
  assert.ok((await decodedOf(await place.open(source), 1 << 20)).equals(tar));
});

test('a store that serves other bytes for a range is not believed', options, async (t) => {
  if (withoutAddon) return t.skip('needs the addon: spans of their own');
  const place = await ground(t);
  const source = place.store.add(pack('gzip'));
  await (await place.open(source)).whenReady();
  await place.close();
  for (const folder of ['blobs', 'partial', 'decoded'])
    rmSync(join(place.directory, folder), { recursive: true, force: true });
  place.store.fault = ({ start }) => ({ flipAt: start + 10 });
  const layer = await place.open(source);
  await assert.rejects(decodedOf(layer), { code: 'integrity' });
});

test('deferred: bytes are given out while the rest is on its way', options, async (t) => {
  if (withoutAddon) return t.skip('needs the addon');
  const place = await ground(t);
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const bytes = pack('gzip');
  const store = new ScriptedStore({
    chunkBytes: 64 * 1024,
    pace: async (request) => {
      if (request.sent > bytes.length * 0.7) await gate;
    },
  });
  const layer = await place.open(store.add(bytes), { deferred: true });
  const head = Buffer.alloc(100_000);
  assert.equal(await layer.readDecoded(head, 5000), head.length);
  assert.ok(head.equals(tar.subarray(5000, 105_000)));
  assert.equal(layer.progress().state, 'indexing');
  assert.ok(layer.table.count > 0);
  release();
  assert.ok((await decodedOf(layer)).equals(tar));
});

test('not deferred: nothing is given out before the digest has matched', options, async (t) => {
  const place = await ground(t);
  const bytes = pack('gzip');
  const store = new ScriptedStore({ fault: () => ({ flipAt: bytes.length - 3 }) });
  const layer = await place.open(store.add(bytes));
  await assert.rejects(layer.readDecoded(Buffer.alloc(10), 0), { code: 'integrity' });
});

test('a cache disk that takes nothing costs time, not the layer', options, async (t) => {
  for (const packing of ['gzip', 'zstd', 'plain'] as const) {
    if (!canRead(packing)) continue;
    const place = await ground(t);
    await mkdir(place.directory, { recursive: true });
    // As on a disk that is mounted read-only: no folder can be made.
    for (const name of ['index', 'decoded']) writeFileSync(join(place.directory, name), '');
    const layer = await place.open(place.store.add(pack(packing)));
    await assertFiles(layer);
    assert.ok((await decodedOf(layer)).equals(tar), packing);
    await place.close();
  }
});

test('a cache disk that fills up during a pass costs time, not the layer', options, async (t) => {
  if (process.getuid?.() !== 0 || withoutAddon) return t.skip('needs root, to make a small disk');
  const place = await ground(t);
  const folders = ['index', 'decoded'].map((name) => join(place.directory, name));
  try {
    for (const folder of folders) {
      await mkdir(folder, { recursive: true });
      const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', folder]);
      if (mounted.status !== 0) return t.skip('no tmpfs here');
    }
    const layer = await place.open(place.store.add(pack('gzip')), { commitBytes: 256 * 1024 });
    assert.ok((await decodedOf(layer)).equals(tar));
    await assertFiles(layer);
  } finally {
    await place.close();
    for (const folder of folders) spawnSync('umount', ['-l', folder]);
  }
});

test('closing in the middle of a pass leaves nothing behind', options, async (t) => {
  const place = await ground(t);
  const store = new ScriptedStore({
    chunkBytes: 16 * 1024,
    pace: () => new Promise((resolve) => void setTimeout(resolve, 5)),
  });
  const layer = await place.open(store.add(pack('gzip')));
  await layer.whenChanged();
  await place.close();
  assert.deepEqual(
    readdirSync(join(place.directory, 'index')).filter((name) => !name.endsWith('.build')),
    [],
  );
});

test('a layer that two open is read once, and lives until both gave it back', options, async (t) => {
  const place = await ground(t);
  const cache = await DiskCache.open({ directory: place.directory });
  const layers = new LayerStore({ cache });
  t.after(async () => {
    await layers.close();
    await cache.close();
  });
  const source = place.store.add(pack('gzip'));
  const [one, two] = await Promise.all([layers.openLayer(source), layers.openLayer(source)]);
  await Promise.all([one.whenReady(), two.whenReady()]);
  await one.close();
  await one.close();
  await assertFiles(two, files.slice(0, 3));
  await two.close();
  assert.ok(place.store.sent <= pack('gzip').length * 1.1);
});

test('decoders are given back with their run, and all of them with their layer', options, async (t) => {
  if (withoutAddon) return t.skip('needs the addon');
  const decoders = (): number => snapshotMetrics()['imgfs_layer_decoders'] ?? Number.NaN;
  const place = await ground(t);
  const large = sampleTar([1, 2, 3, 4].flatMap((seed) => sampleFiles(seed)));
  const source = place.store.add(gzipSync(large, { level: 1 }));
  await (await place.open(source)).whenReady();
  await place.close();
  rmSync(join(place.directory, 'decoded'), { recursive: true, force: true });
  const layer = await place.open(source);
  // Backwards, so that each read ends in the middle of a run that nobody goes on with.
  const byte = Buffer.alloc(1);
  for (let at = large.length - 1; at > 0; at -= 500_000) {
    await layer.readDecoded(byte, at);
    assert.equal(byte[0], large[at]);
    // As many as stand in the middle of a run, and one at work.
    assert.ok(decoders() <= 9, `${decoders()} at ${at}`);
  }
  assert.ok(decoders() > 0);
  await place.close();
  assert.equal(decoders(), 0);
});

test('an interrupted wait ends at once, and the pass goes on', options, async (t) => {
  const place = await ground(t);
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const store = new ScriptedStore({ pace: () => gate });
  const layer = await place.open(store.add(pack('gzip')));
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(layer.whenReady({ signal: controller.signal }), { code: 'interrupted' });
  release();
  await assertFiles(layer, files.slice(0, 3));
});

test('the same holds without the addon', { timeout: 120_000, skip: withoutAddon }, async () => {
  const pattern = '(gzip|members|plain|zstd): every byte|refused|bomb|sha512|in decoded bytes|interrupted';
  const environment = { ...process.env, IMGFS_ADDON: 'none' };
  delete (environment as Record<string, string | undefined>)['NODE_TEST_CONTEXT'];
  const child = promisify(execFile)(
    process.execPath,
    ['--test', `--test-name-pattern=${pattern}`, fileURLToPath(import.meta.url)],
    {
      env: environment,
      timeout: 110_000,
      maxBuffer: 1 << 26,
    },
  );
  await child.catch((error: { stdout?: string }) => assert.fail(error.stdout ?? 'no output'));
});
