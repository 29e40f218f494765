import assert from 'node:assert/strict';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DiskCache } from '../../../src/content/disk.js';
import { digestOf } from '../../../src/oci/digest.js';
import { copyBlob, patterned, readRange } from '../../conformance/content-suite.js';
import { createPrng, type Prng } from '../../support/prng.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { tempDir } from '../../support/temp.js';
import { cacheIn, withCache } from './cache-in-test.js';

const timeout = 30_000;

/** Everything somebody can do to a file. */
const harms: Record<string, (path: string, prng: Prng, other: string) => Promise<void>> = {
  truncate: (path, prng) => fs.truncate(path, prng.integer(1000)),
  flip: async (path, prng) => {
    const bytes = await fs.readFile(path);
    const at = prng.integer(Math.max(1, bytes.length));
    bytes[at] = (bytes[at] ?? 0) ^ (1 << prng.integer(8));
    await fs.chmod(path, 0o644);
    await fs.writeFile(path, bytes);
  },
  zero: async (path) => {
    const { size } = await fs.stat(path);
    await fs.chmod(path, 0o644);
    await fs.writeFile(path, Buffer.alloc(size));
  },
  delete: (path) => fs.rm(path),
  chmod: (path) => fs.chmod(path, 0),
  swap: async (path, _prng, other) => {
    await fs.rename(path, `${path}.x`);
    await fs.rename(other, path).catch(() => undefined);
    await fs.rename(`${path}.x`, other);
  },
  folder: async (path) => {
    await fs.rm(path);
    await fs.mkdir(join(path, 'sub'), { recursive: true });
  },
  link: async (path) => {
    await fs.rm(path);
    await fs.symlink('/etc/passwd', path);
  },
  grow: (path) => fs.appendFile(path, 'x'),
};

async function filesOf(directory: string): Promise<string[]> {
  const entries = await fs.readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function useCache(cache: DiskCache, store: ScriptedStore, blobs: readonly Uint8Array[]): Promise<void> {
  for (const [index, blob] of blobs.entries()) {
    const source = store.add(blob);
    if (index === 0) {
      assert.deepEqual(
        Buffer.from(await cache.readAll(source, { maxBytes: blob.length })),
        Buffer.from(blob),
      );
    } else if (index === 1) {
      // Stays partial.
      assert.deepEqual(await readRange(cache, source, 300_000, 5000), blob.subarray(300_000, 305_000));
      assert.deepEqual(await readRange(cache, source, 10, 50), blob.subarray(10, 60));
    } else assert.deepEqual(await copyBlob(cache, source), blob);
  }
}

test('whatever is done to any file of the cache, the next read is right', { timeout }, async (t) => {
  const directory = await tempDir(t, 'heal');
  const blobs = [patterned(3000, 1), patterned(900_000, 2), patterned(400_000, 3), patterned(20_000, 4)];
  const prng = createPrng(11);
  const names = Object.keys(harms);
  for (let round = 0; round < 27; round += 1) {
    const store = new ScriptedStore();
    await withCache({ directory }, (cache) => useCache(cache, store, blobs));
    const files = await filesOf(directory);
    const victim = prng.pick(files);
    const harm = names[round % names.length] ?? '';
    await harms[harm]?.(victim, prng, prng.pick(files)).catch(() => undefined);
    await withCache({ directory }, (cache) => useCache(cache, store, blobs)).catch((error: unknown) => {
      throw new Error(`round ${round}: ${harm} ${victim}`, { cause: error });
    });
  }
});

test('a file that changes while its blob is open is noticed at the next open', { timeout }, async (t) => {
  const cache = await cacheIn(t);
  const store = new ScriptedStore();
  const blob = patterned(300_000);
  const source = store.add(blob);
  await copyBlob(cache, source);
  const path = join(cache.directory, 'blobs/sha256', digestOf(blob).slice(7));
  // The folder it was gathered in goes last: then the cache knows that the file has its name.
  while ((await fs.readdir(join(cache.directory, 'partial'))).length > 0) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const reader = await cache.open(source);
  await harms['flip']?.(path, createPrng(3), '');
  assert.deepEqual(await copyBlob(cache, source), blob);
  await reader.close();
});

test('the whole cache may be deleted while it is used', { timeout }, async (t) => {
  const cache = await cacheIn(t);
  const store = new ScriptedStore();
  for (let seed = 1; seed < 6; seed += 1) {
    const blob = patterned(700_000, seed);
    const reader = await cache.open(store.add(blob));
    const bytes = new Uint8Array(blob.length);
    await reader.read(bytes, 0, 1000, 0);
    await fs.rm(cache.directory, { recursive: true, force: true, maxRetries: 5 });
    for (let at = 0; at < bytes.length; at += 50_000)
      await reader.read(bytes, at, 50_000, at).catch((error: unknown) => {
        assert.fail(String(error));
      });
    assert.deepEqual(bytes, blob);
    await reader.close();
  }
});

test('verify finds damage that no stamp shows, and repair removes it', { timeout }, async (t) => {
  const directory = await tempDir(t, 'verify');
  const store = new ScriptedStore();
  const sources = [1, 2].map((seed) => store.add(patterned(300_000, seed)));
  await withCache({ directory }, async (cache) => {
    for (const source of sources) await copyBlob(cache, source);
  });
  const path = join(directory, 'blobs/sha256', sources[0]?.descriptor.digest.slice(7) ?? '');
  const stat = await fs.stat(path);
  await harms['flip']?.(path, createPrng(5), '');
  await fs.utimes(path, stat.atimeMs / 1000, stat.mtimeMs / 1000);
  await fs.writeFile(join(directory, 'blobs/sha256', 'stranger'), 'x');
  await withCache({ directory }, async (cache) => {
    const found = await cache.verify();
    assert.equal(found.blobs, 2);
    assert.equal(found.bytes, 600_000);
    assert.deepEqual(
      found.damaged.map(({ digest, removed }) => [digest, removed]),
      [[sources[0]?.descriptor.digest, false]],
    );
    assert.equal(found.strangers.length, 1);
    const repaired = await cache.verify({ repair: true });
    assert.equal(repaired.damaged[0]?.removed, true);
    assert.deepEqual((await cache.verify()).damaged, []);
  });
});
