import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../src/oci/digest.js';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import { openSif } from '../../../../src/store/sif/open-sif.js';
import { sifTypes } from '../../../../src/store/sif/sif-file.js';
import type { SnapshotStore } from '../../../../src/store/snapshot-store.js';
import { readBody, rejectsWith } from '../../../support/bodies.js';
import { descriptorJson, sampleImage } from '../../../support/image-builder.js';
import { createPrng } from '../../../support/prng.js';
import { buildSif, primarySquashfs } from '../../../support/sif-writer.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

async function open(t: TestContext, bytes: Uint8Array): Promise<SnapshotStore> {
  const path = join(await tempDir(t, 'sif'), 'image.sif');
  await writeFile(path, bytes);
  const store = await openSif(path);
  t.after(() => store.close());
  return store;
}

describe('sif', limits, () => {
  it('an OCI-SIF is its index and blobs', async (t) => {
    const image = await sampleImage();
    const index = { schemaVersion: 2, manifests: [descriptorJson(image.descriptor)] };
    const blobs = [...image.blobs, ...image.manifests];
    const store = await open(
      t,
      buildSif([
        ...blobs.map(({ bytes, descriptor }) => ({
          type: sifTypes.ociBlob,
          content: bytes,
          extra: Buffer.from(descriptor.digest),
        })),
        { type: sifTypes.ociRootIndex, content: Buffer.from(JSON.stringify(index)) },
      ]),
    );
    for (const target of [
      { repository: '' },
      { repository: '', tag: 'latest' },
      { repository: '', tag: '@0' },
    ]) {
      assert.equal((await store.resolve(target)).descriptor.digest, image.descriptor.digest);
    }
    for (const { descriptor, bytes } of blobs) {
      assert.deepEqual(await readBody(await store.fetch('', descriptor)), Buffer.from(bytes));
    }
  });

  it('an older one is an artifact with a file for each data object', async (t) => {
    const squashfs = createPrng(5).bytes(5000);
    const store = await open(
      t,
      buildSif([
        { type: sifTypes.definition, content: Buffer.from('bootstrap: docker\n') },
        { type: sifTypes.partition, content: squashfs, extra: primarySquashfs },
        { type: sifTypes.sbom, content: Buffer.from('{}') },
      ]),
    );
    const { descriptor } = await store.resolve({ repository: '', tag: 'latest' });
    const manifest = parseManifest(await readBody(await store.fetch('', descriptor)));
    assert.ok(manifest.kind === 'image');
    assert.equal(manifest.artifactType, 'application/vnd.sylabs.sif');
    assert.deepEqual(
      manifest.layers.map(({ annotations }) => annotations?.['org.opencontainers.image.title']),
      ['1-definition', 'rootfs.squashfs', '3-sbom.json'],
    );
    const root = manifest.layers[1];
    assert.ok(root);
    assert.equal(root.digest, digestOf(squashfs));
    assert.deepEqual(await readBody(await store.fetch('', root)), Buffer.from(squashfs));
  });

  it('says what is wrong, whatever is in it', async (t) => {
    await rejectsWith(openSif('/nonexistent.sif'), 'not-found');
    await rejectsWith(open(t, Buffer.from('short')), 'invalid-content');
    await rejectsWith(open(t, Buffer.alloc(1000)), 'invalid-content');
    const whole = buildSif([
      { type: sifTypes.partition, content: Buffer.alloc(1000), extra: primarySquashfs },
    ]);
    await rejectsWith(open(t, whole.subarray(0, whole.length - 1)), 'invalid-content');
    await rejectsWith(open(t, whole.subarray(0, 200)), 'invalid-content');
    const newer = Buffer.from(whole);
    newer.write('99\0', 42);
    await rejectsWith(open(t, newer), 'unsupported');
    const prng = createPrng(3);
    for (let round = 0; round < 100; round += 1) {
      const bytes = Buffer.from(whole);
      for (let flips = 0; flips < 3; flips += 1) bytes[32 + prng.integer(700)] = prng.integer(256);
      await open(t, bytes).catch((error: unknown) => assert.ok(isImgfsError(error), String(error)));
    }
  });
});
