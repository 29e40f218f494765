/** Closing at any moment: a verdict that was not reached is no verdict. */
import assert from 'node:assert/strict';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { verificationFailures } from '../../../src/content/content-metrics.js';
import { HelperPool } from '../../../src/content/helper-pool.js';
import { StreamDigest } from '../../../src/content/stream-digest.js';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../src/oci/digest.js';
import { copyBlob, patterned } from '../../conformance/content-suite.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';
import { cacheIn, withCache } from './cache-in-test.js';

const timeout = 20_000;
const mebi = 1 << 20;

test('a digest that was given up has no value', { timeout }, async (t) => {
  const directory = await tempDir(t, 'digest');
  const path = join(directory, 'file');
  const bytes = patterned(40 * mebi, 1);
  await fs.writeFile(path, bytes);
  const file = await fs.open(path, 'r');
  const pool = new HelperPool(1);
  t.after(async () => {
    await file.close();
    await pool.stop();
  });
  const digest = new StreamDigest(pool, digestOf(bytes));
  digest.advance(file.fd, bytes.length);
  const finished = digest.finish();
  // The first slice is being hashed, the others are not begun.
  const dropped = digest.drop();
  await assert.rejects(finished, (error) => isImgfsError(error, 'interrupted'));
  await dropped;
});

test('a blob that is closed while it is hashed has not failed', { timeout }, async (t) => {
  const directory = await tempDir(t, 'closing');
  const store = new ScriptedStore();
  const source = store.add(patterned(80 * mebi, 2));
  const failures = verificationFailures.value;
  // Its folder has an owner: the copy of the second cache is private, and nothing is synced when it closes.
  const owner = await cacheIn(t, { directory });
  const owning = await owner.open(source);
  t.after(() => owning.close());
  await withCache({ directory }, async (cache) => {
    const reader = await cache.open(source);
    const filled = reader.fill({ start: 0, end: reader.size }).catch(() => undefined);
    while (reader.status().presentBytes < reader.size) await new Promise((wake) => void setImmediate(wake));
    await reader.close();
    await cache.close();
    await filled;
  });
  assert.equal(verificationFailures.value, failures);
});

test(
  'a blob that is closed when all of it has come gets its verdict and its name',
  { timeout },
  async (t) => {
    const directory = await tempDir(t, 'closing');
    const store = new ScriptedStore();
    const source = store.add(patterned(20 * mebi, 3));
    await withCache({ directory }, async (cache) => {
      const reader = await cache.open(source);
      const filled = reader.fill({ start: 0, end: reader.size }).catch(() => undefined);
      while (reader.status().presentBytes < reader.size) await new Promise((wake) => void setImmediate(wake));
      await reader.close();
      await cache.close();
      await filled;
    });
    const cache = await cacheIn(t, { directory });
    assert.equal((await cache.status(source.descriptor.digest)).state, 'complete');
    store.fault = () => assert.fail('asked the store again');
    await copyBlob(cache, source);
  },
);
