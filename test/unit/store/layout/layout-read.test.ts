import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFile,
  chmod,
  mkdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { ErrorCode } from '../../../../src/errors/codes.js';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import type { Descriptor } from '../../../../src/oci/descriptor.js';
import { digestHex, digestOf, parseDigest } from '../../../../src/oci/digest.js';
import { parsePlatform } from '../../../../src/oci/platform.js';
import type { LayoutStore } from '../../../../src/store/layout/layout-store.js';
import { openLayoutStore } from '../../../../src/store/layout/open-layout.js';
import {
  isDeleter,
  isPusher,
  isReferrersFinder,
  isTagLister,
  type ByteRange,
} from '../../../../src/store/store.js';
import { buildArtifact, buildIndex, sampleImage } from '../../../support/image-builder.js';
import { writeLayout, type LayoutEntry } from '../../../support/layout-writer.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 20_000 };

async function layout(t: TestContext, entries: readonly LayoutEntry[]): Promise<LayoutStore> {
  const directory = await tempDir(t, 'layout');
  await writeLayout(directory, entries);
  return openLayoutStore(directory);
}

async function read(store: LayoutStore, descriptor: Descriptor, range?: ByteRange): Promise<Buffer> {
  const body = await store.fetch('', descriptor, range === undefined ? {} : { range });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function list(names: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const name of names) all.push(name);
  return all;
}

async function rejects(work: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isImgfsError(error, code), `${String(error)} is not ${code}`);
    assert.match(`${error.message} ${error.hint ?? ''}`, says);
    return true;
  });
}

