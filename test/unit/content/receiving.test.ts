/**
 * Blobs of a registry that go from the connection into the cache file by themselves: as right as those that go through
 * JavaScript, whatever the registry does.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ImgfsError, isImgfsError } from '../../../src/errors/imgfs-error.js';
import type { BlobSource } from '../../../src/content/content.js';
import type { DiskCache } from '../../../src/content/disk.js';
import { snapshotMetrics } from '../../../src/observe/metrics.js';
import { openRegistryStore } from '../../../src/store/registry/registry-store.js';
import { copyBlob, patterned, readRange } from '../../conformance/content-suite.js';
import { startFaultRegistry, type FaultRegistry } from '../../support/fault-registry/index.js';
import type { Fault } from '../../support/fault-registry/fault.js';
import { registryDeps } from '../../support/registry-deps.js';
import { cacheIn, withCache } from './cache-in-test.js';
import { tempDir } from '../../support/temp.js';

const timeout = 60_000;
/** Several windows: read ahead, they grow from 256 KiB to 8 MiB. */
const blob = patterned(24 << 20, 5);

interface Ground {
  readonly registry: FaultRegistry;
  readonly source: BlobSource;
}

async function ground(t: TestContext): Promise<Ground> {
  const registry = await startFaultRegistry();
  const store = openRegistryStore('registry.example', registryDeps(registry.url));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  return { registry, source: { store, repository: 'a/b', descriptor: registry.putBlob('a/b', blob) } };
}

const received = (): number => snapshotMetrics()['imgfs_content_received_bytes_total'] ?? 0;

async function filled(cache: DiskCache, source: BlobSource): Promise<Uint8Array> {
  const reader = await cache.open(source);
  try {
    await reader.fill({ start: 0, end: reader.size });
    assert.equal(reader.status().verified, true);
    return await copyBlob(cache, source);
  } finally {
    await reader.close();
  }
}

test('read in order, and filled: most of it never comes into JavaScript', { timeout }, async (t) => {
  const { source } = await ground(t);
  for (const read of [copyBlob, filled]) {
    const before = received();
    assert.deepEqual(await read(await cacheIn(t), source), blob);
    assert.ok(received() - before > blob.length / 2, `${received() - before} bytes`);
  }
});

test('a window that begins in the middle, and what is around it afterwards', { timeout }, async (t) => {
  const { source } = await ground(t);
  const cache = await cacheIn(t);
  const middle = 10_000_001;
  assert.deepEqual(
    await readRange(cache, source, middle, 5_000_000),
    blob.subarray(middle, middle + 5_000_000),
  );
  assert.deepEqual(await copyBlob(cache, source), blob);
});

const faults: Readonly<Record<string, Fault>> = {
  'cut early': { kind: 'cut', at: 10 },
  'cut in the middle': { kind: 'cut', atFraction: 0.6 },
  stall: { kind: 'stall', atFraction: 0.5 },
  'too short, announced': { kind: 'truncate', atFraction: 0.7 },
  'too long, announced': { kind: 'pad', bytes: 5000 },
  'length too small': { kind: 'content-length', off: -1000 },
  'length too large': { kind: 'content-length', off: 1000 },
  'all of it for a range': { kind: 'ignore-range' },
  'another range': { kind: 'wrong-range', shift: 4096 },
  'reset behind the headers': { kind: 'reset', when: 'headers' },
};

for (const [title, fault] of Object.entries(faults)) {
  test(`${title}: the right bytes or an error, and the right ones the next time`, { timeout }, async (t) => {
    const { registry, source } = await ground(t);
    for (const nth of [1, 3, 5]) {
      const cache = await cacheIn(t);
      registry.clearFaults();
      registry.fault({ match: { path: /blobs/, nth }, fault });
      try {
        assert.deepEqual(await copyBlob(cache, source), blob);
      } catch (error) {
        if (!isImgfsError(error)) throw error;
      }
      registry.clearFaults();
      assert.deepEqual(await copyBlob(cache, source), blob);
    }
  });
}

test('a wrong bit is found, wherever it is, before the last bytes are given', { timeout }, async (t) => {
  const { registry, source } = await ground(t);
  for (const nth of [2, 4, 6]) {
    const cache = await cacheIn(t);
    registry.clearFaults();
    registry.fault({ match: { path: /blobs/, nth }, fault: { kind: 'flip', atFraction: 0.5 } });
    await assert.rejects(copyBlob(cache, source), (error) => isImgfsError(error, 'integrity'));
    assert.deepEqual(await copyBlob(cache, source), blob);
  }
});

test('given up in the middle, closed, and gone on with: nothing is fetched twice', { timeout }, async (t) => {
  const { registry, source } = await ground(t);
  const directory = await tempDir(t, 'receiving');
  registry.fault({ match: { path: /blobs/ }, fault: { kind: 'drip', bytes: 400_000, everyMs: 10 } });
  let present = 0;
  await withCache({ directory }, async (cache) => {
    const reader = await cache.open(source);
    const controller = new AbortController();
    const filling = reader.fill({ start: 0, end: reader.size }, { signal: controller.signal });
    const refused = assert.rejects(filling, (error) => isImgfsError(error, 'interrupted'));
    while (reader.status().presentBytes <= 1 << 20) await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort(new ImgfsError('interrupted', 'test'));
    await refused;
    await reader.close();
  });
  registry.clearFaults();
  const sent = registry.bytesSent();
  await withCache({ directory }, async (cache) => {
    const reader = await cache.open(source);
    present = reader.status().presentBytes;
    await reader.close();
    assert.deepEqual(await copyBlob(cache, source), blob);
  });
  assert.ok(present > 1 << 20, `${present} bytes were kept`);
  assert.ok(registry.bytesSent() - sent <= blob.length - present + (1 << 20));
});
