/** What is merged before anybody waits: that it takes every way through the merge that images take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rehearseMerge } from '../../../src/layer/merge/rehearse-merge.js';
import { show } from '../../support/layer-tables.js';

test('a rehearsed merge replaces, hides, follows links, links, and makes parents', async () => {
  assert.deepEqual(show(await rehearseMerge()), [
    'a/',
    'a/new 1',
    'a/replaced 1',
    'b/',
    'link->a',
    'missing/ implicit',
    'missing/parent/ implicit',
    'missing/parent/file 1',
    'same 1',
  ]);
});
