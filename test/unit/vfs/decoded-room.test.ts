import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import type { BlobSource } from '../../../src/content/content.js';
import type { SharedFileReader } from '../../../src/content/shared-file.js';
import type { ByteRange } from '../../../src/store/store.js';
import { DiskCache } from '../../../src/content/disk.js';
import type { EvictableKind } from '../../../src/content/kind-list.js';
import { encodeSpan, SpanTable } from '../../../src/layer/index/span-table.js';
import { Turns } from '../../../src/layer/turns.js';
import type { Layer } from '../../../src/layer/layer.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { layerAddon } from '../../../src/layer/native/layer-addon.js';
import { DecodedFile } from '../../../src/layer/read/decoded-file.js';
import { packings, sampleFiles, sampleTar } from '../../support/sample-layer.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';

const tar = sampleTar(sampleFiles(3));

function first(layers: readonly LayerStore[]): LayerStore {
  const [store] = layers;
  assert.ok(store !== undefined);
  return store;
}

const options = { timeout: 60_000, skip: layerAddon() === undefined && 'needs the addon' };

interface Ground {
  readonly kinds: readonly EvictableKind[];
  readonly layers: readonly LayerStore[];
  /** A gzip layer, open in the first store. */
  readonly layer: Layer;
  readonly source: BlobSource;
  /** Of its decoded file: how the cache knows it, and where it is. */
  readonly key: string;
  readonly path: string;
}

