/** The native driver on a kernel that offers what Linux 5.4 did. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { mountSample, skipWithoutMount } from '../support/mounted.js';
import { driverSuite } from './driver-suite.js';
import { writingSuite } from './writing-suite.js';

// Inherited by the processes that mount.
process.env['IMGFS_FUSE_WITHOUT'] = 'all';

describe('native driver: an old kernel', { skip: skipWithoutMount('native') }, () => {
  test('speaks the old protocol, without passthrough', { timeout: 30_000 }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    await readFile(join(mounted.path, 'big'));
    const { protocolMinor, passthroughOpens, cachedOpens } = await mounted.statistics();
    assert.equal(protocolMinor, 31);
    assert.equal(passthroughOpens, 0);
    assert.ok((cachedOpens ?? 0) > 0);
  });
});

driverSuite('native');
writingSuite('native');
