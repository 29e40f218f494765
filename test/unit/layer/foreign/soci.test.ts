import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { constants, gzipSync, inflateRawSync } from 'node:zlib';
import { DiskCache } from '../../../../src/content/disk.js';
import { exportZtoc } from '../../../../src/layer/foreign/export-ztoc.js';
import { firstDifference } from '../../../../src/layer/foreign/same-rows.js';
import { parseZinfo } from '../../../../src/layer/foreign/zinfo.js';
import { parseZtoc } from '../../../../src/layer/foreign/ztoc.js';
import { nameFromBytes } from '../../../../src/oci/name.js';
import type { LayerSource } from '../../../../src/layer/layer-source.js';
import { LayerStore } from '../../../../src/layer/layer-store.js';
import {
  contentOf,
  foreignGround,
  mixedFiles,
  rowOf,
  type ForeignGround,
} from '../../../support/foreign-ground.js';
import { paxEntry, rawEntry, rawTar } from '../../../support/raw-tar.js';
import { packings, sampleFiles, sampleTar } from '../../../support/sample-layer.js';
import { tempDir } from '../../../support/temp.js';
import { estargzLayer } from '../../../support/toc-layers.js';

const options = { timeout: 60_000 };

/** The tar of files of every kind. */
const mixedTar = (seed = 1): Buffer => estargzLayer(mixedFiles(seed), { external: true }).tar;

/** zTOC of a layer, made from our own index of it. */
async function ztocOf(t: TestContext, blob: Uint8Array, spanBytes = 1 << 20): Promise<Uint8Array> {
  const place = await foreignGround(t);
  const source = place.source(blob);
  const directory = join(await tempDir(t, 'ztoc'), 'cache');
  const cache = await DiskCache.open({ directory });
  const layers = new LayerStore({ cache });
  try {
    const layer = await layers.openLayer(source);
    await layer.whenIndexed();
    await layer.close();
    return await exportZtoc({ source, cache, spanBytes, buildTool: 'imgfs test' });
  } finally {
    await layers.close();
    await cache.close();
  }
}

function withZtoc(place: ForeignGround, blob: Uint8Array, ztoc: Uint8Array, isBound = true): LayerSource {
  const found = place.store.add(ztoc);
  const key = createHash('sha256').update(ztoc).digest('hex');
  return place.source(blob, undefined, { soci: { key, isBound, ztoc: async () => found } });
}

const layers: Readonly<Record<string, () => Uint8Array>> = {
  'files of every kind': () => gzipSync(mixedTar()),
  'one member': () => packings.gzip(sampleTar(sampleFiles(5))),
  'stored blocks': () => packings.stored(sampleTar(sampleFiles(6))),
  'three members': () => packings.members(sampleTar(sampleFiles(7))),
  'many members': () => packings.many(sampleTar(sampleFiles(8))),
};

for (const [name, make] of Object.entries(layers)) {
  test(
    `SOCI, ${name}: the first touch takes the zTOC alone, and says what a pass says`,
    options,
    async (t) => {
      const blob = make();
      const ztoc = await ztocOf(t, blob);
      const place = await foreignGround(t);
      const source = withZtoc(place, blob, ztoc);
      const layer = await place.open(source);
      await layer.whenReady();
      assert.equal(layer.origin, 'soci');
      assert.equal(layer.isVerified, true);
      assert.equal(
        place.store.requests.filter(({ digest }) => digest === source.descriptor.digest).length,
        0,
      );
      const pass = await (await foreignGround(t)).open(place.source(blob));
      await pass.whenReady();
      assert.equal(await firstDifference(layer.table, pass.table), undefined);
      for (let row = 0; row < layer.table.count; row += 1) {
        if (layer.table.kind(row) !== 'file') continue;
        assert.ok((await contentOf(layer, row)).equals(await contentOf(pass, row)), layer.table.path(row));
      }
    },
  );
}

test('SOCI: one file costs its span', options, async (t) => {
  const blob = packings.gzip(sampleTar(sampleFiles(9)));
  const ztoc = await ztocOf(t, blob, 512 << 10);
  const place = await foreignGround(t);
  const layer = await place.open(withZtoc(place, blob, ztoc));
  await layer.whenReady();
  const { sent } = place.store;
  await contentOf(layer, rowOf(layer, 'd1/f1'));
  assert.ok(place.store.sent - sent < blob.length / 2, `${place.store.sent - sent} of ${blob.length} bytes`);
});

