import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import { digestOf } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { openRegistryStore, type RegistryStore } from '../../src/store/registry/registry-store.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { buildArtifact, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { writeLayout } from '../support/layout-writer.js';
import { createPrng } from '../support/prng.js';
import { bodyBytes, listOf } from '../support/read-body.js';
import { registryDeps } from '../support/registry-deps.js';
import { skopeoCopy, skopeoInspect } from '../support/skopeo.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const installed = spawnSync('docker-registry', ['--version']).status === 0;
const skip = installed ? false : 'docker-registry is not installed';
const timeout = 60_000;

let server: DockerRegistry;
let store: RegistryStore;
let image: BuiltSingleImage;

before(async () => {
  if (!installed) return;
  server = await startDockerRegistry();
  store = openRegistryStore(server.host, registryDeps(server.url, { options: { chunkBytes: 1024 * 1024 } }));
  image = await sampleImage();
  const directory = await makeTempDir('wire');
  try {
    await writeLayout(directory, [{ image, name: 'v1' }]);
    await skopeoCopy(`oci:${directory}:v1`, `docker://${server.host}/group/app:v1`);
  } finally {
    await removeTempDir(directory);
  }
});

after(async () => {
  if (!installed) return;
  await store.close();
  await server.close();
});

async function push(repository: string, bytes: Uint8Array): Promise<void> {
  const upload = await store.startUpload(repository, { size: bytes.length });
  await upload.write(bytes);
  await upload.finish(digestOf(bytes));
}

test('what skopeo pushed is read back byte for byte', { timeout, skip }, async () => {
  const { descriptor } = await store.resolve({ repository: 'group/app', tag: 'v1' });
  assert.deepEqual(descriptor, image.descriptor);
  const byDigest = await store.resolve({ repository: 'group/app', digest: descriptor.digest });
  assert.deepEqual(byDigest.descriptor, descriptor);
  // A digest is believed for ever, so its bytes come along as the proof.
  assert.equal(digestOf(byDigest.bytes ?? new Uint8Array()), descriptor.digest);
  for (const { descriptor: part, bytes } of [...image.blobs, ...image.manifests]) {
    assert.deepEqual(await bodyBytes(await store.fetch('group/app', part)), Buffer.from(bytes));
    assert.equal(
      (await store.statBlob('group/app', image.config.descriptor.digest)).size,
      image.config.bytes.length,
    );
  }
  const layer = image.layers[1];
  assert.ok(layer !== undefined);
  const body = await store.fetch('group/app', layer.descriptor, { range: { start: 100, end: 300 } });
  assert.deepEqual(await bodyBytes(body), Buffer.from(layer.bytes.subarray(100, 300)));
});

test('lists', { timeout, skip }, async () => {
  assert.deepEqual(await listOf(store.tags('group/app')), ['v1']);
  assert.ok((await listOf(store.repositories())).includes('group/app'));
  await assert.rejects(listOf(store.tags('none')), (error) => isImgfsError(error, 'not-found'));
});

test('a range behind the end is an error, and the connection lives on', { timeout, skip }, async () => {
  const [layer] = image.layers;
  assert.ok(layer !== undefined);
  const wrong = { ...layer.descriptor, size: 10_000_000 };
  await assert.rejects(
    store.fetch('group/app', wrong, { range: { start: 9_000_000, end: 9_000_100 } }),
    (error) => isImgfsError(error, 'integrity') || isImgfsError(error, 'protocol'),
  );
});

test('what we push is what skopeo sees', { timeout, skip }, async () => {
  const other = await sampleImage({ seed: 9, payloadBytes: 5_000_000 });
  for (const { bytes } of other.blobs) await push('pushed/app', bytes);
  const [manifest] = other.manifests;
  assert.ok(manifest !== undefined);
  await store.putManifest('pushed/app', manifest.bytes, manifest.descriptor.mediaType, { tags: ['a', 'b'] });
  for (const tag of ['a', 'b']) {
    const inspected = await skopeoInspect(`docker://${server.host}/pushed/app:${tag}`);
    assert.equal(inspected['Digest'], other.descriptor.digest);
    assert.deepEqual(
      inspected['Layers'],
      other.layers.map(({ descriptor }) => descriptor.digest),
    );
  }
  const directory = await makeTempDir('wire');
  try {
    await skopeoCopy(`docker://${server.host}/pushed/app:a`, `oci:${directory}:a`);
  } finally {
    await removeTempDir(directory);
  }
});

test('a mount moves no byte', { timeout, skip }, async () => {
  const { digest } = image.config.descriptor;
  assert.equal(await store.mountBlob('mounted/app', 'group/app', digest), true);
  assert.equal((await store.statBlob('mounted/app', digest)).size, image.config.bytes.length);
  assert.equal(await store.mountBlob('mounted/app', 'group/app', digestOf(Buffer.from('none'))), false);
});

test('an upload goes on from its token, and a wrong digest is refused', { timeout, skip }, async () => {
  const bytes = createPrng(5).bytes(3 * 1024 * 1024 + 17);
  const first = await store.startUpload('group/app');
  await first.write(bytes.subarray(0, 2 * 1024 * 1024));
  await first.status();
  const second = await store.resumeUpload('group/app', first.resumeToken);
  assert.equal(second.offset, 2 * 1024 * 1024);
  await second.write(bytes.subarray(second.offset));
  await assert.rejects(second.finish(digestOf(Buffer.from('no'))), (error) =>
    isImgfsError(error, 'digest-mismatch'),
  );
  await second.finish(digestOf(bytes));
  assert.equal((await store.statBlob('group/app', digestOf(bytes))).size, bytes.length);
});

test('referrers by the fallback tag', { timeout, skip }, async () => {
  const artifact = buildArtifact({
    artifactType: 'application/x-test',
    subject: image.descriptor,
    files: [{ title: 'sbom.json', content: '{}' }],
  });
  for (const { bytes } of artifact.blobs) await push('group/app', bytes);
  const [manifest] = artifact.manifests;
  assert.ok(manifest !== undefined);
  await store.putManifest('group/app', manifest.bytes, manifest.descriptor.mediaType);
  const found = await listOf(store.referrers('group/app', image.descriptor.digest));
  assert.deepEqual(
    found.map(({ digest, artifactType }) => [digest, artifactType]),
    [[artifact.descriptor.digest, 'application/x-test']],
  );
  await store.deleteManifest('group/app', artifact.descriptor.digest);
  assert.deepEqual(await listOf(store.referrers('group/app', image.descriptor.digest)), []);
});

test('deletes', { timeout, skip }, async () => {
  const bytes = Buffer.from(`{"schemaVersion":2,"mediaType":"${mediaTypes.ociIndex}","manifests":[]}`);
  const { digest } = await store.putManifest('group/app', bytes, mediaTypes.ociIndex, { tags: ['gone'] });
  await assert.rejects(store.deleteTag('group/app', 'gone'), (error) => isImgfsError(error, 'unsupported'));
  await store.deleteManifest('group/app', digest);
  await assert.rejects(store.resolve({ repository: 'group/app', tag: 'gone' }), (error) =>
    isImgfsError(error, 'not-found'),
  );
});
