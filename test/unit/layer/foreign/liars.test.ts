/** Indexes that lie: the layer is shown as it is, or there is an error, and never a wrong byte. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { DiskCache } from '../../../../src/content/disk.js';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { exportZtoc } from '../../../../src/layer/foreign/export-ztoc.js';
import { parseZtoc } from '../../../../src/layer/foreign/ztoc.js';
import type { Layer } from '../../../../src/layer/layer.js';
import type { LayerSource } from '../../../../src/layer/layer-source.js';
import { LayerStore } from '../../../../src/layer/layer-store.js';
import { layerAddon } from '../../../../src/layer/native/layer-addon.js';
import { createNodeZstd } from '../../../../src/layer/read/node-zstd.js';
import { contentOf, foreignGround, mixedFiles, type ForeignGround } from '../../../support/foreign-ground.js';
import { join } from 'node:path';
import { tempDir } from '../../../support/temp.js';
import {
  estargzFooter,
  estargzLayer,
  zstdChunkedLayer,
  type TocFile,
  type TocJson,
  type TocLayer,
  type TocLayerOptions,
} from '../../../support/toc-layers.js';

const options = { timeout: 30_000 };
const files = mixedFiles(4);
const hasZstd = layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined;
const chunked = { chunkBytes: 50_000 } as const;

/** Seen at once, when something is read, or only by who goes through the whole layer. */
type Seen = 'at once' | 'when read' | 'by a pass';

interface Lie {
  readonly seen: Seen;
  make(place: ForeignGround): LayerSource;
}

type Fields = Record<string, unknown>;
const named = (toc: TocJson, name: string): Fields =>
  toc.entries.find((entry) => entry['name'] === name) ?? {};
const chunksOf = (toc: TocJson): Fields[] => toc.entries.filter((entry) => entry['type'] === 'chunk');

function sourceOf(
  place: ForeignGround,
  layer: TocLayer,
  annotations: TocLayer['annotations'] = layer.annotations,
) {
  const { externalToc } = layer;
  const more = externalToc === undefined ? {} : { externalToc: async () => place.store.add(externalToc) };
  return place.source(layer.blob, annotations, more);
}

const estargz = (seen: Seen, more: TocLayerOptions): Lie => ({
  seen,
  make: (place) => sourceOf(place, estargzLayer(files, { ...chunked, ...more })),
});
const edited = (edit: (toc: TocJson) => void, seen: Seen = 'at once'): Lie => estargz(seen, { edit });
const entry = (change: (large: Fields) => void, seen: Seen = 'at once'): Lie =>
  edited((toc) => change(named(toc, 'usr/lib/large')), seen);
const withText = (json: (text: string) => string | Uint8Array): Lie => estargz('at once', { json });
const footer = (make: (tocOffset: number) => Uint8Array): Lie => estargz('at once', { footer: make });
const annotated = (annotations: Readonly<Record<string, string>>): Lie => ({
  seen: 'at once',
  make: (place) => sourceOf(place, estargzLayer(files, chunked), annotations),
});
const tocKey = 'containerd.io/snapshot/stargz/toc.digest';

