/**
 * What every store must do. A store's test gives a factory and says which extensions it has: an extension that gets
 * lost is red, not skipped.
 */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import {
  isBlobStatter,
  isDeleter,
  isPusher,
  isReferrersFinder,
  isRepositoryLister,
  isTagLister,
  type ImageStore,
} from '../../src/store/store.js';
import type { BuiltImage } from '../support/image-builder.js';
import { deletingTests } from './store-deleting.js';
import { listingTests } from './store-listing.js';
import { pushingTests } from './store-pushing.js';
import { readingTests } from './store-reading.js';

export type StoreFeature = 'tags' | 'repositories' | 'statBlob' | 'referrers' | 'push' | 'delete';

/** A store with a way to fill it from behind. */
export interface StoreFixture {
  readonly store: ImageStore;
  /** A repository of the store that tests may fill; `''` where a store has only one. */
  readonly repository: string;
  /** The tag of the only image, for a store that keeps no names (`dir:`). */
  readonly onlyTag?: string;
  /** A second one, where there can be several. */
  readonly otherRepository?: string;
  /** Put an image there, not through the store. */
  addImage(repository: string, image: BuiltImage, tag?: string): Promise<void>;
  /** A second client of the same content, as after a restart. */
  reopen?(): Promise<ImageStore>;
}

export interface StoreSuiteOptions {
  readonly features: readonly StoreFeature[];
  /** The store holds one image at a time (archives, `dir:`): tests with several are left out. */
  readonly single?: boolean;
  /** Digests other than sha256 are kept as they are. Default true. */
  readonly otherAlgorithms?: boolean;
  /** A tag can be deleted and leave its manifest. Default true. */
  readonly untag?: boolean;
  /** Referrers are found that came without the store's help. Default true. */
  readonly referrersFromBehind?: boolean;
  /** Uploads go on in another process by their resume token. Default true. */
  readonly resume?: boolean;
  /** `mountBlob` moves no bytes and says so; false where it always refuses. Default true. */
  readonly mounts?: boolean;
}

/** Makes an empty store; registers its clean-up with `t`. */
export type StoreFactory = (t: TestContext) => Promise<StoreFixture>;

const featureTests: Readonly<Record<StoreFeature, (store: ImageStore) => boolean>> = {
  tags: isTagLister,
  repositories: isRepositoryLister,
  statBlob: isBlobStatter,
  referrers: isReferrersFinder,
  push: isPusher,
  delete: isDeleter,
};

/** Register the suite for one store. */
export function storeSuite(name: string, factory: StoreFactory, options: StoreSuiteOptions): void {
  describe(`store: ${name}`, () => {
    void test('has the extensions it should have', { timeout: 30_000 }, async (t) => {
      const { store } = await factory(t);
      const found = Object.entries(featureTests).filter(([, has]) => has(store));
      assert.deepEqual(found.map(([feature]) => feature).toSorted(), options.features.toSorted());
      assert.notEqual(store.id, '');
      await store.close();
      await store.close();
    });
    readingTests(factory, options);
    listingTests(factory, options);
    if (options.features.includes('push')) pushingTests(factory, options);
    if (options.features.includes('delete')) deletingTests(factory, options);
  });
}