test('SOCI: an index that nothing binds is not looked at', options, async (t) => {
  const blob = layers['one member']?.() ?? new Uint8Array(0);
  const ztoc = await ztocOf(t, blob);
  const place = await foreignGround(t);
  const layer = await place.open(withZtoc(place, blob, ztoc, false));
  await layer.whenReady();
  assert.equal(layer.origin, 'pass');
  assert.ok(place.store.requests.every(({ digest }) => digest === layer.descriptor.digest));
});

test(
  'SOCI: deferred, it gives names, says that they are unverified, and a pass has the last word',
  options,
  async (t) => {
    const blob = layers['one member']?.() ?? new Uint8Array(0);
    const ztoc = await ztocOf(t, blob);
    const place = await foreignGround(t);
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    const source = withZtoc(place, blob, ztoc, false);
    place.store.fault = (request) =>
      request.digest === source.descriptor.digest ? { waitFor: held } : undefined;
    const layer = await place.open(source, { deferred: true });
    await layer.whenReady();
    assert.equal(layer.origin, 'soci');
    assert.equal(layer.isVerified, false);
    letGo();
    await layer.whenIndexed();
    assert.equal(layer.isVerified, true);
    assert.equal(layer.origin, 'pass');
  },
);

test('zTOC: decoding with plain zlib from each place gives the archive', options, async (t) => {
  const tar = sampleTar(sampleFiles(10));
  const blob = packings.gzip(tar);
  const ztoc = parseZtoc(await ztocOf(t, blob, 64 << 10));
  const places = parseZinfo(ztoc.checkpoints);
  assert.ok(places.length > 2, `${places.length} places`);
  assert.equal(ztoc.maxSpanId, places.length - 1);
  for (const [index, place] of places.entries()) {
    const next = places[index + 1];
    const end = next === undefined ? blob.length : next.in + (next.bits === 0 ? 0 : 1);
    const digest = createHash('sha256').update(blob.subarray(place.in, end)).digest();
    assert.ok(digest.equals(ztoc.spanDigests[index] ?? Buffer.alloc(0)), `digest of span ${index}`);
    if (place.bits !== 0) continue;
    const decoded = inflateRawSync(blob.subarray(place.in, end), {
      dictionary: place.window,
      finishFlush: constants.Z_SYNC_FLUSH,
    });
    const wanted = tar.subarray(place.out, next?.out ?? tar.length);
    assert.ok(decoded.subarray(0, wanted.length).equals(wanted), `span ${index}`);
  }
});

test('zTOC: names are those of the headers, which SOCI compares', options, async (t) => {
  const tar = rawTar(
    rawEntry({ name: './', type: '5' }),
    rawEntry({ name: './d/', type: '5' }),
    rawEntry({ name: './d/f' }, 'content'),
    paxEntry([['path', './d/long']]),
    rawEntry({ name: 'short' }, 'content'),
    rawEntry({ name: './l', type: '1', linkName: './d/f' }),
  );
  const ztoc = parseZtoc(await ztocOf(t, gzipSync(tar)));
  const files = Array.from({ length: ztoc.fileCount }, (_, index) => ztoc.file(index));
  assert.deepEqual(
    files.map(({ name, linkName }) => [name, linkName].map(nameFromBytes).join(' ').trim()),
    ['./', './d/', './d/f', './d/long', './l ./d/f'],
  );
});

for (const [what, ...parts] of [
  ['a global header', paxEntry([['comment', 'x']], 'g'), rawEntry({ name: 'f' }, 'content')],
  ['an unknown type', rawEntry({ name: 'v', type: 'V' }), rawEntry({ name: 'f' }, 'content')],
] as const) {
  test(`zTOC: a layer with ${what} is refused, as SOCI does`, options, async (t) => {
    await assert.rejects(ztocOf(t, gzipSync(rawTar(...parts))), /headers that are of no entry/);
  });
}