const estargzLies: Readonly<Record<string, Lie>> = {
  'another digest in the manifest': annotated({ [tocKey]: `sha256:${'0'.repeat(64)}` }),
  'a digest that is none': annotated({ [tocKey]: 'latest' }),
  'a digest of another algorithm': annotated({ [tocKey]: `sha512:${'0'.repeat(128)}` }),
  'a version that is not known': edited((toc) => void (toc.version = 2)),
  'no version': withText((text) => text.replace('"version": 1,', '')),
  'no entries': withText((text) => text.replace('"entries"', '"things"')),
  'entries twice': withText((text) => text.replace(/\}$/, ',"entries":[]}')),
  'entries that are null': withText(() => '{"version":1,"entries":null}'),
  'entries that are an object': withText(() => '{"version":1,"entries":{"a":{}}}'),
  'an entry that is a number': withText((text) => text.replace('"entries": [', '"entries": [ 5,')),
  'an entry that is an array': withText((text) => text.replace('"entries": [', '"entries": [ [],')),
  'a comma too many': withText((text) => text.replace('"entries": [', '"entries": [ ,')),
  'no JSON': withText(() => 'stargz'),
  'JSON that is cut off': withText((text) => text.slice(0, -100)),
  'JSON nested deep': withText(
    () => `{"version":1,"x":${'['.repeat(100_000)}${']'.repeat(100_000)},"entries":[]}`,
  ),
  'an entry nested deep': edited((toc) => {
    let deep: unknown = 1;
    for (let level = 0; level < 50; level += 1) deep = { deep };
    named(toc, 'usr/bin/tool')['x'] = deep;
  }),
  'an entry of 2 MiB': edited((toc) => void (named(toc, 'usr/bin/tool')['x'] = 'x'.repeat(2 << 20))),
  'much that is no entry': withText((text) =>
    text.replace('"version"', `"x": "${'x'.repeat(100_000)}", "version"`),
  ),
  'a type that is not known': entry((large) => void (large['type'] = 'door')),
  'a type of Object': entry((large) => void (large['type'] = 'constructor')),
  'no type': entry((large) => void delete large['type']),
  'a name that is a number': entry((large) => void (large['name'] = 7)),
  'a name that JSON could not carry': entry((large) => void (large['name'] = 'a\ufffd')),
  'half a surrogate pair': entry((large) => void (large['name'] = 'a\ud800')),
  'a negative size': entry((large) => void (large['size'] = -1)),
  'half a byte': entry((large) => void (large['size'] = 1.5)),
  'a size as text': entry((large) => void (large['size'] = '600001')),
  'a size beyond 2^53': entry((large) => void (large['size'] = 2 ** 60)),
  'a size beyond all layers': entry((large) => void (large['size'] = 2 ** 50)),
  'a size that is too small': entry((large) => void (large['size'] = 5)),
  'a size that is too large': entry((large) => void (large['size'] = 600_002), 'when read'),
  'a negative offset': entry((large) => void (large['offset'] = -5)),
  'no offset': entry((large) => void delete large['offset']),
  'an offset behind the table': entry((large) => void (large['offset'] = 10 ** 9)),
  'offsets that go back': edited((toc) => void (named(toc, 'many/f9')['offset'] = 1)),
  'a chunk before any file': edited(
    (toc) => void toc.entries.unshift({ type: 'chunk', name: 'x', offset: 5 }),
  ),
  'a chunk of another file': edited((toc) => void ((chunksOf(toc)[0] ?? {})['name'] = 'usr')),
  'chunks with a gap': edited((toc) => void ((chunksOf(toc)[0] ?? {})['chunkOffset'] = 50_001)),
  'chunks that overlap': edited((toc) => void ((chunksOf(toc)[1] ?? {})['chunkOffset'] = 1)),
  'a chunk that is missing': edited(
    (toc) => void toc.entries.splice(toc.entries.indexOf(chunksOf(toc)[2] ?? {}), 1),
  ),
  'a chunk twice': edited((toc) => {
    const [chunk = {}] = chunksOf(toc);
    toc.entries.splice(toc.entries.indexOf(chunk), 0, chunk);
  }),
  'a chunk longer than its file': edited((toc) => void ((chunksOf(toc)[0] ?? {})['chunkSize'] = 10 ** 6)),
  'a chunk deep in its member': entry((large) => void (large['innerOffset'] = 2 ** 30)),
  'no digest of a chunk': edited((toc) => void delete (chunksOf(toc)[0] ?? {})['chunkDigest']),
  'a digest of a chunk that is none': edited(
    (toc) => void ((chunksOf(toc)[0] ?? {})['chunkDigest'] = 'sha256:x'),
  ),
  'a chunk of a kind that is not known': edited(
    (toc) => void ((chunksOf(toc)[0] ?? {})['chunkType'] = 'ones'),
  ),
  'an extended attribute that is not base64': entry((large) => void (large['xattrs'] = { 'user.x': '!!' })),
  'extended attributes that are a list': entry((large) => void (large['xattrs'] = ['x'])),
  'a time that is none': entry((large) => void (large['modtime'] = 'yesterday')),
  'a day that is none': entry((large) => void (large['modtime'] = '2021-02-30T00:00:00Z')),
  'a mode that is text': entry((large) => void (large['mode'] = '0644')),
  'a footer that points behind the layer': footer(() => estargzFooter(10 ** 12)),
  'a footer that points to the start': footer(() => estargzFooter(0)),
  'a footer that points into a file': footer((at) => estargzFooter(at - 1000)),
  'a footer that is none': footer(() => Buffer.alloc(51)),
  'a footer of another tool': footer((at) =>
    Buffer.from(estargzFooter(at).toString('latin1').replace('STARGZ', 'STARGX'), 'latin1'),
  ),
  'an archive with another name': estargz('at once', { tocName: 'stargz.index.jsonx' }),
  'a digest of another chunk': edited((toc) => {
    const [first = {}, second = {}] = chunksOf(toc);
    first['chunkDigest'] = second['chunkDigest'];
  }, 'when read'),
  'a place of another chunk': edited((toc) => {
    const chunks = chunksOf(toc);
    (chunks[0] ?? {})['offset'] = chunks[1]?.['offset'];
  }),
  'a member that is left out': entry((large) => void (large['innerOffset'] = 1), 'when read'),
  'a name of another file': edited((toc) => {
    named(toc, 'many/f9')['name'] = 'many/other';
  }, 'by a pass'),
  'a mode of another file': entry((large) => void (large['mode'] = 0o4777), 'by a pass'),
  'an owner of another file': entry((large) => void (large['uid'] = 12), 'by a pass'),
  'a file that is not there': edited(
    (toc) => void toc.entries.push({ name: 'etc/extra', type: 'symlink', linkName: '/etc/shadow' }),
    'by a pass',
  ),
  'a file left out': edited((toc) => void toc.entries.splice(toc.entries.length - 2, 1), 'by a pass'),
  'a table that is elsewhere and nowhere': {
    seen: 'at once',
    make: (place) => {
      const { blob, annotations } = estargzLayer(files, { external: true });
      return place.source(blob, annotations, { externalToc: async () => undefined });
    },
  },
  'a table elsewhere that is another': {
    seen: 'at once',
    make: (place) => {
      const { blob, annotations } = estargzLayer(files, { external: true });
      const other = estargzLayer(files.slice(3), { external: true }).externalToc ?? Buffer.alloc(0);
      return place.source(blob, annotations, { externalToc: async () => place.store.add(other) });
    },
  },
};

