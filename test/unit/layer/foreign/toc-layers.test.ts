import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { Layer } from '../../../../src/layer/layer.js';
import { firstDifference } from '../../../../src/layer/foreign/same-rows.js';
import { layerAddon } from '../../../../src/layer/native/layer-addon.js';
import { createNodeZstd } from '../../../../src/layer/read/node-zstd.js';
import {
  contentOf,
  foreignGround,
  mixedFiles,
  rowOf,
  type ForeignGround,
} from '../../../support/foreign-ground.js';
import {
  estargzLayer,
  legacyFooter,
  zstdChunkedLayer,
  type TocFile,
  type TocLayer,
} from '../../../support/toc-layers.js';

const options = { timeout: 60_000 };
const files = mixedFiles();
const hasZstd = layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined;

interface Variant {
  readonly origin: string;
  readonly make: (from: readonly TocFile[]) => TocLayer;
}

const variants: Readonly<Record<string, Variant>> = {
  eStargz: { origin: 'estargz', make: (from) => estargzLayer(from) },
  'eStargz of many chunks': { origin: 'estargz', make: (from) => estargzLayer(from, { chunkBytes: 50_000 }) },
  'eStargz of shared members': {
    origin: 'estargz',
    make: (from) => estargzLayer(from, { chunkBytes: 50_000, minChunkBytes: 60_000 }),
  },
  stargz: { origin: 'estargz', make: (from) => estargzLayer(from, { footer: legacyFooter }) },
  'eStargz with its table elsewhere': {
    origin: 'estargz',
    make: (from) => estargzLayer(from, { external: true }),
  },
  'zstd:chunked': { origin: 'zstd-chunked', make: (from) => zstdChunkedLayer(from) },
  'zstd:chunked of many chunks': {
    origin: 'zstd-chunked',
    make: (from) => zstdChunkedLayer(from, { chunkBytes: 100_000 }),
  },
};

function sourceOf(place: ForeignGround, layer: TocLayer) {
  const { externalToc } = layer;
  const more = externalToc === undefined ? {} : { externalToc: async () => place.store.add(externalToc) };
  return place.source(layer.blob, layer.annotations, more);
}

async function assertContent(layer: Layer): Promise<void> {
  const seen = new Map(files.map((file) => [file.name, file]));
  for (const file of seen.values()) {
    if ((file.type ?? 'reg') !== 'reg') continue;
    const path = Buffer.from(file.name).toString('latin1');
    assert.ok(
      (await contentOf(layer, rowOf(layer, path))).equals(file.content ?? Buffer.alloc(0)),
      file.name,
    );
  }
}

