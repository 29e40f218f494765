import assert from 'node:assert/strict';
import { readFile, readdir, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ErrorCode } from '../../../../src/errors/codes.js';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import type { Descriptor } from '../../../../src/oci/descriptor.js';
import { digestHex, digestOf } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import {
  openArchiveStore,
  type ArchiveStore,
  type ArchiveStoreOptions,
  type ArchiveTransport,
} from '../../../../src/store/archive/archive-store.js';
import { openArchiveFile } from '../../../../src/store/archive/archive-file.js';
import { canUnpackByAddon, canUnpackZstd, nodeZstd } from '../../../../src/store/archive/unpack-native.js';
import { buildSaved, directoryEntries, savedEntries, writeArchive } from '../../../support/archive-writer.js';
import { collect, readBody, readRange } from '../../../support/bodies.js';
import { mustRun, skipWithout } from '../../../support/child.js';
import { sampleImage } from '../../../support/image-builder.js';
import { writeLayout } from '../../../support/layout-writer.js';
import { buildTar, compressLayer, type TarEntry } from '../../../support/tar-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };
const noZstd = nodeZstd() === undefined && !canUnpackZstd() && 'neither the addon nor Node unpacks zstd';

async function write(t: TestContext, bytes: Uint8Array): Promise<string> {
  const path = join(await tempDir(t, 'archive'), 'archive.tar');
  await writeFile(path, bytes);
  return path;
}

async function open(
  t: TestContext,
  transport: ArchiveTransport,
  bytes: Uint8Array,
  options: ArchiveStoreOptions = {},
): Promise<ArchiveStore> {
  const path = await write(t, bytes);
  const store = await openArchiveStore(transport, path, options);
  t.after(() => store.close());
  return store;
}

async function rejects(work: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isImgfsError(error, code), `${String(error)} is not ${code}`);
    assert.match(`${error.message} ${error.hint ?? ''}`, says);
    return true;
  });
}

async function manifestOf(store: ArchiveStore, tag: string, repository = ''): Promise<readonly Descriptor[]> {
  const { descriptor } = await store.resolve({ repository, tag });
  const bytes = await readBody(await store.fetch(repository, descriptor));
  assert.equal(digestOf(bytes), descriptor.digest);
  const manifest = parseManifest(bytes, descriptor.mediaType);
  assert.ok(manifest.kind === 'image');
  return [manifest.config, ...manifest.layers];
}

async function layoutEntries(t: TestContext, tag: string, seed = 1): Promise<TarEntry[]> {
  const directory = await tempDir(t, 'layout');
  await writeLayout(directory, [{ image: await sampleImage({ seed }), name: tag }]);
  return directoryEntries(directory);
}