const prefix = 'io.github.containers.zstd-chunked.manifest';

function chunkedLie(change: (position: number[], annotations: Record<string, string>) => void): Lie {
  return {
    seen: 'at once',
    make: (place) => {
      const made = zstdChunkedLayer(files);
      const annotations = { ...made.annotations };
      const position = (annotations[`${prefix}-position`] ?? '').split(':').map(Number);
      change(position, annotations);
      return place.source(made.blob, { [`${prefix}-position`]: position.join(':'), ...annotations });
    },
  };
}

/** Only the position is another one. */
const moved = (change: (position: number[]) => void): Lie =>
  chunkedLie((position, annotations) => {
    change(position);
    delete annotations[`${prefix}-position`];
  });

const zstdEdited = (edit: (toc: TocJson) => void, seen: Seen = 'at once'): Lie => ({
  seen,
  make: (place) => sourceOf(place, zstdChunkedLayer(files, { edit, chunkBytes: 100_000 })),
});

const zstdLies: Readonly<Record<string, Lie>> = {
  'a position that is text': chunkedLie(
    (_, annotations) => void (annotations[`${prefix}-position`] = 'here'),
  ),
  'a position of three numbers': moved((position) => void position.pop()),
  'a position behind the layer': moved((position) => void (position[0] = 10 ** 12)),
  'a position at the start': moved((position) => void (position[0] = 0)),
  'a position beside the table': moved((position) => void (position[0] = (position[0] ?? 0) + 1)),
  'a length of nothing': moved((position) => void (position[1] = 0)),
  'a length beyond the layer': moved((position) => void (position[1] = 10 ** 9)),
  'a decoded length that is too short': moved((position) => void (position[2] = (position[2] ?? 0) - 1)),
  'a decoded length that is too long': moved((position) => void (position[2] = (position[2] ?? 0) + 1)),
  'a decoded length of a petabyte': moved((position) => void (position[2] = 10 ** 15)),
  'a type that is not known': moved((position) => void (position[3] = 2)),
  'another checksum': chunkedLie(
    (_, annotations) => void (annotations[`${prefix}-checksum`] = `sha256:${'1'.repeat(64)}`),
  ),
  'a file that ends before it begins': zstdEdited(
    (toc) => void (named(toc, 'usr/bin/tool')['endOffset'] = 1),
  ),
  'a file that ends behind the data': zstdEdited(
    (toc) => void (named(toc, 'usr/bin/tool')['endOffset'] = 10 ** 9),
  ),
  'zeros that are none': zstdEdited((toc) => {
    const chunk = chunksOf(toc).find((each) => each['chunkType'] !== 'zeros') ?? {};
    chunk['chunkType'] = 'zeros';
  }, 'when read'),
  'a digest of another file': zstdEdited((toc) => {
    named(toc, 'many/f5')['digest'] = named(toc, 'many/f6')['digest'];
  }, 'when read'),
};