/** Reads a zTOC with Google's FlatBuffers library, by the slots of SOCI's schema. */
const pythonReader = `
import sys, json, flatbuffers
from flatbuffers.table import Table
from flatbuffers import number_types as N
buf = bytearray(open(sys.argv[1], 'rb').read())
def root():
    n = flatbuffers.encode.Get(flatbuffers.packer.uoffset, buf, 0)
    return Table(buf, n)
def field(t, slot): return t.Offset(4 + 2 * slot)
def string(t, slot):
    o = field(t, slot)
    return t.String(t.Pos + o).hex() if o else ''
def number(t, slot, kind):
    o = field(t, slot)
    return t.Get(kind, t.Pos + o) if o else 0
def table(t, slot): return Table(buf, t.Indirect(t.Pos + field(t, slot)))
def items(t, slot):
    o = field(t, slot)
    if not o: return
    for i in range(t.VectorLen(o)): yield t.Vector(o) + i * 4
z = root()
files = []
toc = table(z, 4)
for at in items(toc, 0):
    f = Table(buf, toc.Indirect(at))
    pax = [[string(p, 0), string(p, 1)] for p in (Table(buf, f.Indirect(a)) for a in items(f, 13))]
    files.append([string(f, 0), string(f, 1), number(f, 2, N.Int64Flags), number(f, 3, N.Int64Flags), string(f, 4),
        number(f, 5, N.Int64Flags), number(f, 6, N.Uint32Flags), number(f, 7, N.Uint32Flags), string(f, 8), string(f, 9), string(f, 10),
        number(f, 11, N.Int64Flags), number(f, 12, N.Int64Flags), pax])
c = table(z, 5)
o = field(c, 3)
print(json.dumps({'version': string(z, 0), 'tool': string(z, 1), 'compressed': number(z, 2, N.Int64Flags),
  'uncompressed': number(z, 3, N.Int64Flags), 'files': files, 'max': number(c, 1, N.Int32Flags),
  'digests': [c.String(a).hex() for a in items(c, 2)], 'checkpoints': bytes(c.Bytes[c.Vector(o):c.Vector(o) + c.VectorLen(o)]).hex(),
  'algorithm': c.Get(N.Int8Flags, c.Pos + field(c, 0)) if field(c, 0) else 1,
  'aligned': z.Pos % 8 == 0 or z.Pos % 4 == 0}))
`;

test('zTOC: the FlatBuffers library of others reads what was written', options, async (t) => {
  // Debian's library belongs to Debian's Python.
  const python = ['python3', '/usr/bin/python3'].find(
    (command) => spawnSync(command, ['-c', 'import flatbuffers'], { timeout: 20_000 }).status === 0,
  );
  if (python === undefined) return t.skip('python3-flatbuffers is not installed');
  const blob = gzipSync(mixedTar());
  const bytes = await ztocOf(t, blob);
  const path = join(await tempDir(t, 'python'), 'ztoc');
  writeFileSync(path, bytes);
  const output = execFileSync(python, ['-c', pythonReader, path], { timeout: 20_000, maxBuffer: 1 << 26 });
  const read = JSON.parse(output.toString()) as Record<string, unknown>;
  const ours = parseZtoc(bytes);
  const hex = (value: Uint8Array | string): string => Buffer.from(value).toString('hex');
  assert.equal(read['version'], hex('0.9'));
  assert.equal(read['tool'], hex('imgfs test'));
  assert.equal(read['compressed'], blob.length);
  assert.equal(read['uncompressed'], mixedTar().length);
  assert.equal(read['max'], ours.maxSpanId);
  assert.equal(read['checkpoints'], hex(ours.checkpoints));
  assert.equal(read['algorithm'], 1);
  assert.deepEqual(
    read['digests'],
    ours.spanDigests.map((digest) => hex(`sha256:${digest.toString('hex')}`)),
  );
  const files = Array.from({ length: ours.fileCount }, (_, index) => {
    const file = ours.file(index);
    const pax = file.pax.map(([key, value]) => [hex(key), hex(value)]);
    return [hex(file.name), hex(file.type), file.offset, file.size, hex(file.linkName), file.mode, file.uid, file.gid, '', '', hex(file.modTime), file.devMajor, file.devMinor, pax]; // prettier-ignore
  });
  assert.deepEqual(read['files'], files);
});
