/** Store suite: deleting. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { isDeleter } from '../../src/store/store.js';
import { readBody, rejectsWith } from '../support/bodies.js';
import { sampleImage } from '../support/image-builder.js';
import { tagFor } from './only-tag.js';
import type { StoreFactory, StoreSuiteOptions } from './store-suite.js';

const deadline = { timeout: 30_000 };

export function deletingTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  if (options.untag !== false) {
    void test('a tag is deleted, its manifest and other tags stay', deadline, async (t) => {
      const fixture = await factory(t);
      const { store, repository } = fixture;
      assert.ok(isDeleter(store));
      const image = await sampleImage();
      await fixture.addImage(repository, image, 'v1');
      await fixture.addImage(repository, image, 'v2');
      await store.deleteTag(repository, 'v1');
      await rejectsWith(store.resolve({ repository, tag: 'v1' }), 'not-found');
      const { descriptor } = await store.resolve({ repository, tag: 'v2' });
      assert.equal(descriptor.digest, image.descriptor.digest);
      await rejectsWith(store.deleteTag(repository, 'v1'), 'not-found');
    });
  }

  void test('the only image is deleted', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isDeleter(store));
    const image = await sampleImage();
    const { digest } = image.descriptor;
    await fixture.addImage(repository, image, tagFor(fixture));
    await store.deleteManifest(repository, digest);
    await rejectsWith(store.resolve({ repository, tag: tagFor(fixture) }), 'not-found');
    await rejectsWith(store.resolve({ repository, digest }), 'not-found');
    await rejectsWith(store.deleteManifest(repository, digest), 'not-found');
  });

  if (options.single !== true) {
    void test('a manifest is deleted, and its tags with it', deadline, async (t) => {
      const fixture = await factory(t);
      const { store, repository } = fixture;
      assert.ok(isDeleter(store));
      const image = await sampleImage();
      const other = await sampleImage({ seed: 2 });
      await fixture.addImage(repository, image, 'v1');
      await fixture.addImage(repository, other, 'v2');
      await store.deleteManifest(repository, image.descriptor.digest);
      await rejectsWith(store.resolve({ repository, tag: 'v1' }), 'not-found');
      await rejectsWith(store.resolve({ repository, digest: image.descriptor.digest }), 'not-found');
      const kept = await store.resolve({ repository, tag: 'v2' });
      assert.equal(kept.descriptor.digest, other.descriptor.digest);
    });
  }

  void test('a blob is deleted', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isDeleter(store));
    const image = await sampleImage();
    await fixture.addImage(repository, image, tagFor(fixture));
    const [, layer] = image.blobs;
    assert.ok(layer);
    await store.deleteBlob(repository, layer.descriptor.digest);
    const reading = store.fetch(repository, layer.descriptor).then((body) => readBody(body));
    await rejectsWith(reading, 'not-found');
    const absent = digestOf(Buffer.from('absent'));
    await rejectsWith(store.deleteBlob(repository, absent), 'not-found');
  });
}
