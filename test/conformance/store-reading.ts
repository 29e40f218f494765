/** Store suite: resolve and fetch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { readBody, readRange, rejectsWith, sameBytes } from '../support/bodies.js';
import { buildImage, buildIndex, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { tagFor } from './only-tag.js';
import type { StoreFactory, StoreFixture, StoreSuiteOptions } from './store-suite.js';

const deadline = { timeout: 30_000 };
const absent = `sha256:${'1'.repeat(64)}` as Digest;

async function filled(fixture: StoreFixture): Promise<BuiltSingleImage> {
  const image = await sampleImage();
  await fixture.addImage(fixture.repository, image, tagFor(fixture));
  return image;
}

function payloadLayer(image: BuiltSingleImage): { descriptor: Descriptor; bytes: Uint8Array } {
  const layer = image.layers.at(-1);
  assert.ok(layer !== undefined && layer.bytes.length > 100_000);
  return layer;
}

export function readingTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  resolvingTests(factory);
  fetchingTests(factory);
  leavingTests(factory);
  if (options.single !== true) severalImagesTests(factory, options);
}

function resolvingTests(factory: StoreFactory): void {
  void test('a tag resolves to digest, size and media type', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await filled(fixture);
    const { repository, store } = fixture;
    const { descriptor, bytes } = await store.resolve({ repository, tag: tagFor(fixture) });
    const { mediaType, digest, size } = image.descriptor;
    assert.deepEqual(
      { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size },
      { mediaType, digest, size },
    );
    if (bytes !== undefined) assert.equal(digestOf(bytes), digest);
  });

  void test('a digest resolves, and wins over a tag', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await filled(fixture);
    const { digest } = image.descriptor;
    const { repository, store } = fixture;
    assert.equal((await store.resolve({ repository, digest })).descriptor.digest, digest);
    const both = await store.resolve({ repository, tag: 'other', digest });
    assert.equal(both.descriptor.digest, digest);
  });

  void test('what is not there is not-found', deadline, async (t) => {
    const fixture = await factory(t);
    await filled(fixture);
    const { repository, store } = fixture;
    await rejectsWith(store.resolve({ repository, tag: 'absent' }), 'not-found');
    await rejectsWith(store.resolve({ repository, digest: absent }), 'not-found');
    await rejectsWith(store.resolve({ repository: 'no/such/repository', tag: 'v1' }), 'not-found');
    const descriptor = { mediaType: mediaTypes.ociLayerGzip, digest: absent, size: 10 };
    await rejectsWith(
      store.fetch(repository, descriptor).then((body) => readBody(body)),
      'not-found',
    );
  });

  void test('hostile names lead nowhere', deadline, async (t) => {
    const fixture = await factory(t);
    await filled(fixture);
    const { repository, store } = fixture;
    const codes = ['not-found', 'name-invalid', 'invalid'] as const;
    for (const tag of ['../index.json', '..', 'a/b', 'a b', 'v1?x', 'v1#', '%2e%2e', '\u0000', '']) {
      await rejectsWith(store.resolve({ repository, tag }), ...codes);
    }
    for (const name of ['../etc', '/', 'a//b', 'A', 'a/../b', 'a?b', '\n']) {
      await rejectsWith(store.resolve({ repository: name, tag: 'v1' }), ...codes);
    }
    // Not a digest in spite of its type: a defect of the caller, which must not reach the disk or the network.
    const bad = '../../../../etc/passwd' as Digest;
    await rejectsWith(store.resolve({ repository, digest: bad }), ...codes, 'internal');
    const descriptor = { mediaType: mediaTypes.octetStream, digest: bad, size: 10 };
    await rejectsWith(
      store.fetch(repository, descriptor).then((body) => readBody(body)),
      ...codes,
      'internal',
    );
  });
}

function fetchingTests(factory: StoreFactory): void {
  void test('manifests, configs and layers arrive whole', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await filled(fixture);
    for (const { descriptor, bytes } of [...image.manifests, ...image.blobs]) {
      const body = await fixture.store.fetch(fixture.repository, descriptor);
      assert.equal(body.start, 0);
      assert.ok(body.totalSize === undefined || body.totalSize === bytes.length);
      sameBytes(await readBody(body), bytes);
    }
  });

  void test('ranges are the bytes that were asked for', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor, bytes } = payloadLayer(await filled(fixture));
    const { size } = descriptor;
    const ranges = [
      [0, 1],
      [0, size],
      [1, size - 1],
      [size - 1, size],
      [65_535, 65_537],
    ] as const;
    for (const [start, end] of ranges) {
      const body = await fixture.store.fetch(fixture.repository, descriptor, { range: { start, end } });
      const got = await readRange(body, { start, end });
      sameBytes(got, bytes.subarray(start, end), `${start} to ${end}`);
      assert.ok(body.totalSize === undefined || body.totalSize === size);
    }
  });

  void test('ranges of a manifest work as well', deadline, async (t) => {
    const fixture = await factory(t);
    const [manifest] = (await filled(fixture)).manifests;
    assert.ok(manifest);
    const range = { start: 10, end: 30 };
    const body = await fixture.store.fetch(fixture.repository, manifest.descriptor, { range });
    sameBytes(await readRange(body, range), manifest.bytes.subarray(10, 30));
  });

  void test('a range across the end is refused or cut', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor, bytes } = payloadLayer(await filled(fixture));
    const range = { start: descriptor.size - 10, end: descriptor.size + 1000 };
    const reading = fixture.store
      .fetch(fixture.repository, descriptor, { range })
      .then((body) => readRange(body, range));
    const got = await reading.catch(async (error: unknown) => {
      await rejectsWith(Promise.reject(error), 'invalid');
    });
    if (got !== undefined) sameBytes(got, bytes.subarray(range.start));
  });

  void test('a range behind the end gives no bytes', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor } = payloadLayer(await filled(fixture));
    const range = { start: descriptor.size, end: descriptor.size + 10 };
    let got: Buffer;
    try {
      got = await readRange(await fixture.store.fetch(fixture.repository, descriptor, { range }), range);
    } catch (error) {
      await rejectsWith(Promise.reject(error), 'invalid', 'protocol', 'integrity');
      return;
    }
    assert.equal(got.length, 0);
  });

  void test('parallel ranges do not mix', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor, bytes } = payloadLayer(await filled(fixture));
    const step = Math.ceil(descriptor.size / 24);
    await Promise.all(
      Array.from({ length: 24 }, async (_, at) => {
        const range = { start: at * step, end: Math.min((at + 1) * step, descriptor.size) };
        const body = await fixture.store.fetch(fixture.repository, descriptor, { range });
        const got = await readRange(body, range);
        sameBytes(got, bytes.subarray(range.start, range.end), String(at));
      }),
    );
  });
}

function leavingTests(factory: StoreFactory): void {
  void test('a body can be left at any time, and the store goes on', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor, bytes } = payloadLayer(await filled(fixture));
    for (let round = 0; round < 20; round += 1) {
      const body = await fixture.store.fetch(fixture.repository, descriptor);
      if (round % 2 === 1) {
        for await (const chunk of body.chunks) {
          assert.ok(chunk.length > 0);
          break;
        }
      }
      body.cancel();
      body.cancel();
    }
    const whole = await fixture.store.fetch(fixture.repository, descriptor);
    sameBytes(await readBody(whole), bytes);
  });

  void test('a signal stops a call, before and during it', deadline, async (t) => {
    const fixture = await factory(t);
    const { descriptor } = payloadLayer(await filled(fixture));
    const { repository, store } = fixture;
    const aborted = AbortSignal.abort();
    await rejectsWith(
      store.resolve({ repository, tag: tagFor(fixture) }, { signal: aborted }),
      'interrupted',
    );
    await rejectsWith(
      store.fetch(repository, descriptor, { signal: aborted }).then((body) => readBody(body)),
      'interrupted',
    );
    const control = new AbortController();
    const body = await store.fetch(repository, descriptor, { signal: control.signal });
    let size = 0;
    try {
      for await (const chunk of body.chunks) {
        size += chunk.length;
        control.abort();
        await new Promise((resolve) => setImmediate(resolve));
      }
      // A small rest may have been on its way already; then the body ends as a whole.
      assert.equal(size, descriptor.size);
    } catch (error) {
      await rejectsWith(Promise.reject(error), 'interrupted');
    }
  });
}

function severalImagesTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  emptyBlobTest(factory);

  void test('an index resolves to itself, its children by digest', deadline, async (t) => {
    const fixture = await factory(t);
    const children = [
      await sampleImage(),
      await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } }),
    ];
    const index = await buildIndex(children);
    const { repository, store } = fixture;
    await fixture.addImage(repository, index, 'multi');
    const { descriptor } = await store.resolve({ repository, tag: 'multi' });
    assert.equal(descriptor.digest, index.descriptor.digest);
    assert.equal(descriptor.mediaType, mediaTypes.ociIndex);
    for (const child of children) {
      const body = await store.fetch(repository, child.descriptor);
      assert.equal(digestOf(await readBody(body)), child.descriptor.digest);
    }
  });

  void test('Docker media types are kept', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await sampleImage({ docker: true });
    const { repository, store } = fixture;
    await fixture.addImage(repository, image, 'docker');
    const { descriptor } = await store.resolve({ repository, tag: 'docker' });
    assert.equal(descriptor.mediaType, mediaTypes.dockerManifest);
    assert.equal(descriptor.digest, image.descriptor.digest);
  });

  if (options.otherAlgorithms === false) return;
  void test('sha512 names work like sha256 names', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await buildImage({
      layers: [{ entries: [{ name: 'x', content: 'y' }] }],
      algorithm: 'sha512',
    });
    const { repository, store } = fixture;
    await fixture.addImage(repository, image, 'long');
    const { digest } = image.descriptor;
    assert.ok(digest.startsWith('sha512:'));
    assert.equal((await store.resolve({ repository, digest })).descriptor.digest, digest);
    for (const { descriptor, bytes } of image.blobs) {
      sameBytes(await readBody(await store.fetch(repository, descriptor)), bytes);
    }
  });
}

function emptyBlobTest(factory: StoreFactory): void {
  void test('an empty blob is empty', deadline, async (t) => {
    const fixture = await factory(t);
    const image = await sampleImage();
    const nothing = new Uint8Array(0);
    const empty = {
      bytes: nothing,
      descriptor: { mediaType: mediaTypes.octetStream, digest: digestOf(nothing), size: 0 },
    };
    await fixture.addImage(fixture.repository, { ...image, blobs: [...image.blobs, empty] }, 'v1');
    const body = await fixture.store.fetch(fixture.repository, empty.descriptor);
    assert.equal((await readBody(body)).length, 0);
  });
}