async function readAll(layer: Layer): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let row = 0; row < layer.table.count; row += 1) {
    const path = Buffer.from(layer.table.path(row), 'latin1').toString();
    if (layer.table.kind(row) !== 'file' || path.startsWith('stargz.index.json')) continue;
    found.set(
      path,
      createHash('sha256')
        .update(await contentOf(layer, row))
        .digest('hex'),
    );
  }
  return found;
}

const truth = new Map(
  (files as readonly TocFile[])
    .filter((file) => (file.type ?? 'reg') === 'reg')
    .map((file) => [
      file.name,
      createHash('sha256')
        .update(file.content ?? '')
        .digest('hex'),
    ]),
);

const sorted = (found: ReadonlyMap<string, string>): readonly string[] =>
  [...found].map(([path, digest]) => `${path} ${digest}`).sort();

async function assertHonest(t: TestContext, lie: Lie): Promise<void> {
  const place = await foreignGround(t);
  const source = lie.make(place);
  const store = await place.layers();
  const layer = await store.openLayer(source);
  await layer.whenReady();
  if (lie.seen === 'at once') assert.equal(layer.origin, 'pass', 'it is not used');
  else assert.notEqual(layer.origin, 'pass', 'it cannot be seen yet');
  let found: Map<string, string> | undefined;
  try {
    found = await readAll(layer);
    // A name may be wrong for as long as nobody has gone through the layer; bytes may not.
    for (const [path, digest] of found) if (truth.has(path)) assert.equal(digest, truth.get(path), path);
  } catch (error) {
    assert.ok(isImgfsError(error), String(error));
    assert.notEqual(lie.seen, 'at once', error.message);
  }
  // Gone through once: from then on it is shown as it is.
  await layer.whenIndexed();
  if (lie.seen === 'by a pass') await assert.rejects(layer.whenReady(), { code: 'stale' });
  await layer.close();
  const again = await store.openLayer(source);
  await again.whenReady();
  assert.equal(again.origin, 'pass');
  assert.equal(again.identity, source.descriptor.digest);
  assert.deepEqual(sorted(await readAll(again)), sorted(truth));
  await again.close();
}

for (const [name, lie] of Object.entries(estargzLies)) {
  test(`eStargz that lies: ${name}`, options, (t) => assertHonest(t, lie));
}

for (const [name, lie] of Object.entries(zstdLies)) {
  test(`zstd:chunked that lies: ${name}`, options, async (t) => {
    if (!hasZstd) return t.skip('no zstd here');
    await assertHonest(t, lie);
  });
}

/** The layer of the zTOCs below, and a true one. */
const sociBlob = gzipSync(estargzLayer(files, { external: true }).tar);
let trueZtoc: Uint8Array | undefined;

async function makeZtoc(t: TestContext): Promise<Buffer> {
  if (trueZtoc === undefined) {
    const place = await foreignGround(t);
    const source = place.source(sociBlob);
    const cache = await DiskCache.open({ directory: join(await tempDir(t, 'ztoc'), 'cache') });
    const layers = new LayerStore({ cache });
    const layer = await layers.openLayer(source);
    await layer.whenIndexed();
    await layer.close();
    trueZtoc = await exportZtoc({ source, cache, spanBytes: 64 << 10, buildTool: 'imgfs test' });
    await layers.close();
    await cache.close();
  }
  return Buffer.from(trueZtoc);
}

function replaced(bytes: Buffer, from: string, to: string): Buffer {
  const at = bytes.indexOf(from);
  assert.ok(at >= 0, from);
  bytes.write(to, at, 'latin1');
  return bytes;
}

/** Where the places begin in the buffer. */
const placesAt = (bytes: Buffer): number => parseZtoc(bytes).checkpoints.byteOffset - bytes.byteOffset;

