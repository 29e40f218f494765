/** Store suite: tags, repositories, blob facts and referrers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../src/oci/digest.js';
import { isBlobStatter, isReferrersFinder, isRepositoryLister, isTagLister } from '../../src/store/store.js';
import { collect, rejectsWith } from '../support/bodies.js';
import { buildArtifact, sampleImage } from '../support/image-builder.js';
import { tagFor } from './only-tag.js';
import type { StoreFactory, StoreSuiteOptions } from './store-suite.js';

const deadline = { timeout: 30_000 };

export function listingTests(factory: StoreFactory, options: StoreSuiteOptions): void {
  const { features } = options;
  const several = options.single !== true;
  if (features.includes('tags') && several) tagTests(factory);
  if (features.includes('repositories')) repositoryTests(factory);
  if (features.includes('statBlob')) statTests(factory);
  if (!features.includes('referrers') || !several) return;
  if (options.referrersFromBehind !== false) referrersTests(factory);
  noReferrersTests(factory);
}

function tagTests(factory: StoreFactory): void {
  void test('all tags are listed, once each', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isTagLister(store));
    const image = await sampleImage();
    const numbered = Array.from({ length: 20 }, (_, at) => `n${at}`);
    const tags = ['latest', '1.0', '1.0-rc.1', 'UPPER', '_x', ...numbered];
    for (const tag of tags) await fixture.addImage(repository, image, tag);
    assert.deepEqual((await collect(store.tags(repository))).toSorted(), tags.toSorted());
    const paged = await collect(store.tags(repository, { pageSize: 3 }));
    assert.deepEqual(paged.toSorted(), tags.toSorted());
  });

  void test('listing goes on behind `last`, and can be left', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isTagLister(store));
    const image = await sampleImage();
    for (const tag of ['a', 'b', 'c', 'd']) await fixture.addImage(repository, image, tag);
    const all = await collect(store.tags(repository));
    assert.equal(all.length, 4);
    assert.deepEqual(await collect(store.tags(repository, { last: all[1] ?? '' })), all.slice(2));
    assert.equal((await collect(store.tags(repository), 1)).length, 1);
  });

  void test('tags of no repository are not-found', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isTagLister(store));
    await fixture.addImage(repository, await sampleImage(), 'v1');
    await rejectsWith(collect(store.tags('no/such/repository')), 'not-found');
    await rejectsWith(collect(store.tags(repository, { signal: AbortSignal.abort() })), 'interrupted');
  });
}

function repositoryTests(factory: StoreFactory): void {
  void test('all repositories are listed', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository, otherRepository } = fixture;
    assert.ok(isRepositoryLister(store));
    const names = [repository, ...(otherRepository === undefined ? [] : [otherRepository])];
    for (const name of names) await fixture.addImage(name, await sampleImage(), 'v1');
    assert.deepEqual((await collect(store.repositories())).toSorted(), names.toSorted());
  });
}

function statTests(factory: StoreFactory): void {
  void test('a blob tells its size without being read', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isBlobStatter(store));
    const image = await sampleImage();
    await fixture.addImage(repository, image, tagFor(fixture));
    for (const { descriptor } of image.blobs) {
      const { digest, size } = await store.statBlob(repository, descriptor.digest);
      assert.deepEqual([digest, size], [descriptor.digest, descriptor.size]);
    }
    const absent = `sha256:${'2'.repeat(64)}` as Digest;
    await rejectsWith(store.statBlob(repository, absent), 'not-found');
  });
}

function byDigest(left: { digest: string }, right: { digest: string }): number {
  return left.digest < right.digest ? -1 : 1;
}

function referrersTests(factory: StoreFactory): void {
  void test('referrers are found, and filtered by type', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isReferrersFinder(store));
    const image = await sampleImage();
    await fixture.addImage(repository, image, tagFor(fixture));
    const artifacts = ['sbom', 'signature'].map((kind) =>
      buildArtifact({
        artifactType: `application/vnd.test.${kind}`,
        subject: image.descriptor,
        files: [{ title: `${kind}.json`, content: `{"${kind}":1}` }],
      }),
    );
    for (const artifact of artifacts) await fixture.addImage(repository, artifact);
    const found = await collect(store.referrers(repository, image.descriptor.digest));
    assert.deepEqual(
      found.map(({ digest, size, artifactType }) => ({ digest, size, artifactType })).toSorted(byDigest),
      artifacts
        .map(({ descriptor: { digest, size, artifactType } }) => ({ digest, size, artifactType }))
        .toSorted(byDigest),
    );
    const artifactType = 'application/vnd.test.sbom';
    const sboms = await collect(store.referrers(repository, image.descriptor.digest, { artifactType }));
    assert.deepEqual(
      sboms.map((item) => item.digest),
      [artifacts[0]?.descriptor.digest],
    );
  });
}

function noReferrersTests(factory: StoreFactory): void {
  void test('nothing refers to what nothing refers to', deadline, async (t) => {
    const fixture = await factory(t);
    const { store, repository } = fixture;
    assert.ok(isReferrersFinder(store));
    const image = await sampleImage();
    await fixture.addImage(repository, image, tagFor(fixture));
    assert.deepEqual(await collect(store.referrers(repository, image.descriptor.digest)), []);
  });
}
