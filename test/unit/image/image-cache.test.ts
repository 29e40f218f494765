/** The cache as a provider of images by name, and pushing into tags that are there. */
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { openContentCache } from '../../../src/content/disk.js';
import { pushImage } from '../../../src/image/copy/push-image.js';
import { mergeIndex } from '../../../src/image/merge-index.js';
import { ImageCache } from '../../../src/image/provider/image-cache.js';
import { digestOf } from '../../../src/oci/digest.js';
import { parseManifest } from '../../../src/oci/parse-manifest.js';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import { writeTarFile } from '../../../src/store/archive/write/write-tar.js';
import { planImages } from '../../../src/store/archive/write/plan-images.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { writeLayout } from '../../support/layout-writer.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const platforms = ['amd64', 'arm64', 's390x'];
const images = await Promise.all(
  platforms.map((architecture, at) =>
    sampleImage({ seed: at + 1, payloadBytes: 5_000, platform: { os: 'linux', architecture } }),
  ),
);
const [amd64, arm64, s390x] = images;
assert.ok(amd64 && arm64 && s390x);
const index = await buildIndex([amd64, arm64]);
const hostPlatform = { os: 'linux', architecture: 'amd64' };

async function setup(t: TestContext) {
  const server = await startFaultRegistry();
  t.after(() => server.close());
  server.addImage('group/app', index, 'v1');
  const cache = await openContentCache({ directory: await tempDir(t, 'provider') });
  t.after(() => cache.close());
  const store = openTestStore(server, { options: hastyOptions });
  t.after(() => store.close());
  const openRegistry = async () => store;
  const provider = new ImageCache({ cache, openRegistry, platform: hostPlatform });
  return { server, cache, store, provider, name: `${server.host}/group/app:v1` };
}

test('a pull fetches what is missing once, and asks again only when told', limits, async (t) => {
  const { server, provider, name } = await setup(t);
  assert.equal(await provider.findDescriptor(name), undefined);
  assert.equal((await provider.imagePull(name)).asked, true);
  assert.equal((await provider.findDescriptor(name))?.digest, index.descriptor.digest);
  server.forgetRequests();
  assert.equal((await provider.imagePull(name)).asked, false);
  assert.equal(server.requests.length, 0);
  server.addImage('group/app', amd64, 'v1');
  const again = await provider.imagePull(name, { always: true });
  assert.equal(again.descriptor.digest, amd64.descriptor.digest);
  const blobs = server.requests.filter(({ path }) => path.includes('/blobs/'));
  assert.equal(blobs.length, 0, 'the blobs were there');
});

test('a digest wins over a tag', limits, async (t) => {
  const { provider, name } = await setup(t);
  await provider.imagePull(name);
  const found = await provider.findDescriptor(`${name}@${arm64.descriptor.digest}`);
  assert.equal(found?.digest, arm64.descriptor.digest);
  const blob = await provider.findDescriptor(`${name}@${amd64.config.descriptor.digest}`);
  assert.equal(blob, undefined, 'a config is no image');
});

test('in the cache: whole, missing, unknown; platform by platform', limits, async (t) => {
  const { cache, provider, name } = await setup(t);
  await provider.imagePull(name, { platforms: [hostPlatform] });
  assert.equal((await provider.imageInCache(name)).complete, true);
  const arm = await provider.imageInCache(name, { os: 'linux', architecture: 'arm64' });
  assert.deepEqual(
    arm.missing.map(({ digest }) => digest),
    [arm64.descriptor.digest],
  );
  assert.deepEqual(await provider.imageInCache(`${name}x`), { complete: false, missing: [] });
  await cache.unpin(name);
  assert.equal((await provider.imageInCache(name)).complete, false);
});

test('in the registry: the tag, and the platform in it', limits, async (t) => {
  const { server, provider, name } = await setup(t);
  assert.equal(await provider.imageInRegistry(name), true);
  assert.equal(await provider.imageInRegistry(name, { os: 'linux', architecture: 's390x' }), false);
  assert.equal(await provider.imageInRegistry(`${name}x`), false);
  await server.close();
  await assert.rejects(provider.imageInRegistry(name), { code: 'unavailable' });
});

test('an index is written by platform, and needs its images', limits, async (t) => {
  const { server, provider, name } = await setup(t);
  await provider.imagePull(name);
  server.addImage('group/s390x', s390x, 'v1');
  const child = { ...s390x.descriptor, platform: s390x.platform };
  await assert.rejects(provider.indexWrite(name, child), { code: 'not-found' });
  await provider.imagePull(`${server.host}/group/s390x:v1`);
  const written = await provider.indexWrite(name, child);
  assert.equal((await provider.findDescriptor(name))?.digest, written.digest);
  const source = await provider.newSource(name);
  const { manifest } = await source.getManifest();
  assert.ok(manifest.kind === 'index');
  assert.deepEqual(
    manifest.manifests.map(({ platform }) => platform?.architecture),
    platforms,
  );
});

