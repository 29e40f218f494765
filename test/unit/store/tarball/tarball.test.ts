import assert from 'node:assert/strict';
import { appendFile, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../../../src/oci/digest.js';
import { parseImageConfig } from '../../../../src/oci/image-config.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import type { SnapshotStore } from '../../../../src/store/snapshot-store.js';
import { openTarball } from '../../../../src/store/tarball/open-tarball.js';
import { readBody, readRange, rejectsWith } from '../../../support/bodies.js';
import { buildTar } from '../../../support/tar-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

async function write(t: TestContext, bytes: Uint8Array): Promise<string> {
  const path = join(await tempDir(t, 'tarball'), 'a.tar');
  await writeFile(path, bytes);
  return path;
}

async function imageOf(store: SnapshotStore) {
  const { descriptor } = await store.resolve({ repository: '', tag: 'latest' });
  const manifest = parseManifest(await readBody(await store.fetch('', descriptor)), descriptor.mediaType);
  assert.ok(manifest.kind === 'image');
  const config = parseImageConfig(await readBody(await store.fetch('', manifest.config)));
  return { digest: descriptor.digest, layers: manifest.layers, config };
}

describe('tarball', limits, () => {
  it('is an image of one layer for each tar, as they are', async (t) => {
    const [lower, upper] = await Promise.all(['a', 'b'].map((name) => buildTar([{ name, content: name }])));
    assert.ok(lower && upper);
    const packed = gzipSync(upper);
    const paths = [await write(t, lower), await write(t, packed)];
    const store = await openTarball(paths.join(':'));
    t.after(() => store.close());
    const { layers, config } = await imageOf(store);
    assert.deepEqual(
      layers.map(({ mediaType, digest, size }) => [mediaType, digest, size]),
      [
        [mediaTypes.ociLayer, digestOf(lower), lower.length],
        [mediaTypes.ociLayerGzip, digestOf(packed), packed.length],
      ],
    );
    assert.deepEqual(config.diffIds, [digestOf(lower), digestOf(upper)]);
    const range = { start: 100, end: 600 };
    const [first] = layers;
    assert.ok(first);
    assert.deepEqual(
      await readRange(await store.fetch('', first, { range }), range),
      Buffer.from(lower.subarray(100, 600)),
    );
  });

  it('is the same image each time, is not read twice for its digest, and another one when it changes', async (t) => {
    const path = await write(t, gzipSync(await buildTar([{ name: 'a', content: 'a' }])));
    const spoolDirectory = await tempDir(t, 'spool');
    const open = async () => {
      const store = await openTarball(path, { spoolDirectory });
      t.after(() => store.close());
      return { store, image: await imageOf(store) };
    };
    const first = await open();
    assert.equal((await open()).image.digest, first.image.digest);
    const folder = join(spoolDirectory, 'facts');
    const [fact] = await readdir(folder);
    assert.ok(fact);
    // What is remembered is what the second opening goes by.
    const kept = JSON.parse(await readFile(join(folder, fact), 'utf8'));
    await writeFile(
      join(folder, fact),
      JSON.stringify({ ...kept, fact: { ...kept.fact, diffId: kept.fact.digest } }),
    );
    assert.notEqual((await open()).image.digest, first.image.digest);
    for (const damaged of [
      '',
      '{',
      JSON.stringify({ ...kept, key: 'other' }),
      JSON.stringify({ ...kept, fact: { digest: 'x' } }),
    ]) {
      await writeFile(join(folder, fact), damaged);
      assert.equal((await open()).image.digest, first.image.digest);
    }
    await writeFile(path, gzipSync(await buildTar([{ name: 'b', content: 'b' }])));
    await utimes(path, new Date(), new Date(1_000_000_000_000));
    assert.notEqual((await imageOf(first.store)).digest, first.image.digest);
  });

  it('says what is wrong', async (t) => {
    await rejectsWith(openTarball('/nonexistent.tar'), 'not-found');
    await rejectsWith(openTarball(await write(t, Buffer.from('no tar'))), 'invalid-content');
    await rejectsWith(openTarball(await write(t, Buffer.from('fd377a585a0000', 'hex'))), 'unsupported');
    const cut = gzipSync(await buildTar([{ name: 'a', content: 'a'.repeat(10_000) }])).subarray(0, 60);
    await rejectsWith(openTarball(await write(t, cut)), 'invalid-content');
    const path = await write(t, await buildTar([{ name: 'a', content: 'a' }]));
    await rejectsWith(openTarball(path, { signal: AbortSignal.abort() }), 'interrupted');
    const store = await openTarball(path);
    t.after(() => store.close());
    await appendFile(path, Buffer.alloc(512));
    assert.equal((await imageOf(store)).layers.length, 1);
  });
});
