import assert from 'node:assert/strict';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestHex } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { copyBlob, patterned, readRange } from '../../conformance/content-suite.js';
import { mustRun, skipWithout } from '../../support/child.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';
import { cacheIn, withCache } from './cache-in-test.js';

const timeout = 20_000;
const kibi = 1024;

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Bytes of the files and folders that count, as the disk has them now. */
async function bytesOnDisk(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of ['blobs/sha256', 'partial']) {
    const folder = join(directory, name);
    for (const entry of await fs.readdir(folder, { recursive: true }).catch(() => [])) {
      bytes += (await fs.lstat(join(folder, entry)).catch(() => ({ blocks: 0 }))).blocks * 512;
    }
  }
  return bytes;
}

test('the cache stays under its bound, and what was used last stays', { timeout }, async (t) => {
  const bound = 1000 * kibi;
  const cache = await cacheIn(t, { maxBytes: bound });
  // The first listing: nothing is evicted before it.
  await cache.usage({ wait: true });
  let most = 0;
  let watching = Promise.resolve();
  const watch = setInterval(() => {
    watching = watching.then(async () => {
      most = Math.max(most, (await cache.usage({ wait: true })).bytes);
    });
  }, 2);
  t.after(() => clearInterval(watch));
  const store = new ScriptedStore();
  const first = store.add(patterned(200 * kibi, 1));
  for (let seed = 1; seed <= 12; seed += 1) {
    await copyBlob(cache, store.add(patterned(200 * kibi, seed)));
    // The first one is used again and again.
    await readRange(cache, first, 0, 10);
    // At once, while a blob is getting its name: what is counted includes what is on its way.
    const now = await cache.usage();
    assert.ok(now.bytes <= bound, `after ${seed}: ${JSON.stringify(now)}`);
    const compared = await cache.usage({ wait: true });
    assert.ok(compared.bytes <= bound, `after ${seed}, compared with the disk: ${JSON.stringify(compared)}`);
  }
  clearInterval(watch);
  await watching;
  assert.ok(most <= bound, `${most} bytes at some time`);
  assert.ok((await bytesOnDisk(cache.directory)) <= bound, 'as the disk itself says');
  assert.equal((await cache.status(first.descriptor.digest)).state, 'complete');
  const states = await Promise.all(
    Array.from({ length: 12 }, (_, index) => store.add(patterned(200 * kibi, index + 1))).map(
      async ({ descriptor }) => (await cache.status(descriptor.digest)).state,
    ),
  );
  const kept = states.filter((state) => state === 'complete').length;
  assert.ok(kept >= 3 && kept <= 5, `${kept} kept`);
});

test(
  'what another process keeps is looked at before more is promised than the slack',
  { timeout },
  async (t) => {
    const bound = 1000 * kibi;
    const directory = await tempDir(t, 'two');
    const store = new ScriptedStore();
    await withCache({ directory, maxBytes: bound }, async (late) => {
      // It knows that there is nothing, and will not look again because of the time.
      await late.usage({ wait: true });
      await withCache({ directory, maxBytes: bound }, async (other) => {
        for (let seed = 1; seed <= 4; seed += 1)
          await copyBlob(other, store.add(patterned(200 * kibi, seed)));
      });
      for (let seed = 5; seed <= 8; seed += 1) {
        await copyBlob(late, store.add(patterned(200 * kibi, seed)));
        // The first one is promised before it looks: 200 KiB are more than 3 %, which is when it does.
        const bytes = await bytesOnDisk(directory);
        assert.ok(bytes <= bound + 200 * kibi + 8 * kibi, `${bytes} bytes after blob ${seed}`);
      }
    });
  },
);

test('the order of use survives a restart', { timeout }, async (t) => {
  const directory = await tempDir(t, 'order');
  const store = new ScriptedStore();
  const sources = [1, 2, 3].map((seed) => store.add(patterned(100 * kibi, seed)));
  await withCache({ directory }, async (cache) => {
    for (const source of sources) await copyBlob(cache, source);
  });
  // Last uses an hour apart, the second blob longest ago.
  for (const [index, ageHours] of [
    [0, 2],
    [1, 3],
    [2, 1],
  ] as const) {
    const path = join(
      directory,
      'blobs/sha256',
      digestHex(sources[index]?.descriptor.digest ?? ('' as never)),
    );
    await fs.utimes(path, Date.now() / 1000 - ageHours * 3600, (await fs.stat(path)).mtimeMs / 1000);
  }
  await withCache({ directory }, async (cache) => {
    await cache.prune({ maxBytes: 250 * kibi });
    const states = await Promise.all(
      sources.map(async ({ descriptor }) => (await cache.status(descriptor.digest)).state),
    );
    assert.deepEqual(states, ['complete', 'absent', 'complete']);
  });
});

test('what is open is not evicted; what cannot be kept is read through memory', { timeout }, async (t) => {
  const cache = await cacheIn(t, { maxBytes: 300 * kibi });
  const store = new ScriptedStore();
  const small = store.add(patterned(200 * kibi, 1));
  await copyBlob(cache, small);
  const reader = await cache.open(small);
  const blob = patterned(2000 * kibi, 2);
  assert.deepEqual(await copyBlob(cache, store.add(blob)), blob);
  assert.equal((await cache.status(small.descriptor.digest)).state, 'complete');
  const { bytes } = await cache.usage({ wait: true });
  assert.ok(bytes <= 300 * kibi, `${bytes} bytes`);
  const big = await cache.open(store.add(patterned(2000 * kibi, 3)));
  await assert.rejects(big.fill({ start: 0, end: big.size }), { code: 'cache-full' });
  await big.close();
  await reader.close();
});