for (const [name, { origin, make }] of Object.entries(variants)) {
  test(`${name}: the first touch takes the table alone, and says what a pass says`, options, async (t) => {
    if (origin === 'zstd-chunked' && !hasZstd) return t.skip('no zstd here');
    const made = make(files);
    if (origin === 'estargz')
      assert.ok(gunzipSync(made.blob).equals(made.tar), 'the layer is an ordinary one');
    const place = await foreignGround(t);
    const source = sourceOf(place, made);
    const layer = await place.open(source);
    await layer.whenReady();
    assert.equal(layer.origin, origin);
    assert.equal(layer.isVerified, true);
    assert.match(layer.identity, /^sha256:[0-9a-f]{64}~[0-9a-f]{32}$/);
    const { requests } = place.store;
    assert.ok(requests.length <= 2, `${requests.length} requests`);
    // The end of the layer, in blocks of 4 KiB, and the table if that is longer or elsewhere.
    const most = Math.max(65_536, made.tocLength) + (made.externalToc?.length ?? 0) + 8192;
    assert.ok(place.store.sent <= most, `${place.store.sent} bytes`);
    assert.equal(layer.decodedSize, undefined, 'the table does not say');

    const pass = await (await foreignGround(t)).open(place.source(made.blob));
    await pass.whenReady();
    assert.equal(pass.origin, 'pass');
    assert.equal(await firstDifference(layer.table, pass.table), undefined);
    await assertContent(layer);
  });

  test(`${name}: a file costs its chunks`, options, async (t) => {
    if (origin === 'zstd-chunked' && !hasZstd) return t.skip('no zstd here');
    const made = make(mixedFiles(2, 10));
    const place = await foreignGround(t);
    const layer = await place.open(sourceOf(place, made));
    await layer.whenReady();
    const { sent, requests } = place.store;
    const count = requests.length;
    const row = rowOf(layer, 'many/f3');
    const content = await contentOf(layer, row);
    assert.ok(content.length > 10_000);
    // Shared members are decoded from their beginning.
    const spare = name.includes('shared') ? 120_000 : 8192;
    assert.ok(place.store.sent - sent <= content.length * 1.02 + spare, `${place.store.sent - sent} bytes`);
    assert.ok(requests.length - count <= Math.ceil(content.length / 50_000) + 1);
    assert.equal(layer.origin, origin);
  });

  test(`${name}: our own index takes over and says the same`, options, async (t) => {
    if (origin === 'zstd-chunked' && !hasZstd) return t.skip('no zstd here');
    const made = make(files);
    const place = await foreignGround(t);
    const source = sourceOf(place, made);
    const layer = await place.open(source);
    await layer.whenReady();
    const { identity } = layer;
    const half = await contentOf(layer, rowOf(layer, 'usr/lib/large'));
    await layer.whenIndexed();
    assert.equal(layer.decodedSize, made.tar.length);
    assert.equal(layer.origin, 'pass');
    assert.equal(layer.identity, identity, 'rows keep their name');
    assert.ok((await contentOf(layer, rowOf(layer, 'usr/lib/large'))).equals(half));
    const whole = Buffer.alloc(made.tar.length);
    assert.equal(await layer.readDecoded(whole, 0), made.tar.length);
    assert.ok(whole.equals(made.tar));
    await assertContent(layer);
    await place.close();
    const again = await place.open(source);
    await again.whenReady();
    assert.equal(again.origin, 'pass');
    assert.equal(again.identity, source.descriptor.digest);
  });

  test(`${name}: what was learnt and read is there without a network`, options, async (t) => {
    if (origin === 'zstd-chunked' && !hasZstd) return t.skip('no zstd here');
    const place = await foreignGround(t);
    const source = sourceOf(place, make(files));
    const first = await place.open(source);
    await first.whenReady();
    const content = await contentOf(first, rowOf(first, 'many/f7'));
    await place.close();
    rmSync(join(place.directory, 'partial'), { recursive: true, force: true });
    rmSync(join(place.directory, 'blobs'), { recursive: true, force: true });
    const sent = place.store.sent;
    const again = await place.open(source);
    await again.whenReady();
    assert.equal(again.origin, origin);
    assert.ok((await contentOf(again, rowOf(again, 'many/f7'))).equals(content));
    assert.equal(place.store.sent, sent);
  });
}

test('a small layer is gone through at once, whatever it brings', options, async (t) => {
  const made = estargzLayer(files.slice(0, 5));
  const place = await foreignGround(t);
  const layer = await place.open(place.source(made.blob, made.annotations), { foreignFromBytes: 512 << 10 });
  await layer.whenReady();
  assert.equal(layer.origin, 'pass');
});

test('reading much of a layer ends in our own index', options, async (t) => {
  const big = mixedFiles(3, 20);
  const made = estargzLayer(big);
  const place = await foreignGround(t);
  const layer = await place.open(place.source(made.blob, made.annotations));
  await layer.whenReady();
  for (const file of big) {
    if (file.content === undefined || layer.origin === 'pass') continue;
    const row = rowOf(layer, Buffer.from(file.name).toString('latin1'));
    await contentOf(layer, row);
  }
  await layer.whenIndexed();
  assert.equal(layer.origin, 'pass');
  assert.ok(place.store.sent < made.blob.length * 1.3, `${place.store.sent} of ${made.blob.length} bytes`);
});
