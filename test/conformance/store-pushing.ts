/** Store suite: uploads, mounts and manifests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { isPusher, type ImageStore, type Pusher } from '../../src/store/store.js';
import { readBody, rejectsWith, sameBytes } from '../support/bodies.js';
import { buildIndex, sampleImage, type BuiltImage } from '../support/image-builder.js';
import { createPrng } from '../support/prng.js';
import { tagFor } from './only-tag.js';
import type { StoreFactory, StoreFixture, StoreSuiteOptions } from './store-suite.js';

const deadline = { timeout: 30_000 };

type PushingStore = ImageStore & Pusher;
type PushingFixture = StoreFixture & { readonly store: PushingStore };

function pushing(fixture: StoreFixture): PushingFixture {
  assert.ok(isPusher(fixture.store));
  return fixture as PushingFixture;
}

async function pushBlobs(store: PushingStore, repository: string, image: BuiltImage): Promise<void> {
  for (const { descriptor, bytes } of image.blobs) {
    const upload = await store.startUpload(repository, { size: bytes.length });
    await upload.write(bytes);
    assert.equal((await upload.finish(descriptor.digest)).size, bytes.length);
  }
}

async function readBlob(store: ImageStore, repository: string, bytes: Uint8Array): Promise<Buffer> {
  const descriptor = { mediaType: mediaTypes.octetStream, digest: digestOf(bytes), size: bytes.length };
  return readBody(await store.fetch(repository, descriptor));
}

export function pushingTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  uploadTests(factory);
  if (options.resume !== false) resumeTests(factory);
  mountTests(factory, options);
  manifestTests(factory);
}

function uploadTests(factory: StoreFactory): void {
  void test('an image pushed is the image read', deadline, async (t) => {
    const fixture = pushing(await factory(t));
    const { store, repository } = fixture;
    const image = await sampleImage();
    await pushBlobs(store, repository, image);
    const [manifest] = image.manifests;
    assert.ok(manifest);
    const { mediaType } = manifest.descriptor;
    const put = await store.putManifest(repository, manifest.bytes, mediaType, { tags: [tagFor(fixture)] });
    assert.equal(put.digest, image.descriptor.digest);
    const { descriptor } = await store.resolve({ repository, tag: tagFor(fixture) });
    assert.equal(descriptor.digest, image.descriptor.digest);
    for (const blob of image.blobs) {
      const read = await readBody(await store.fetch(repository, blob.descriptor));
      sameBytes(read, blob.bytes);
    }
  });

  void test('chunks of any size add up', deadline, async (t) => {
    const { store, repository } = pushing(await factory(t));
    const bytes = createPrng(9).bytes(100_000);
    const upload = await store.startUpload(repository);
    assert.equal(upload.offset, 0);
    let at = 0;
    for (const length of [1, 2, 4096, 65_536, 100_000]) {
      const chunk = bytes.subarray(at, at + length);
      await upload.write(chunk);
      at += chunk.length;
      assert.ok(upload.offset <= at, 'no byte is confirmed that was not written');
    }
    assert.equal((await upload.finish(digestOf(bytes))).size, bytes.length);
    sameBytes(await readBlob(store, repository, bytes), bytes);
  });

  void test('an empty blob can be pushed', deadline, async (t) => {
    const { store, repository } = pushing(await factory(t));
    const nothing = new Uint8Array(0);
    const upload = await store.startUpload(repository);
    await upload.finish(digestOf(nothing));
    assert.equal((await readBlob(store, repository, nothing)).length, 0);
  });

  void test('a wrong digest is refused, and the upload lives on', deadline, async (t) => {
    const { store, repository } = pushing(await factory(t));
    const bytes = Buffer.from('what it is');
    const upload = await store.startUpload(repository);
    await upload.write(bytes);
    await rejectsWith(upload.finish(digestOf(Buffer.from('what it is not'))), 'digest-mismatch');
    await upload.finish(digestOf(bytes));
    sameBytes(await readBlob(store, repository, bytes), bytes);
  });

  void test('an upload can be cancelled', deadline, async (t) => {
    const { store, repository } = pushing(await factory(t));
    const bytes = Buffer.from('never there');
    const upload = await store.startUpload(repository);
    await upload.write(bytes);
    await upload.cancel();
    await rejectsWith(readBlob(store, repository, bytes), 'not-found');
  });
}

function resumeTests(factory: StoreFactory): void {
  void test('an upload goes on in another process', deadline, async (t) => {
    const fixture = pushing(await factory(t));
    const { store, repository } = fixture;
    const bytes = createPrng(11).bytes(50_000);
    const upload = await store.startUpload(repository);
    await upload.write(bytes.subarray(0, 20_000));
    const token = upload.resumeToken;
    const again = (await fixture.reopen?.()) ?? store;
    assert.ok(isPusher(again));
    const resumed = await again.resumeUpload(repository, token);
    const offset = await resumed.status();
    assert.equal(offset, resumed.offset);
    assert.ok(offset <= 20_000, String(offset));
    await resumed.write(bytes.subarray(offset));
    await resumed.finish(digestOf(bytes));
    sameBytes(await readBlob(again, repository, bytes), bytes);
    if (again !== store) await again.close();
  });

  void test('a resume token that means nothing is refused', deadline, async (t) => {
    const { store, repository } = pushing(await factory(t));
    for (const token of ['', 'rubbish', '{}', '../../x', 'http://127.0.0.1:1/v2/a/blobs/uploads/x']) {
      const resuming = store.resumeUpload(repository, token).then((upload) => upload.status());
      await rejectsWith(resuming, 'not-found', 'invalid', 'protocol', 'denied');
    }
  });
}

function mountTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  const mounts = options.mounts !== false;
  void test('blobs are mounted from another repository', deadline, async (t) => {
    const { store, repository, otherRepository } = pushing(await factory(t));
    if (otherRepository === undefined) {
      t.skip('this store has one repository');
      return;
    }
    const bytes = Buffer.from('shared');
    const upload = await store.startUpload(repository);
    await upload.write(bytes);
    const { digest } = await upload.finish(digestOf(bytes));
    assert.equal(await store.mountBlob(otherRepository, repository, digest), mounts);
    if (mounts) sameBytes(await readBlob(store, otherRepository, bytes), bytes);
    const absent = digestOf(Buffer.from('nowhere'));
    assert.equal(await store.mountBlob(otherRepository, repository, absent), false);
  });
}

function manifestTests(factory: StoreFactory): void {
  void test('a manifest whose blobs are missing is refused', deadline, async (t) => {
    const fixture = pushing(await factory(t));
    const { store, repository } = fixture;
    const [manifest] = (await sampleImage({ seed: 77 })).manifests;
    assert.ok(manifest);
    const { mediaType } = manifest.descriptor;
    const putting = store.putManifest(repository, manifest.bytes, mediaType, { tags: [tagFor(fixture)] });
    await rejectsWith(putting, 'invalid', 'invalid-content', 'not-found', 'protocol');
    await rejectsWith(store.resolve({ repository, tag: tagFor(fixture) }), 'not-found');
  });

  void test('several tags, no tag, and an index with children', deadline, async (t) => {
    const fixture = pushing(await factory(t));
    const { store, repository } = fixture;
    const children = [
      await sampleImage(),
      await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } }),
    ];
    const index = await buildIndex(children);
    const tags = fixture.onlyTag === undefined ? ['one', 'two'] : [fixture.onlyTag];
    await pushBlobs(store, repository, index);
    for (const { bytes, descriptor } of index.manifests) {
      const child = descriptor.digest !== index.descriptor.digest;
      const rest = child ? { child } : { tags };
      await store.putManifest(repository, bytes, descriptor.mediaType, rest);
    }
    for (const tag of tags) {
      const { descriptor } = await store.resolve({ repository, tag });
      assert.equal(descriptor.digest, index.descriptor.digest);
    }
    for (const { descriptor } of children) {
      const { digest } = descriptor;
      assert.equal((await store.resolve({ repository, digest })).descriptor.digest, digest);
    }
  });

  void test('a tag moves when it is put again', deadline, async (t) => {
    const fixture = pushing(await factory(t));
    const { store, repository } = fixture;
    for (const seed of [1, 2]) {
      const image = await sampleImage({ seed });
      await pushBlobs(store, repository, image);
      const [manifest] = image.manifests;
      assert.ok(manifest);
      const { mediaType, digest } = manifest.descriptor;
      await store.putManifest(repository, manifest.bytes, mediaType, { tags: [tagFor(fixture)] });
      assert.equal((await store.resolve({ repository, tag: tagFor(fixture) })).descriptor.digest, digest);
    }
  });
}