describe('names in a layout', limits, () => {
  it('follow every convention, and one image may have several', async (t) => {
    const [one, two, three] = await Promise.all(
      [1, 2, 3].map((seed) => sampleImage({ seed, payloadBytes: 10 })),
    );
    assert.ok(one && two && three);
    const store = await layout(t, [
      { image: one, name: 'v1' },
      {
        image: two,
        name: 'alpine:3.20',
        annotations: { 'io.containerd.image.name': 'docker.io/library/alpine:latest' },
      },
      { image: three },
      { image: one, name: 'registry.example:5000/team/app:v2' },
      {
        image: one,
        name: '3.19',
        annotations: { 'io.containerd.image.name': 'docker.io/library/alpine:3.19' },
      },
      { image: one, name: 'v1+build' },
    ]);
    const at = async (repository: string, tag?: string): Promise<string> =>
      (await store.resolve({ repository, ...(tag === undefined ? {} : { tag }) })).descriptor.digest;
    assert.deepEqual(await list(store.repositories()), [
      '',
      'docker.io/library/alpine',
      'registry.example:5000/team/app',
    ]);
    assert.deepEqual(await list(store.tags('')), ['3.19', 'v1']);
    assert.deepEqual(await list(store.tags('docker.io/library/alpine')), ['3.19', '3.20', 'latest']);
    assert.deepEqual(await list(store.tags('alpine')), ['3.19', '3.20', 'latest']);
    assert.deepEqual(await list(store.tags('alpine', { last: '3.19' })), ['3.20', 'latest']);
    assert.deepEqual(await list(store.repositories({ last: '' })), [
      'docker.io/library/alpine',
      'registry.example:5000/team/app',
    ]);
    assert.equal(await at('', 'v1'), one.descriptor.digest);
    assert.equal(await at('alpine', '3.20'), two.descriptor.digest);
    assert.equal(await at('docker.io/library/alpine'), two.descriptor.digest);
    assert.equal(await at('', '3.19'), one.descriptor.digest);
    assert.equal(await at('registry.example:5000/team/app', 'v2'), one.descriptor.digest);
    assert.equal(await at('', 'v1+build'), one.descriptor.digest);
    assert.equal(await at('', '@2'), three.descriptor.digest);
    await rejects(store.resolve({ repository: '', tag: '@6' }), 'not-found', /6 images/);
    await rejects(store.resolve({ repository: '', tag: 'v2' }), 'not-found', /it has: v1/);
    await rejects(store.resolve({ repository: 'busybox', tag: 'v1' }), 'not-found', /no repository/);
    await rejects(store.resolve({ repository: '' }), 'invalid', /has 6 images.*choose one/);
    await rejects(list(store.tags('NO SUCH')), 'not-found');
    assert.deepEqual(
      (await store.images()).map(({ names }) => names.length),
      [1, 2, 0, 1, 2, 1],
    );
  });

  it('may be left out when there is one image', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const store = await layout(t, [{ image }]);
    assert.equal((await store.resolve({ repository: '' })).descriptor.digest, image.descriptor.digest);
    assert.deepEqual(await list(store.repositories()), ['']);
  });

  it('are ambiguous when two images share one, unless platforms tell them apart', async (t) => {
    const amd64 = await sampleImage({ seed: 1, payloadBytes: 10 });
    const arm64 = await sampleImage({ seed: 2, payloadBytes: 10 });
    const store = await layout(t, [
      { image: amd64, name: 'v1' },
      { image: arm64, name: 'v1' },
    ]);
    await rejects(store.resolve({ repository: '', tag: 'v1' }), 'invalid-content', /2 images.*@0, @1/);
    const platforms = await layout(t, [
      {
        image: { ...amd64, descriptor: { ...amd64.descriptor, platform: parsePlatform('linux/s390x') } },
        name: 'v1',
      },
      {
        image: { ...arm64, descriptor: { ...arm64.descriptor, platform: parsePlatform('linux/arm64') } },
        name: 'v1',
      },
    ]);
    const wanted = await openLayoutStore(platforms.path, { platform: parsePlatform('linux/arm64') });
    assert.equal(
      (await wanted.resolve({ repository: '', tag: 'v1' })).descriptor.digest,
      arm64.descriptor.digest,
    );
  });

  it('change when the index changes', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    assert.deepEqual(await list(store.tags('')), ['v1']);
    const text = await readFile(join(store.path, 'index.json'), 'utf8');
    await writeFile(join(store.path, 'index.json'), text.replace('"v1"', '"v2"'));
    assert.deepEqual(await list(store.tags('')), ['v2']);
    await writeFile(join(store.path, 'new'), text);
    await rename(join(store.path, 'new'), join(store.path, 'index.json'));
    assert.deepEqual(await list(store.tags('')), ['v1']);
  });
});

