import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageTable } from '../../../src/store/layout/image-table.js';
import { openSnapshotStore, type SnapshotSource } from '../../../src/store/snapshot-store.js';
import { collect } from '../../support/bodies.js';

/** A source that counts how often it is asked whether it has changed. */
function counted(isCurrent: boolean): { readonly source: SnapshotSource; readonly looks: () => number } {
  let looks = 0;
  const source: SnapshotSource = {
    transport: 'docker-archive',
    id: 'docker-archive:test.tar',
    path: 'test.tar',
    missingHint: '',
    identity: () => {
      looks += 1;
      return Promise.resolve('same');
    },
    load: () =>
      Promise.resolve({
        identity: 'same',
        snapshot: {
          images: new ImageTable('test.tar', []),
          blob: () => undefined,
          close: () => Promise.resolve(),
        },
        isCurrent,
      }),
  };
  return { source, looks: () => looks };
}

describe('a store read as a whole', () => {
  it('is not looked at once more right after an opening that looked, but later on', async () => {
    const { source, looks } = counted(true);
    const store = await openSnapshotStore(source);
    await collect(store.repositories());
    assert.equal(looks(), 0);
    await new Promise((resolve) => setTimeout(resolve, 2));
    await collect(store.repositories());
    assert.equal(looks(), 1);
    await store.close();
  });

  it('is looked at right after an opening that did not look', async () => {
    const { source, looks } = counted(false);
    const store = await openSnapshotStore(source);
    await collect(store.repositories());
    assert.equal(looks(), 1);
    await store.close();
  });
});