test('a damaged blob that passes through memory does not end well either', { timeout }, async (t) => {
  const cache = await cacheIn(t, { maxBytes: 100 * kibi });
  const blob = patterned(900 * kibi, 2);
  const store = new ScriptedStore({ fault: () => ({ flipAt: 5000 }) });
  await assert.rejects(copyBlob(cache, store.add(blob)), { code: 'integrity' });
});

test(
  'a descriptor that is open stays readable when another process evicts the blob',
  { timeout },
  async (t) => {
    const cache = await cacheIn(t);
    const store = new ScriptedStore();
    const blob = patterned(200 * kibi);
    const source = store.add(blob);
    await copyBlob(cache, source);
    const reader = await cache.open(source);
    const blobs = join(cache.directory, 'blobs/sha256');
    await until(async () => (await fs.readdir(blobs).catch(() => [])).length === 1);
    await fs.rm(join(cache.directory, 'blobs'), { recursive: true });
    const bytes = new Uint8Array(blob.length);
    await reader.read(bytes, 0, bytes.length, 0);
    assert.deepEqual(bytes, blob);
    await reader.close();
    assert.deepEqual(await copyBlob(cache, source), blob);
  },
);

test('pinned images stay, until they are unpinned', { timeout }, async (t) => {
  const cache = await cacheIn(t);
  const store = new ScriptedStore();
  const layer = store.add(patterned(100 * kibi), 'sha256', mediaTypes.ociLayerGzip);
  const config = store.add(
    Buffer.from('{"architecture":"amd64","os":"linux"}'),
    'sha256',
    mediaTypes.ociConfig,
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: config.descriptor,
    layers: [layer.descriptor],
  };
  const image = store.add(Buffer.from(JSON.stringify(manifest)), 'sha256', mediaTypes.ociManifest);
  const loose = store.add(patterned(100 * kibi, 5));
  await copyBlob(cache, loose);
  const seen: number[] = [];
  await cache.pin(image, { name: 'docker.io/library/a:1', onProgress: ({ done }) => seen.push(done) });
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(
    (await cache.pins()).map(({ name }) => name),
    ['docker.io/library/a:1'],
  );
  await cache.prune();
  for (const { descriptor } of [layer, config, image]) {
    assert.equal((await cache.status(descriptor.digest)).state, 'complete');
  }
  assert.equal((await cache.status(loose.descriptor.digest)).state, 'absent');
  assert.equal(await cache.unpin('docker.io/library/a:1'), 1);
  await cache.prune();
  assert.equal((await cache.status(layer.descriptor.digest)).state, 'absent');
  assert.deepEqual(await fs.readdir(join(cache.directory, 'blobs/sha256')), []);
});

test('the cache is a layout that skopeo reads', { timeout, skip: skipWithout('skopeo') }, async (t) => {
  const cache = await cacheIn(t);
  const store = new ScriptedStore();
  const config = store.add(
    Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'),
    'sha256',
    mediaTypes.ociConfig,
  );
  const manifest = { schemaVersion: 2, config: config.descriptor, layers: [] };
  const image = store.add(Buffer.from(JSON.stringify(manifest)), 'sha256', mediaTypes.ociManifest);
  await cache.pin(image, { name: 'registry.test/a:1' });
  const { stdout } = await mustRun('skopeo', ['inspect', `oci:${cache.directory}:registry.test/a:1`]);
  assert.equal((JSON.parse(stdout) as { Digest: string }).Digest, image.descriptor.digest);
});

test('a kind of another room comes under the same bound', { timeout }, async (t) => {
  const cache = await cacheIn(t, { maxBytes: 1000 * kibi });
  const folder = join(cache.directory, 'decoded');
  await fs.mkdir(folder);
  const gone: string[] = [];
  await fs.writeFile(join(folder, 'old.tar'), Buffer.alloc(300 * kibi));
  const old = new Date(Date.now() - 3_600_000);
  await fs.utimes(join(folder, 'old.tar'), old, old);
  const ledger = cache.registerKind({
    name: 'decoded',
    folder,
    accepts: (key) => key.endsWith('.tar'),
    evict: async (key) => {
      if (key === 'busy.tar') return false;
      await fs.unlink(join(folder, key));
      gone.push(key);
      return true;
    },
  });
  await fs.writeFile(join(folder, 'busy.tar'), Buffer.alloc(300 * kibi));
  ledger.set('busy.tar', 300 * kibi);
  const store = new ScriptedStore();
  for (let seed = 1; seed <= 4; seed += 1) await copyBlob(cache, store.add(patterned(200 * kibi, seed)));
  assert.deepEqual(gone, ['old.tar']);
  assert.ok((await cache.usage({ wait: true })).bytes <= 1000 * kibi);
  const reservation = await cache.reserve(2000 * kibi);
  assert.equal(reservation, undefined);
});