const sociLies: Readonly<Record<string, (bytes: Buffer) => Uint8Array>> = {
  nothing: () => Buffer.alloc(0),
  zeros: () => Buffer.alloc(1000),
  ones: () => Buffer.alloc(1000, 0xff),
  'its first half': (bytes) => bytes.subarray(0, bytes.length / 2),
  'its second half': (bytes) => bytes.subarray(bytes.length / 2),
  'a version that is not known': (bytes) => replaced(bytes, '0.9', '7.9'),
  'a type that is not known': (bytes) => replaced(bytes, 'reg\0', 'rex\0'),
  'a time that is none': (bytes) => replaced(bytes, '2020-09-13T12:26:40Z', '2020-09-33T12:26:40Z'),
  'a digest that is none': (bytes) => replaced(bytes, 'sha256:', 'sha255:'),
  'another digest of a span': (bytes) => {
    const at = bytes.indexOf('sha256:') + 10;
    bytes[at] = bytes[at] === 0x30 ? 0x31 : 0x30;
    return bytes;
  },
  'the size of another layer': (bytes) => {
    const size = Buffer.alloc(8);
    size.writeBigInt64LE(BigInt(sociBlob.length));
    const at = bytes.lastIndexOf(size);
    bytes.writeBigInt64LE(BigInt(sociBlob.length + 1), at < 0 ? bytes.indexOf(size) : at);
    return bytes;
  },
  'fewer places than it says': (bytes) => {
    bytes.writeInt32LE(1, placesAt(bytes));
    return bytes;
  },
  'a negative number of places': (bytes) => {
    bytes.writeInt32LE(-1, placesAt(bytes));
    return bytes;
  },
  'a place behind the layer': (bytes) => {
    bytes.writeBigInt64LE(10n ** 12n, placesAt(bytes) + 12 + 32785);
    return bytes;
  },
  'a negative place': (bytes) => {
    bytes.writeBigInt64LE(-5n, placesAt(bytes) + 12 + 32785);
    return bytes;
  },
  'a place that decodes to nowhere': (bytes) => {
    bytes.writeBigInt64LE(10n ** 15n, placesAt(bytes) + 12 + 32785 + 8);
    return bytes;
  },
  'nine bits of a byte': (bytes) => {
    bytes[placesAt(bytes) + 12 + 16] = 9;
    return bytes;
  },
  'a first place that is not the first': (bytes) => {
    bytes.writeBigInt64LE(512n, placesAt(bytes) + 12 + 8);
    return bytes;
  },
};

for (const [name, change] of Object.entries(sociLies)) {
  test(`SOCI that lies: ${name}`, options, async (t) => {
    if (layerAddon() === undefined) return t.skip('places inside a stream need the addon');
    const ztoc = change(await makeZtoc(t));
    const seen = name === 'another digest of a span' ? 'when read' : 'at once';
    await assertHonest(t, {
      seen,
      make: (place) => {
        const found = place.store.add(ztoc);
        return place.source(sociBlob, undefined, {
          soci: { key: name, isBound: true, ztoc: async () => found },
        });
      },
    });
  });
}

test('what binds a table in one image binds none in another', options, async (t) => {
  // The same layer: one image binds its own table, another one that lies.
  const place = await foreignGround(t);
  const made = estargzLayer(files, chunked);
  const lying = estargzLayer(
    files.map((file) => ({ ...file, ...(file.name === 'many/f4' ? { mode: 0o4777 } : {}) })),
    { external: true },
  );
  const blob = estargzLayer(files, { external: true }).blob;
  const evil = place.source(blob, lying.annotations, {
    externalToc: async () => place.store.add(lying.externalToc ?? Buffer.alloc(0)),
  });
  const store = await place.layers();
  const first = await store.openLayer(evil);
  await first.whenReady();
  assert.equal(first.origin, 'estargz');
  const plain = await store.openLayer(place.source(blob));
  await plain.whenReady();
  assert.equal(plain.origin, 'pass');
  assert.notEqual(first.identity, plain.identity);
  assert.deepEqual(sorted(await readAll(plain)), sorted(truth));
  const other = await store.openLayer(place.source(made.blob, made.annotations));
  await other.whenReady();
  assert.equal(other.origin, 'estargz');
  for (const layer of [first, plain, other]) await layer.close();
});
