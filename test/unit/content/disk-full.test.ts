import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { copyBlob, patterned, readRange } from '../../conformance/content-suite.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { cacheIn } from './cache-in-test.js';

const timeout = 30_000;

function skipReason(): string | false {
  if (process.platform !== 'linux') return 'tmpfs is a Linux thing';
  return process.getuid?.() === 0 ? false : 'mounting a tmpfs takes root';
}

/** A directory on a disk of its own, gone with the test. Hooks run in the order of their registration. */
async function smallDisk(t: TestContext, sizeBytes: number, release: () => Promise<void>): Promise<string> {
  const mountPoint = await makeTempDir('disk');
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'imgfs-test', mountPoint]);
  t.after(async () => {
    await release();
    execFileSync('umount', [mountPoint]);
    await removeTempDir(mountPoint);
  });
  return join(mountPoint, 'cache');
}

async function cacheOnSmallDisk(
  t: TestContext,
  sizeBytes: number,
  options: Parameters<typeof cacheIn>[1] = {},
): Promise<Awaited<ReturnType<typeof cacheIn>>> {
  const opened: { cache?: Awaited<ReturnType<typeof cacheIn>> } = {};
  const directory = await smallDisk(t, sizeBytes, async () => opened.cache?.close());
  opened.cache = await cacheIn(t, { ...options, directory });
  return opened.cache;
}

test(
  'a full disk never fails a read, and older blobs make room',
  { timeout, skip: skipReason() },
  async (t) => {
    const cache = await cacheOnSmallDisk(t, 3 << 20);
    const store = new ScriptedStore();
    for (let seed = 1; seed <= 6; seed += 1) {
      const blob = patterned(900_000, seed);
      assert.deepEqual(await copyBlob(cache, store.add(blob)), blob);
      const manifest = patterned(3000, seed + 50);
      const bytes = await cache.readAll(store.add(manifest), { maxBytes: 3000 });
      assert.deepEqual(Buffer.from(bytes), Buffer.from(manifest));
    }
    const large = patterned(8_000_000, 9);
    assert.deepEqual(await copyBlob(cache, store.add(large)), large);
    const all = await cache.readAll(store.add(patterned(5_000_000, 10)), { maxBytes: 5_000_000 });
    assert.deepEqual(Buffer.from(all), Buffer.from(patterned(5_000_000, 10)));
  },
);

test(
  'on a full disk a damaged blob does not end well, and strict gives no wrong byte',
  { timeout, skip: skipReason() },
  async (t) => {
    const blob = patterned(3_000_000, 1);
    const damaged = new ScriptedStore({ fault: () => ({ flipAt: 2_000_000 }) });
    const cache = await cacheOnSmallDisk(t, 1 << 20);
    await assert.rejects(copyBlob(cache, damaged.add(blob)), { code: 'integrity' });
    const strict = await cacheOnSmallDisk(t, 1 << 20, { verify: 'strict' });
    await assert.rejects(readRange(strict, damaged.add(blob), 0, 1000), { code: 'integrity' });
    const store = new ScriptedStore();
    const source = store.add(patterned(3_000_000, 2));
    assert.deepEqual(await copyBlob(strict, source), patterned(3_000_000, 2));
  },
);

test(
  'a server that changes its mind after the whole matched gives no wrong byte',
  { timeout, skip: skipReason() },
  async (t) => {
    const blob = patterned(3_000_000, 3);
    const strict = await cacheOnSmallDisk(t, 1 << 20, { verify: 'strict' });
    let broken = false;
    const store = new ScriptedStore({ fault: () => (broken ? { flipAt: 2_500_000 } : undefined) });
    const reader = await strict.open(store.add(blob));
    const bytes = new Uint8Array(4096);
    await reader.read(bytes, 0, 4096, 0);
    assert.deepEqual(bytes, blob.subarray(0, 4096));
    broken = true;
    await assert.rejects(reader.read(bytes, 0, 4096, 2_500_000), { code: 'integrity' });
    broken = false;
    await reader.read(bytes, 0, 4096, 2_500_000);
    assert.deepEqual(bytes, blob.subarray(2_500_000, 2_504_096));
    await reader.close();
  },
);

test('a cache that cannot be written still reads', { timeout, skip: skipReason() }, async (t) => {
  const opened: { cache?: Awaited<ReturnType<typeof cacheIn>> } = {};
  const directory = await smallDisk(t, 4 << 20, async () => opened.cache?.close());
  const first = await cacheIn(t, { directory });
  const store = new ScriptedStore();
  const known = patterned(300_000, 1);
  await copyBlob(first, store.add(known));
  await first.close();
  execFileSync('mount', ['-o', 'remount,ro', join(directory, '..')]);
  opened.cache = await cacheIn(t, { directory });
  const before = store.requests.length;
  assert.deepEqual(await copyBlob(opened.cache, store.add(known)), known);
  assert.equal(store.requests.length, before);
  const fresh = patterned(700_000, 2);
  assert.deepEqual(await copyBlob(opened.cache, store.add(fresh)), fresh);
  const small = await opened.cache.readAll(store.add(patterned(100, 3)), { maxBytes: 100 });
  assert.equal(small.length, 100);
  assert.equal((await fs.readdir(join(directory, 'blobs/sha256'))).length, 1);
});
