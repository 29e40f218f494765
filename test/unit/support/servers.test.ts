/** The other tools of the test ground: builder, layout writer, docker-registry, skopeo, shaping proxy. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { request } from 'undici';
import { digestHex, digestOf } from '../../../src/oci/digest.js';
import { skipWithout } from '../../support/child.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { writeLayout } from '../../support/layout-writer.js';
import { digestOfContent, patternedContent } from '../../support/patterned-blob.js';
import { createPrng } from '../../support/prng.js';
import { startShapingProxy } from '../../support/shaping-proxy.js';
import { skopeoCopy, skopeoInspect, skopeoRawManifest } from '../../support/skopeo.js';
import { tempDir } from '../../support/temp.js';

const deadline = { timeout: 60_000 };

void test('built images are reproducible and hold together', deadline, async (t) => {
  const image = await sampleImage({ seed: 3 });
  assert.equal((await sampleImage({ seed: 3 })).descriptor.digest, image.descriptor.digest);
  assert.notEqual((await sampleImage({ seed: 4 })).descriptor.digest, image.descriptor.digest);
  for (const { bytes, descriptor } of [...image.blobs, ...image.manifests]) {
    assert.equal(digestOf(bytes), descriptor.digest);
  }
  for (const layer of image.layers) assert.deepEqual(gunzipSync(layer.bytes), layer.tar);
  const directory = await tempDir(t, 'layout');
  await writeLayout(directory, [{ image, name: 'v1' }]);
  const path = join(directory, 'blobs/sha256', digestHex(image.config.descriptor.digest));
  assert.deepEqual(await readFile(path), image.config.bytes);
});

void test(
  'skopeo reads a built layout and pushes it to docker-registry and to the fault registry',
  { ...deadline, skip: skipWithout('skopeo', 'docker-registry') },
  async (t) => {
    const images = [
      await sampleImage(),
      await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } }),
    ];
    const index = await buildIndex(images, {
      attestation: () => ({ predicateType: 'https://spdx.dev/Document', predicate: {} }),
    });
    const layout = await tempDir(t, 'layout');
    await writeLayout(layout, [{ image: index, name: 'v1' }]);
    const docker = await startDockerRegistry();
    t.after(() => docker.close());
    const fault = await startFaultRegistry({ redirectBlobs: true });
    t.after(() => fault.close());
    for (const { host } of [docker, fault]) {
      const name = `docker://${host}/group/app:v1`;
      await skopeoCopy(`oci:${layout}:v1`, name, { all: true });
      assert.equal(digestOf(Buffer.from(await skopeoRawManifest(name))), index.descriptor.digest);
      const extra = ['--override-os', 'linux', '--override-arch', 'arm64'];
      const seen = await skopeoInspect(`docker://${host}/group/app:v1`, { extra });
      assert.equal(seen['Architecture'], 'arm64');
    }
    const back = await tempDir(t, 'back');
    await skopeoCopy(`docker://${fault.host}/group/app:v1`, `oci:${back}:v1`, { all: true });
    const layer = images[0]?.layers[1];
    assert.ok(layer);
    const copied = await readFile(join(back, 'blobs/sha256', digestHex(layer.descriptor.digest)));
    assert.equal(digestOf(copied), layer.descriptor.digest);
    assert.ok(fault.requestsTo({ role: 'storage' }).length > 0);
  },
);

void test('the shaping proxy keeps order, delays and counts', deadline, async (t) => {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  const bytes = createPrng(5).bytes(400_000);
  const { digest } = registry.putBlob('a', bytes);
  const proxy = await startShapingProxy({
    port: Number(new URL(registry.url).port),
    roundTripMs: 30,
    bytesPerSecond: 4_000_000,
  });
  t.after(() => proxy.close());
  const from = performance.now();
  const url = `http://${proxy.host}/v2/a/blobs/${digest}`;
  const wanted = createHash('sha256').update(bytes).digest('hex');
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      const answer = await request(url);
      const body = Buffer.from(await answer.body.arrayBuffer());
      assert.equal(createHash('sha256').update(body).digest('hex'), wanted);
    }),
  );
  // 1.6 MB at 4 MB/s is 400 ms, whatever the machine does besides.
  assert.ok(performance.now() - from >= 400, String(performance.now() - from));
  assert.ok(proxy.bytesDown() >= 1_600_000);
});

void test('patterned blobs are the same in any cut', deadline, () => {
  const content = patternedContent(200_000);
  const whole = content.slice(0, 200_000);
  assert.equal(digestOf(whole), digestOfContent(content));
  assert.deepEqual(content.slice(65_000, 140_001), whole.slice(65_000, 140_001));
  assert.equal(content.slice(199_999, 300_000).length, 1);
});