/** A cache with so many stores of layers on it; closed at the end of the test. */
async function ground(t: TestContext, count = 1, maxBytes = 2 ** 30): Promise<Ground> {
  const directory = join(await tempDir(t, 'room'), 'cache');
  const kinds: EvictableKind[] = [];
  const cache = await DiskCache.open({ directory, maxBytes });
  const registerKind = (kind: EvictableKind): ReturnType<DiskCache['registerKind']> => {
    if (kind.name === 'decoded') kinds.push(kind);
    return cache.registerKind(kind);
  };
  const watched = new Proxy(cache, {
    get: (target, name): unknown => {
      if (name === 'registerKind') return registerKind;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const layers = Array.from({ length: count }, () => new LayerStore({ cache: watched }));
  t.after(async () => {
    for (const store of layers) await store.close();
    await cache.close();
  });
  const source = new ScriptedStore().add(packings.gzip(tar));
  const layer = await first(layers).openLayer(source);
  const key = `${source.descriptor.digest.replace(':', '-')}.tar`;
  return { kinds, layers, layer, source, key, path: join(directory, 'decoded', key) };
}

test(
  'R23 room of decoded spans is given back while the layer is open, but not of what is read without asking',
  options,
  async (t) => {
    const { kinds, layers, layer, source, key, path } = await ground(t);
    await layer.readDecoded(Buffer.alloc(tar.length), 0);
    const before = statSync(path).blocks;
    const held = { start: 1_000_000, end: 1_200_000 };
    const open = await first(layers).openLayer(source);
    const backing = open.backing();
    assert.ok(backing !== undefined);
    backing.hold(held);
    for (let round = 0; round < 12; round += 1) await kinds[0]?.evict(key);
    assert.ok(statSync(path).blocks < before * 0.3, `${statSync(path).blocks} of ${before}`);
    assert.ok(readFileSync(path).subarray(held.start, held.end).equals(tar.subarray(held.start, held.end)));
    assert.ok(backing.present(held).some(({ start, end }) => start <= held.start && end >= held.end));
    assert.equal(await kinds[0]?.evict(key), 0, 'what is held stays');
    await open.close();
    assert.notEqual(await kinds[0]?.evict(key), 0);
    const again = Buffer.alloc(tar.length);
    await layer.readDecoded(again, 0);
    assert.ok(again.equals(tar));
  },
);

test('who reads a shared file is asked before parts of it go, and told what comes', options, async (t) => {
  const { kinds, layer, key, path } = await ground(t);
  await layer.whenReady();
  const file = layer.sharedFile();
  assert.ok(file !== undefined);
  assert.equal(file, layer.sharedFile());
  assert.equal(file.size, tar.length);
  const events: string[] = [];
  let there: readonly ByteRange[] = file.present();
  const kept = { start: 1_000_000, end: 1_200_000 };
  const overlaps = (a: ByteRange, b: ByteRange): boolean => a.start < b.end && b.start < a.end;
  const reader: SharedFileReader = {
    added: (range) => (there = [...there, range]),
    takeBack: (ranges) => {
      const mayGo = ranges.map((range) => !overlaps(range, kept));
      for (const gone of ranges.filter((_, index) => mayGo[index] === true)) {
        there = there.flatMap(({ start, end }) =>
          [
            { start, end: Math.min(end, gone.start) },
            { start: Math.max(start, gone.end), end },
          ].filter((left) => left.start < left.end),
        );
      }
      return mayGo;
    },
    forgotten: () => events.push('forgotten'),
    closed: () => events.push('closed'),
  };
  file.attach(reader);
  const detached: SharedFileReader = {
    ...reader,
    takeBack: () => assert.fail('a reader that went was asked'),
  };
  file.attach(detached)();
  await layer.readDecoded(Buffer.alloc(tar.length), 0);
  const told = there.reduce((sum, { start, end }) => sum + end - start, 0);
  assert.ok(told >= tar.length, `${told} of ${tar.length}`);
  for (let round = 0; round < 12; round += 1) await kinds[0]?.evict(key);
  const bytes = readFileSync(path);
  for (const { start, end } of there)
    assert.ok(bytes.subarray(start, end).equals(tar.subarray(start, end)), `${start} to ${end}`);
  assert.ok(bytes.subarray(kept.start, kept.end).equals(tar.subarray(kept.start, kept.end)));
  assert.ok(!bytes.equals(tar), 'the rest has gone');
  assert.deepEqual(events, []);
  await layer.close();
  assert.deepEqual(events, ['closed']);
});

test('spans of an earlier run are told in one piece when all of them are right', options, async (t) => {
  const folder = join(await tempDir(t, 'room'), 'decoded');
  const source = new ScriptedStore().add(packings.gzip(tar));
  const bytes = (index: number): Buffer => Buffer.alloc(1000, index);
  const common = {
    kind: 'fresh',
    bits: 0,
    sha256: new Uint8Array(32),
    windowLength: 0,
    windowStored: 0,
  } as const;
  const records = Array.from({ length: 100 }, (_, index) => {
    const [at, end] = [index * 1000, (index + 1) * 1000];
    return encodeSpan({ ...common, in: at, inEnd: end, out: at, outEnd: end, crc: crc32(bytes(index)) });
  });
  const spans = await SpanTable.of(Buffer.concat(records), new Turns());
  const before = await DecodedFile.open(folder, source.descriptor.digest);
  for (let index = 0; index < 100; index += 1) await before.write(spans.get(index), bytes(index));
  await before.close();
  const file = await DecodedFile.open(folder, source.descriptor.digest);
  t.after(() => file.close());
  const told: ByteRange[] = [];
  const nothing = (): void => undefined;
  file.attach({
    added: (range) => told.push(range),
    takeBack: () => [],
    forgotten: nothing,
    closed: nothing,
  });
  await file.checkAll(spans, 0, 100);
  assert.deepEqual(told, [{ start: 0, end: 100_000 }]);
});

test('a reader whose bytes go while it reads them gets them all the same', options, async (t) => {
  const { kinds, layer, key } = await ground(t);
  await layer.readDecoded(Buffer.alloc(tar.length), 0);
  let evictions = 0;
  const original = Object.getOwnPropertyDescriptor(DecodedFile.prototype, 'readAt')?.value as (
    ...given: Parameters<DecodedFile['readAt']>
  ) => Promise<number>;
  const readAt = t.mock.method(DecodedFile.prototype, 'readAt', async function (this: DecodedFile, into, at) {
    while ((await kinds[0]?.evict(key)) !== 0) evictions += 1;
    return Reflect.apply(original, this, [into, at]);
  } satisfies DecodedFile['readAt']);
  for (let at = 0; at + 50_000 < tar.length; at += 400_000) {
    const into = Buffer.alloc(50_000);
    await layer.readDecoded(into, at);
    assert.ok(into.equals(tar.subarray(at, at + into.length)), `at ${at}`);
  }
  readAt.mock.restore();
  assert.ok(evictions > 3);
});

test('what another process has open is left alone', options, async (t) => {
  // Two stores are to each other as two processes are: each has its own descriptor.
  const { kinds, layers, layer, source, key } = await ground(t, 2);
  await layer.readDecoded(Buffer.alloc(tar.length), 0);
  const other = await first(layers.slice(1)).openLayer(source);
  assert.equal(await kinds[0]?.evict(key), 0);
  await other.close();
  assert.notEqual(await kinds[0]?.evict(key), 0);
});

test(
  'R23 decoded bytes count under the bound of the cache, also of a layer that stays open',
  options,
  async (t) => {
    const maxBytes = Math.floor(tar.length * 0.7);
    const { layer, path } = await ground(t, 1, maxBytes);
    const into = Buffer.alloc(100_000);
    for (let at = 0; at + into.length < tar.length * 2; at += into.length) {
      const place = at % (tar.length - into.length);
      await layer.readDecoded(into, place);
      assert.ok(into.equals(tar.subarray(place, place + into.length)));
    }
    const room = (): number => statSync(path).blocks * 512;
    const until = Date.now() + 20_000;
    while (room() > maxBytes && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(room() <= maxBytes, `${room()}`);
  },
);