test('merging replaces a platform and drops attestations of what went', async () => {
  const attested = await buildIndex([amd64, arm64], { attestation: () => ({ predicate: {} }) });
  const before = parseManifest(attested.manifests.at(-1)?.bytes ?? new Uint8Array());
  assert.ok(before.kind === 'index' && before.manifests.length === 4);
  const merged = mergeIndex(before, [{ ...s390x.descriptor, platform: amd64.platform }]);
  assert.deepEqual(
    merged.manifests.map(({ digest }) => digest),
    [arm64.descriptor.digest, before.manifests[3]?.digest, s390x.descriptor.digest],
  );
  const arm = (variant: string) => ({ os: 'linux', architecture: 'arm', variant });
  const both = [
    { ...amd64.descriptor, platform: arm('v6') },
    { ...arm64.descriptor, platform: arm('v7') },
  ];
  assert.equal(mergeIndex(undefined, both).manifests.length, 2, 'variants are two platforms');
});

test('an archive is loaded from a stream, under its names or another one', limits, async (t) => {
  const { provider } = await setup(t);
  const directory = await tempDir(t, 'load');
  await writeLayout(join(directory, 'layout'), [{ image: amd64, name: 'v1' }]);
  const layout = await openLayoutStore(join(directory, 'layout'));
  const plan = await planImages('oci-archive', [
    {
      descriptor: amd64.descriptor,
      names: [{ repository: 'registry.test/app', tag: 'v1' }],
      manifests: amd64.manifests.map(({ descriptor, bytes }) => ({ digest: descriptor.digest, bytes })),
      blobs: amd64.blobs.map(({ descriptor }) => ({
        ...descriptor,
        open: (range, call) => layout.fetch('', descriptor, { ...call, range }),
      })),
    },
  ]);
  const path = join(directory, 'image.tar');
  await writeTarFile(path, plan);
  const loaded = await provider.imageLoad(createReadStream(path));
  assert.deepEqual(loaded, [{ name: 'registry.test/app:v1', descriptor: loaded[0]?.descriptor }]);
  assert.equal((await provider.imageInCache('registry.test/app:v1')).complete, true);
  const [named] = await provider.imageLoad(createReadStream(path), { name: 'other.test/x' });
  assert.equal(named?.name, 'other.test/x:latest');
  await assert.rejects(
    provider.imageLoad(createReadStream(path, { end: 1_540 })),
    (error: { code?: string }) => error.code === 'invalid-content',
  );
});

test('a name is written for what is whole, and content is read by digest', limits, async (t) => {
  const { provider, name } = await setup(t);
  await provider.imagePull(name);
  await provider.descriptorWrite('local.test/app:mine', index.descriptor);
  assert.equal((await provider.findDescriptor('local.test/app:mine'))?.digest, index.descriptor.digest);
  await assert.rejects(provider.descriptorWrite('local.test/x', s390x.descriptor), { code: 'not-found' });
  const reader = await provider.getContent(amd64.config.descriptor.digest);
  const bytes = Buffer.alloc(reader.size);
  await reader.read(bytes, 0, bytes.length, 0);
  await reader.close();
  assert.deepEqual(bytes, Buffer.from(amd64.config.bytes));
  await assert.rejects(provider.getContent(digestOf(Buffer.from('none'))), { code: 'not-found' });
});

test('the store of the cache has its images, and a source reads them with no registry', limits, async (t) => {
  const { server, provider, name } = await setup(t);
  await provider.imagePull(name);
  await server.close();
  const entries = await provider.store().images();
  assert.deepEqual(
    entries.map(({ descriptor }) => descriptor.digest),
    [index.descriptor.digest],
  );
  const source = await provider.newSource(name, { os: 'linux', architecture: 'arm64' });
  assert.equal((await source.config())?.platform?.architecture, 'arm64');
});

test('a push of the cache: present, arch tags, merged, overridden', limits, async (t) => {
  const { server, provider, name } = await setup(t);
  await provider.imagePull(name);
  assert.equal((await provider.push(name)).outcome, 'present');
  const tagged = await provider.push(name, { archTags: true, remote: `${server.host}/new/app:v1` });
  assert.deepEqual(tagged.tags, ['v1-amd64', 'v1-arm64', 'v1']);
  const other = await buildIndex([s390x]);
  server.addImage('new/app', other, 'v1');
  const merged = await provider.push(name, { remote: `${server.host}/new/app:v1` });
  assert.equal(merged.outcome, 'merged');
  const top = server.content.repositories.get('new/app')?.manifests.get(merged.descriptor.digest);
  const manifest = parseManifest(top?.bytes ?? new Uint8Array());
  assert.ok(manifest.kind === 'index' && manifest.manifests.length === 3);
  const replaced = await provider.push(name, { remote: `${server.host}/new/app:v1`, override: true });
  assert.equal(replaced.descriptor.digest, index.descriptor.digest);
  await assert.rejects(provider.push(`${server.host}/none:v1`), { code: 'not-found' });
});

test('a single image replaces what a tag names', limits, async (t) => {
  const { server, store } = await setup(t);
  server.addImage('a', amd64, 'v1');
  server.addImage('a', arm64, 'v2');
  const source = { store, repository: 'a', descriptor: amd64.descriptor };
  const result = await pushImage(source, { store, repository: 'a' }, { tag: 'v2', moreTags: ['v3'] });
  assert.deepEqual([result.outcome, result.tags], ['pushed', ['v3', 'v2']]);
});