describe('docker-archive', limits, () => {
  it('gives every image a manifest of what is stored', async (t) => {
    const [one, two] = [await sampleImage({ seed: 1 }), await sampleImage({ seed: 2 })];
    const bytes = await buildSaved([
      { image: one, tags: ['alpine:3.20', 'registry.example:5000/team/app:v1'] },
      { image: two, tags: [] },
    ]);
    const store = await open(t, 'docker-archive', bytes);
    assert.deepEqual(await collect(store.repositories()), [
      '',
      'docker.io/library/alpine',
      'registry.example:5000/team/app',
    ]);
    assert.deepEqual(await collect(store.tags('alpine')), ['3.20']);
    const [config, ...layers] = await manifestOf(store, '3.20', 'alpine');
    assert.ok(config);
    assert.equal(config.digest, one.config.descriptor.digest);
    assert.deepEqual(
      layers.map(({ digest }) => digest),
      one.layers.map(({ diffId }) => diffId),
    );
    for (const [at, layer] of layers.entries()) {
      assert.equal(layer.mediaType, mediaTypes.dockerLayer);
      assert.deepEqual(await readBody(await store.fetch('', layer)), Buffer.from(one.layers[at]?.tar ?? ''));
      assert.equal((await store.statBlob('', layer.digest)).size, layer.size);
    }
    const [second] = await manifestOf(store, '@1');
    assert.equal(second?.digest, two.config.descriptor.digest);
    const again = await open(t, 'docker-archive', bytes);
    assert.deepEqual(
      await again.resolve({ repository: '', tag: '@0' }),
      await store.resolve({ repository: '', tag: '@0' }),
    );
  });

  it('takes no list of images out of the end of a layer, and one at the end as any other', async (t) => {
    const image = await sampleImage();
    const entries = savedEntries([{ image, tags: ['real:v1'] }]);
    const decoy = await buildTar([
      { name: 'c.json', content: JSON.stringify({ rootfs: { type: 'layers', diff_ids: [] } }) },
      {
        name: 'manifest.json',
        content: JSON.stringify([{ Config: 'c.json', RepoTags: ['decoy:v1'], Layers: [] }]),
      },
    ]);
    const layers = [1, 2, 3, 4, 5, 6].map((at) => ({
      name: `${at}.tar`,
      content: Buffer.alloc(200_000, at),
    }));
    for (const order of [
      [...entries, ...layers, { name: 'last.tar', content: decoy }],
      [{ name: 'first.tar', content: decoy }, ...layers, ...entries],
    ]) {
      const store = await open(t, 'docker-archive', await buildTar(order));
      assert.deepEqual(await collect(store.repositories()), ['docker.io/library/real']);
      const [config] = await manifestOf(store, 'v1', 'real');
      assert.equal(config?.digest, image.config.descriptor.digest);
    }
  });

  it('refuses a layer that is there once more behind a list that was read beforehand', async (t) => {
    const entries = savedEntries([{ image: await sampleImage(), tags: ['real:v1'] }]);
    const filler = [1, 2, 3, 4, 5, 6].map((at) => ({
      name: `filler-${at}`,
      content: Buffer.alloc(200_000, at),
    }));
    const layer = entries.find(({ name }) => name.endsWith('.tar'));
    assert.ok(layer);
    const doubled = [layer, ...filler, ...entries];
    await rejects(
      openArchiveStore('docker-archive', await write(t, await buildTar(doubled))),
      'invalid-content',
      /there more than once/,
    );
  });

  it('reads the older form: directories of layers, links between equal ones, metadata anywhere', async (t) => {
    const image = await sampleImage();
    const [first, second] = image.layers;
    assert.ok(first && second);
    const config = JSON.parse(Buffer.from(image.config.bytes).toString()) as {
      rootfs: { diff_ids: string[] };
    };
    config.rootfs.diff_ids = [first.diffId, second.diffId, first.diffId];
    const manifest = [
      { Config: 'c.json', RepoTags: ['a:b'], Layers: ['1/layer.tar', '2/layer.tar', '3/layer.tar'] },
    ];
    const bytes = await buildTar([
      { name: 'manifest.json', content: JSON.stringify(manifest) },
      { name: '3/' },
      { name: '3/layer.tar', linkname: '../1/layer.tar' },
      { name: '1/VERSION', content: '1.0' },
      { name: '1/layer.tar', content: first.tar },
      { name: 'c.json', content: JSON.stringify(config) },
      { name: '2/layer.tar', content: second.tar },
      { name: 'repositories', content: '{}' },
    ]);
    const store = await open(t, 'docker-archive', bytes);
    const [, ...layers] = await manifestOf(store, 'b', 'a');
    assert.deepEqual(
      layers.map(({ digest }) => digest),
      config.rootfs.diff_ids,
    );
  });

  it('reads compressed layers under the digest of what is stored', async (t) => {
    const image = await sampleImage();
    const entries = savedEntries([{ image, tags: ['a:b'] }]).map((entry) => {
      const layer = image.layers.find(({ diffId }) => entry.name.startsWith(digestHex(diffId)));
      return layer === undefined ? entry : { ...entry, content: layer.bytes };
    });
    const store = await open(t, 'docker-archive', await buildTar(entries));
    const [, ...layers] = await manifestOf(store, 'b', 'a');
    assert.deepEqual(
      layers.map(({ digest, mediaType }) => [digest, mediaType]),
      image.layers.map(({ descriptor }) => [descriptor.digest, mediaTypes.dockerLayerGzip]),
    );
    const [layer] = layers;
    assert.ok(layer);
    assert.equal(digestOf(await readBody(await store.fetch('', layer))), layer.digest);
  });

  it('remembers digests that cost a pass over a layer', async (t) => {
    const image = await sampleImage();
    const entries = savedEntries([{ image, tags: ['a:b'] }]).map((entry) => {
      const layer = image.layers.find(({ diffId }) => entry.name === `${digestHex(diffId)}.tar`);
      return layer === undefined ? entry : { ...entry, content: layer.bytes };
    });
    const spoolDirectory = await tempDir(t, 'spool');
    const path = await write(t, await buildTar(entries));
    const layerDigests = async (): Promise<readonly string[]> => {
      const store = await openArchiveStore('docker-archive', path, { spoolDirectory });
      t.after(() => store.close());
      return (await manifestOf(store, 'b', 'a')).slice(1).map(({ digest }) => digest);
    };
    const digests = image.layers.map(({ descriptor }) => descriptor.digest);
    assert.deepEqual(await layerDigests(), digests);
    const facts = await readdir(join(spoolDirectory, 'facts'));
    assert.equal(facts.length, 2);
    for (const fact of facts) {
      const file = join(spoolDirectory, 'facts', fact);
      const kept = JSON.parse(await readFile(file, 'utf8'));
      await writeFile(file, JSON.stringify({ ...kept, fact: `sha256:${'7'.repeat(64)}` }));
    }
    // What is remembered is what is believed: the bytes are verified when they are read.
    assert.deepEqual(new Set(await layerDigests()), new Set([`sha256:${'7'.repeat(64)}`]));
  });

  it('keeps the manifests of an archive that is a layout too, and finds images only one side names', async (t) => {
    const directory = await tempDir(t, 'layout');
    const [both, onlyLayout, onlyDocker] = await Promise.all([1, 2, 3].map((seed) => sampleImage({ seed })));
    assert.ok(both && onlyLayout && onlyDocker);
    await writeLayout(directory, [
      { image: both, name: 'v1', annotations: { 'io.containerd.image.name': 'docker.io/library/both:v1' } },
      { image: onlyLayout, name: 'v2' },
    ]);
    const entries = [
      ...(await directoryEntries(directory)),
      ...savedEntries([
        { image: both, tags: ['both:v1', 'more:v1'] },
        { image: onlyDocker, tags: [] },
      ]),
    ];
    const store = await open(t, 'docker-archive', await buildTar(entries));
    const digest = async (tag: string, repository = ''): Promise<string> =>
      (await store.resolve({ repository, tag })).descriptor.digest;
    assert.equal(await digest('v1', 'both'), both.descriptor.digest);
    assert.equal(await digest('v1', 'more'), both.descriptor.digest);
    assert.equal(await digest('v1'), both.descriptor.digest);
    assert.equal(await digest('v2'), onlyLayout.descriptor.digest);
    assert.equal((await manifestOf(store, '@1'))[0]?.digest, onlyDocker.config.descriptor.digest);
    assert.equal((await store.images()).length, 3);
  });

  it('says what is wrong', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const entries = savedEntries([{ image, tags: ['a:b'] }]);
    const without = (suffix: string): TarEntry[] => entries.filter(({ name }) => !name.endsWith(suffix));
    const layerName = `${digestHex(image.layers[0]?.diffId ?? image.descriptor.digest)}.tar`;
    const configName = digestHex(image.config.descriptor.digest);
    const withManifest = (content: unknown): TarEntry[] => [
      ...without('manifest.json'),
      { name: 'manifest.json', content: typeof content === 'string' ? content : JSON.stringify(content) },
    ];
    const item = { Config: `${configName}.json`, RepoTags: ['a:b'], Layers: [layerName] };
    for (const [wrong, code, says] of [
      [without('manifest.json'), 'invalid-content', /no manifest.json.*tar -tf/],
      [
        [...without('manifest.json'), { name: 'repositories', content: '{}' }],
        'unsupported',
        /older than 1.10/,
      ],
      [await layoutEntries(t, 'v1'), 'invalid-content', /use oci-archive:/],
      [without(layerName), 'invalid-content', /missing/],
      [without(`${configName}.json`), 'invalid-content', /missing/],
      [withManifest([item]), 'invalid-content', /has 2 layers, manifest.json 1/],
      [withManifest([{ ...item, Config: '../../etc/passwd' }]), 'invalid-content', /missing/],
      [withManifest([{ ...item, RepoTags: ['A B'] }]), 'invalid-content', /is no name/],
      [withManifest({}), 'invalid-content', /not a list/],
      [withManifest('null'), 'invalid-content', /not a list/],
      [withManifest('{'), 'invalid-content', /manifest.json/],
      [[...entries, { name: 'manifest.json', content: '[]' }], 'invalid-content', /more than once/],
    ] as const) {
      const path = await write(t, await buildTar(wrong));
      await rejects(openArchiveStore('docker-archive', path), code, says);
    }
    await rejects(openArchiveStore('docker-archive', '/nonexistent/archive.tar'), 'not-found');
    await rejects(openArchiveStore('docker-archive', '/'), 'invalid-content', /not a regular file/);
  });

  it('refuses two images of one name', async (t) => {
    const images = await Promise.all([1, 2].map((seed) => sampleImage({ seed, payloadBytes: 10 })));
    const store = await open(
      t,
      'docker-archive',
      await buildSaved(images.map((image) => ({ image, tags: ['a:b'] }))),
    );
    await rejects(store.resolve({ repository: 'a', tag: 'b' }), 'invalid-content', /@0, @1/);
  });
});