describe('blobs of a layout', limits, () => {
  it('are read whole and in ranges', async (t) => {
    const image = await sampleImage({ payloadBytes: 700_000 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    for (const { descriptor, bytes } of [...image.blobs, ...image.manifests]) {
      assert.deepEqual(await read(store, descriptor), Buffer.from(bytes));
      assert.equal((await store.statBlob('', descriptor.digest)).size, bytes.length);
    }
    const layer = image.layers[1];
    assert.ok(layer);
    const { size } = layer.descriptor;
    for (const [start, end] of [
      [0, 1],
      [5, 600_000],
      [size - 3, size],
      [size - 3, size + 100],
    ] as const) {
      const body = await store.fetch('', layer.descriptor, { range: { start, end } });
      assert.deepEqual([body.start, body.end, body.totalSize], [start, Math.min(end, size), size]);
      body.cancel();
      const bytes = await read(store, layer.descriptor, { start, end });
      assert.deepEqual(bytes, Buffer.from(layer.bytes.subarray(start, end)));
    }
    for (const [start, end] of [
      [size, size + 1],
      [3, 3],
      [-1, 3],
      [0.5, 3],
    ] as const) {
      await rejects(read(store, layer.descriptor, { start, end }), 'invalid');
    }
  });

  it('are found by digest, also where no name leads', async (t) => {
    const images = [
      await sampleImage({ seed: 1, payloadBytes: 9 }),
      await sampleImage({ seed: 2, payloadBytes: 9 }),
    ];
    const store = await layout(t, [{ image: await buildIndex(images), name: 'multi' }]);
    const digest = images[1]?.descriptor.digest;
    assert.ok(digest);
    const { descriptor, bytes } = await store.resolve({ repository: '', digest });
    assert.deepEqual(
      [descriptor.mediaType, digestOf(bytes ?? Buffer.of())],
      [images[1]?.descriptor.mediaType, digest],
    );
    const layer = images[0]?.layers[0]?.descriptor.digest;
    assert.ok(layer);
    await rejects(store.resolve({ repository: '', digest: layer }), 'invalid-content');
    const nowhere = parseDigest(`sha256:${'0'.repeat(64)}`);
    await rejects(store.resolve({ repository: '', digest: nowhere }), 'not-found');
    await rejects(store.statBlob('', nowhere), 'not-found', /incomplete/);
  });

  it('that are missing, cut or replaced by something else are told apart', async (t) => {
    const image = await sampleImage({ payloadBytes: 700_000 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    const layer = image.layers[1]?.descriptor;
    assert.ok(layer);
    const path = join(store.path, 'blobs/sha256', digestHex(layer.digest));
    await appendFile(path, 'x');
    await rejects(read(store, layer), 'integrity', new RegExp(`${layer.size + 1} of ${layer.size}`));
    await truncate(path, 10);
    await rejects(read(store, layer), 'integrity');
    await unlink(path);
    await rejects(read(store, layer), 'not-found');
    await mkdir(path);
    await rejects(read(store, layer), 'invalid-content', /not a regular file/);
    await rm(path, { recursive: true });
    execFileSync('mkfifo', [path]);
    await rejects(read(store, layer), 'invalid-content', /not a regular file/);
  });

  it('that shrink while they are read end in an error, not in silence', async (t) => {
    const image = await sampleImage({ payloadBytes: 1_500_000 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    const layer = image.layers[1]?.descriptor;
    assert.ok(layer);
    const body = await store.fetch('', layer);
    await rejects(
      (async () => {
        for await (const _chunk of body.chunks)
          await truncate(join(store.path, 'blobs/sha256', digestHex(layer.digest)), 100);
      })(),
      'stale',
    );
  });

  it('can be given up', async (t) => {
    const image = await sampleImage({ payloadBytes: 700_000 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    const layer = image.layers[1]?.descriptor;
    assert.ok(layer);
    const abort = new AbortController();
    const body = await store.fetch('', layer, { signal: abort.signal });
    await rejects(
      (async () => {
        for await (const _chunk of body.chunks) abort.abort();
      })(),
      'interrupted',
    );
    const other = await store.fetch('', layer);
    other.cancel();
    other.cancel();
    await rejects(
      (async () => {
        for await (const _chunk of other.chunks) assert.fail('a chunk after cancel');
      })(),
      'interrupted',
    );
  });

  it('may be links inside the layout, never out of it', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    const [config] = image.blobs;
    assert.ok(config);
    const path = join(store.path, 'blobs/sha256', digestHex(config.descriptor.digest));
    await rename(path, join(store.path, 'elsewhere'));
    await symlink('../../elsewhere', path);
    assert.deepEqual(await read(store, config.descriptor), Buffer.from(config.bytes));
    const outside = join(await tempDir(t, 'outside'), 'secret');
    await writeFile(outside, config.bytes);
    await unlink(path);
    await symlink(outside, path);
    await rejects(read(store, config.descriptor), 'denied', /leads out of the store/);
    await unlink(join(store.path, 'index.json'));
    await symlink('/etc/hostname', join(store.path, 'index.json'));
    await rejects(store.resolve({ repository: '', tag: 'v1' }), 'denied');
  });

  it('may be in a directory that several layouts share', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const store = await layout(t, [{ image, name: 'v1' }]);
    const shared = await tempDir(t, 'shared');
    await rename(join(store.path, 'blobs'), join(shared, 'blobs'));
    await symlink(join(shared, 'blobs'), join(store.path, 'blobs'));
    const [config] = image.blobs;
    assert.ok(config);
    assert.deepEqual(await read(store, config.descriptor), Buffer.from(config.bytes));
  });
});

describe('referrers in a layout', limits, () => {
  it('are found by subject and by fallback tag, each once', async (t) => {
    const image = await sampleImage({ payloadBytes: 10 });
    const make = (artifactType: string): ReturnType<typeof buildArtifact> =>
      buildArtifact({
        artifactType,
        subject: image.descriptor,
        files: [{ title: 'a', content: artifactType }],
        annotations: { k: artifactType },
      });
    const [sbom, signature, listed] = [make('x/sbom'), make('x/sig'), make('x/listed')];
    const index = await buildIndex([]);
    const fallback = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: index.descriptor.mediaType,
        manifests: [sbom.descriptor, listed.descriptor],
      }),
    );
    const descriptor = {
      mediaType: index.descriptor.mediaType,
      digest: digestOf(fallback),
      size: fallback.length,
    };
    const store = await layout(t, [
      { image, name: 'v1' },
      { image: sbom },
      { image: signature },
      { image: listed, name: 'keep' },
      {
        image: { descriptor, blobs: [], manifests: [{ descriptor, bytes: fallback }] },
        name: image.descriptor.digest.replace(':', '-'),
      },
    ]);
    const all = async (artifactType?: string): Promise<(string | undefined)[]> => {
      const found: (string | undefined)[] = [];
      const options = artifactType === undefined ? {} : { artifactType };
      for await (const one of store.referrers('', image.descriptor.digest, options))
        found.push(one.artifactType);
      return found;
    };
    assert.deepEqual(await all(), ['x/sbom', 'x/listed', 'x/sig']);
    assert.deepEqual(await all('x/sig'), ['x/sig']);
    assert.deepEqual(await all('x/none'), []);
  });
});

describe('openLayoutStore', limits, () => {
  it('says what is wrong with a directory', async (t) => {
    const directory = await tempDir(t, 'layout');
    await rejects(openLayoutStore(join(directory, 'nowhere')), 'not-found');
    await rejects(
      openLayoutStore(directory),
      'invalid-content',
      /oci-layout is missing.*index.json and blobs/,
    );
    await writeFile(join(directory, 'manifest.json'), '{}');
    await rejects(openLayoutStore(directory), 'invalid-content', /use dir:/);
    await writeFile(join(directory, 'index.json'), '{}');
    await rejects(openLayoutStore(directory), 'invalid-content', /write \{"imageLayoutVersion"/);
    await writeFile(join(directory, 'file'), '');
    await rejects(openLayoutStore(join(directory, 'file')), 'invalid-content');
    const marker = join(directory, 'oci-layout');
    for (const [text, code] of [
      ['', 'invalid-content'],
      ['[]', 'invalid-content'],
      ['{}', 'unsupported'],
      ['{"imageLayoutVersion":"2.0.0"}', 'unsupported'],
      [' '.repeat(70_000), 'too-large'],
    ] as const) {
      await writeFile(marker, text);
      await rejects(openLayoutStore(directory), code);
    }
    await writeFile(marker, '{"imageLayoutVersion":"1.1.0"}');
    const store = await openLayoutStore(directory);
    await rejects(store.resolve({ repository: '' }), 'invalid-content');
    await unlink(join(directory, 'index.json'));
    await rejects(store.resolve({ repository: '' }), 'unavailable');
    assert.ok(isTagLister(store) && isReferrersFinder(store) && isPusher(store) && isDeleter(store));
  });

  it(
    'reports missing permissions',
    { skip: process.getuid?.() === 0 ? 'root may read everything' : false },
    async (t) => {
      const image = await sampleImage({ payloadBytes: 10 });
      const store = await layout(t, [{ image, name: 'v1' }]);
      await chmod(join(store.path, 'index.json'), 0);
      await rejects(store.resolve({ repository: '', tag: 'v1' }), 'denied');
    },
  );
});