describe('oci-archive', limits, () => {
  it('reads members in any order, in ranges', async (t) => {
    const image = await sampleImage();
    for (const order of [1, -1]) {
      const entries = (await layoutEntries(t, 'v1')).sort((a, b) => (a.name < b.name ? -order : order));
      const prefixed = entries.map((entry) => ({
        ...entry,
        name: order === 1 ? `./${entry.name}` : entry.name,
      }));
      const store = await open(t, 'oci-archive', await buildTar(prefixed));
      const { descriptor } = await store.resolve({ repository: '' });
      assert.equal(descriptor.digest, image.descriptor.digest);
      const layer = image.layers[1];
      assert.ok(layer);
      const range = { start: 1000, end: 150_000 };
      assert.deepEqual(
        await readRange(await store.fetch('', layer.descriptor, { range }), range),
        Buffer.from(layer.bytes.subarray(1000, 150_000)),
      );
    }
  });

  it('reads compressed archives, within a limit', async (t) => {
    const tar = await buildTar(await layoutEntries(t, 'v1'));
    const spoolDirectory = await tempDir(t, 'spool');
    const store = await open(t, 'oci-archive', gzipSync(tar), { spoolDirectory });
    assert.equal((await manifestOf(store, 'v1')).length, 3);
    const small = { spoolDirectory, maxSpoolBytes: 10_000 };
    await rejects(open(t, 'oci-archive', gzipSync(tar), small), 'too-large', /10000/);
    await rejects(
      open(t, 'oci-archive', gzipSync(tar).subarray(0, 5000), { spoolDirectory }),
      'invalid-content',
      /cut short/,
    );
    await rejects(open(t, 'oci-archive', Buffer.from('fd377a585a0000', 'hex')), 'unsupported', /xz -d/);
    // It is made when it is not there; a file in its place is an error that names it.
    const nested = { spoolDirectory: join(spoolDirectory, 'not', 'yet') };
    assert.equal((await manifestOf(await open(t, 'oci-archive', gzipSync(tar), nested), 'v1')).length, 3);
    await writeFile(join(spoolDirectory, 'file'), '');
    const gone = { spoolDirectory: join(spoolDirectory, 'file', 'nowhere') };
    await rejects(open(t, 'oci-archive', gzipSync(tar), gone), 'not-dir', /nowhere/);
  });

  it('reads zstd, within a limit', { skip: skipWithout('zstd') || noZstd }, async (t) => {
    const packed = await compressLayer(await buildTar(await layoutEntries(t, 'v1')), 'zstd');
    const spoolDirectory = await tempDir(t, 'spool');
    const store = await open(t, 'oci-archive', packed, { spoolDirectory });
    assert.equal((await manifestOf(store, 'v1')).length, 3);
    await rejects(
      open(t, 'oci-archive', packed, { spoolDirectory, maxSpoolBytes: 10_000 }),
      'too-large',
      /10000/,
    );
    await rejects(open(t, 'oci-archive', packed.subarray(0, 5000), { spoolDirectory }), 'invalid-content');
    const flipped = Buffer.from(packed);
    flipped.fill(0, 100, 200);
    await rejects(open(t, 'oci-archive', flipped, { spoolDirectory }), 'invalid-content');
    const signal = AbortSignal.abort();
    await rejects(
      openArchiveStore('oci-archive', await write(t, packed), { spoolDirectory }, { signal }),
      'interrupted',
    );
  });

  for (const compression of ['gzip', 'zstd'] as const) {
    const skip =
      compression === 'zstd' ? skipWithout('zstd') || noZstd : !canUnpackByAddon('gzip') && 'no addon';
    it(`opens a known ${compression} archive without decompressing all of it`, { skip }, async (t) => {
      // Several runs: 9 MB that do not compress away.
      const image = await sampleImage({ payloadBytes: 9_000_000 });
      const saved = await buildSaved([{ image, tags: ['a:b'] }]);
      const path = await write(t, await compressLayer(saved, compression));
      const spoolDirectory = await tempDir(t, 'spool');
      const first = await openArchiveStore('docker-archive', path, { spoolDirectory });
      const wanted = await first.resolve({ repository: 'a', tag: 'b' });
      await first.close();
      const [name = ''] = await readdir(join(spoolDirectory, 'archives'));
      const again = await openArchiveStore('docker-archive', path, { spoolDirectory });
      t.after(() => again.close());
      const file = await openArchiveFile(path, { spoolDirectory });
      assert.equal(file.size, saved.length);
      const manifest = file.members?.find(({ name }) => name === 'manifest.json');
      assert.ok(manifest);
      await file.ensure?.(manifest.offset, manifest.offset + manifest.size);
      const text = Buffer.alloc(manifest.size);
      await file.handle.read(text, 0, text.length, manifest.offset);
      assert.match(text.toString(), /^\[\{"Config"/);
      const decoded = (await file.handle.stat()).blocks * 512;
      await file.close();
      assert.ok(decoded > 0 && decoded < saved.length / 2, `${decoded} of ${saved.length} bytes`);
      assert.deepEqual(await again.resolve({ repository: 'a', tag: 'b' }), wanted);
      const [, ...layers] = await manifestOf(again, 'b', 'a');
      const reads = layers.flatMap((layer, at) => {
        const tar = Buffer.from(image.layers[at]?.tar ?? '');
        return [0.9, 0.1, 0.5].map(async (part) => {
          const start = Math.floor(tar.length * part);
          const range = { start, end: Math.min(tar.length, start + 700_000) };
          assert.deepEqual(
            await readRange(await again.fetch('', layer, { range }), range),
            tar.subarray(range.start, range.end),
          );
        });
      });
      await Promise.all(reads);
      for (const [at, layer] of layers.entries())
        assert.deepEqual(
          await readBody(await again.fetch('', layer)),
          Buffer.from(image.layers[at]?.tar ?? ''),
        );
      // An index that was cut, or that is of other bytes, is made anew.
      await truncate(join(spoolDirectory, 'archives', name), 500);
      const third = await openArchiveStore('docker-archive', path, { spoolDirectory });
      assert.deepEqual(await third.resolve({ repository: 'a', tag: 'b' }), wanted);
      await third.close();
    });
  }

  it('follows the file when it is replaced, while bodies of the old one go on', async (t) => {
    const store = await open(t, 'oci-archive', await buildTar(await layoutEntries(t, 'v1')));
    const old = await sampleImage();
    const layer = old.layers[1];
    assert.ok(layer);
    const body = await store.fetch('', layer.descriptor);
    await writeArchive(store.path, await buildTar(await layoutEntries(t, 'v2', 2)));
    assert.deepEqual(await collect(store.tags('')), ['v2']);
    assert.deepEqual(await readBody(body), Buffer.from(layer.bytes));
    await rejects(store.fetch('', layer.descriptor), 'not-found');
    await truncate(store.path, 100);
    await rejects(store.resolve({ repository: '' }), 'invalid-content', /cut short/);
    await unlink(store.path);
    await rejects(store.resolve({ repository: '' }), 'unavailable');
    await store.close();
    await rejects(store.resolve({ repository: '' }), 'bad-handle');
  });

  it('says what is wrong', async (t) => {
    const entries = await layoutEntries(t, 'v1');
    const without = (name: string): TarEntry[] => entries.filter((entry) => entry.name !== name);
    const image = await sampleImage();
    for (const [wrong, code, says] of [
      [without('oci-layout'), 'invalid-content', /no oci-layout/],
      [without('index.json'), 'invalid-content', /no index.json/],
      [savedEntries([{ image, tags: [] }]), 'invalid-content', /use docker-archive:/],
      [[...entries, { name: 'index.json', content: '{}' }], 'invalid-content', /more than once/],
      [
        [...without('oci-layout'), { name: 'oci-layout', content: '{"imageLayoutVersion":"9"}' }],
        'unsupported',
        /9/,
      ],
    ] as const) {
      await rejects(openArchiveStore('oci-archive', await write(t, await buildTar(wrong))), code, says);
    }
  });
});

describe('archives of skopeo', limits, () => {
  it('are read as skopeo reads them', { skip: skipWithout('skopeo') }, async (t) => {
    const directory = await tempDir(t, 'skopeo');
    const layout = join(directory, 'layout');
    const image = await sampleImage();
    await writeLayout(layout, [{ image, name: 'v1' }]);
    const copy = async (target: string): Promise<void> =>
      void (await mustRun('skopeo', ['--insecure-policy', 'copy', `oci:${layout}:v1`, target]));
    await copy(`oci-archive:${directory}/oci.tar:v1`);
    await copy(`docker-archive:${directory}/docker.tar:example.org/app:v1`);
    await copy(`dir:${directory}/dir`);
    const oci = await openArchiveStore('oci-archive', join(directory, 'oci.tar'));
    t.after(() => oci.close());
    assert.equal(
      (await oci.resolve({ repository: '', tag: 'v1' })).descriptor.digest,
      image.descriptor.digest,
    );
    const docker = await openArchiveStore('docker-archive', join(directory, 'docker.tar'));
    t.after(() => docker.close());
    const [config, ...layers] = await manifestOf(docker, 'v1', 'example.org/app');
    const raw = await mustRun('skopeo', ['inspect', '--raw', `docker-archive:${directory}/docker.tar`]);
    const theirs = parseManifest(Buffer.from(raw.stdout));
    assert.ok(theirs.kind === 'image');
    assert.deepEqual(config, theirs.config);
    assert.deepEqual(
      layers.map(({ digest, size }) => [digest, size]),
      theirs.layers.map(({ digest, size }) => [digest, size]),
    );
    for (const layer of layers)
      assert.equal(digestOf(await readBody(await docker.fetch('', layer))), layer.digest);
    assert.ok(
      (await readFile(join(directory, 'dir', 'version'), 'latin1')).startsWith('Directory Transport'),
    );
  });
});
