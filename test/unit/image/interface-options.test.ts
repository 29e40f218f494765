/** What the methods of the four interfaces take beside their names: filters, platforms, other repositories, no-ops. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { openContentCache } from '../../../src/content/disk.js';
import { Registry } from '../../../src/image/library/registry.js';
import { cosignTag } from '../../../src/image/referrers.js';
import { cosignPayload } from '../../../src/image/signatures/payload.js';
import { ImageCache } from '../../../src/image/provider/image-cache.js';
import { referencesOf } from '../../../src/oci/manifest.js';
import { digestOf } from '../../../src/oci/digest.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../../support/fault-registry/index.js';
import { buildArtifact, buildImage, buildIndex, sampleImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const platform = { os: 'linux', architecture: 'amd64' };
const arm = { os: 'linux', architecture: 'arm64' };
const amd64 = await sampleImage({ payloadBytes: 2_000 });
const arm64 = await sampleImage({ seed: 2, payloadBytes: 2_000, platform: arm });
const index = await buildIndex([amd64, arm64]);
const created = 'org.opencontainers.image.created';

const report = (title: string, annotations: Readonly<Record<string, string>>, subject = index.descriptor) =>
  buildArtifact({ artifactType: 'x/report', subject, annotations, files: [{ title, content: title }] });

async function setup(t: TestContext, options: FaultRegistryOptions = {}) {
  const server = await startFaultRegistry(options);
  t.after(() => server.close());
  server.addImage('group/app', index, 'multi');
  const content = await openContentCache({ directory: await tempDir(t, 'options') });
  t.after(() => content.close());
  const store = openTestStore(server, { options: hastyOptions });
  const registry = new Registry(store, { content, platform });
  t.after(() => registry.close());
  const provider = new ImageCache({ cache: content, openRegistry: async () => store, platform });
  return { server, registry, provider, repository: registry.repository('group/app') };
}

async function digestsOf(found: AsyncIterable<{ readonly digest: string }>): Promise<string[]> {
  const digests: string[] = [];
  for await (const { digest } of found) digests.push(digest);
  return digests;
}

test(
  'referrers by annotation, sorted by one, of a platform, and of another repository',
  limits,
  async (t) => {
    const { server, registry, repository } = await setup(t);
    const [old, fresh, bare] = [
      report('old', { [created]: '2023', by: 'me' }),
      report('fresh', { [created]: '2025', by: 'you' }),
      report('bare', { by: 'me' }),
    ];
    for (const one of [bare, fresh, old]) server.addImage('group/app', one);
    const ofArm = report('arm', {}, arm64.descriptor);
    server.addImage('group/app', ofArm);
    const elsewhere = report('elsewhere', {});
    server.addImage('reports/app', elsewhere);
    const digests = (...images: readonly { readonly descriptor: { readonly digest: string } }[]) =>
      images.map(({ descriptor }) => descriptor.digest);
    const found = (options: Parameters<typeof repository.referrers>[1]) =>
      digestsOf(repository.referrers('multi', options));
    assert.deepEqual(await found({ sortBy: created }), digests(old, fresh, bare));
    assert.deepEqual(await found({ sortBy: created, descending: true }), digests(fresh, old, bare));
    assert.deepEqual(await found({ annotations: { by: 'me' }, sortBy: created }), digests(old, bare));
    assert.deepEqual(await found({ annotations: { by: 'me', [created]: '' } }), digests(old));
    assert.deepEqual(await found({ annotations: { by: 'nobody' } }), []);
    assert.deepEqual(await found({ platform: 'linux/arm64' }), digests(ofArm));
    assert.deepEqual(await found({ platform: arm, artifactType: 'x/other' }), []);
    assert.deepEqual(await found({ from: registry.repository('reports/app') }), digests(elsewhere));
    await assert.rejects(found({ platform: 'plan9/mips' }), { code: 'not-found' });
  },
);

test('the digests of layers come each once, lowest first', limits, async (t) => {
  const { server, repository } = await setup(t);
  const entries = [{ name: 'x', content: 'x' }];
  const doubled = await buildImage({ layers: [{ entries }, { entries: [] }, { entries }] });
  server.addImage('group/app', doubled, 'doubled');
  const [first, second] = doubled.layers.map(({ descriptor }) => descriptor.digest);
  assert.deepEqual(await (await repository.source('doubled')).layerDigests(), [first, second]);
});

test('a tag stands for a descriptor, and a digest for its manifest', limits, async (t) => {
  const { repository } = await setup(t);
  assert.equal((await repository.tags.get('multi')).digest, index.descriptor.digest);
  await assert.rejects(repository.tags.get('none'), { code: 'not-found' });
  assert.equal(await repository.manifests.exists(amd64.descriptor.digest), true);
  assert.equal(await repository.manifests.exists(digestOf(Buffer.from('none'))), false);
});

test(
  'an upload knows its size; cancelling it again, or after it was finished, does nothing',
  limits,
  async (t) => {
    const { repository } = await setup(t);
    const upload = await repository.blobs.upload();
    assert.equal(upload.size, 0);
    await upload.write(Buffer.from('some bytes'));
    assert.equal(upload.size, 10);
    const { digest } = await upload.finish();
    await upload.cancel();
    assert.equal(await repository.blobs.exists(digest), true);
    const second = await repository.blobs.upload();
    await second.cancel();
    await second.cancel();
  },
);

test('an inspection has the seven fields that skopeo began with', limits, async (t) => {
  const { repository } = await setup(t);
  const { Tag, Created, DockerVersion, Labels, Architecture, Os, Layers } = await (
    await repository.source('multi')
  ).inspect();
  assert.deepEqual(
    { Tag, Created, DockerVersion, Labels, Architecture, Os, Layers },
    {
      Tag: 'multi',
      Created: '2023-11-14T22:13:20Z',
      DockerVersion: '',
      Labels: { seed: '1' },
      Architecture: 'amd64',
      Os: 'linux',
      Layers: amd64.layers.map(({ descriptor }) => descriptor.digest),
    },
  );
  const byDigest = await (await repository.source(amd64.descriptor.digest)).inspect();
  assert.equal(byDigest.Tag, undefined);
});

test('a tag of a registry that deletes by digest only: the reason, and the fallback', limits, async (t) => {
  const { server, repository } = await setup(t, { dialect: 'docker-2.8' });
  server.addImage('group/app', index, 'again');
  await assert.rejects(repository.tags.untag('again'), { code: 'unsupported' });
  await repository.tags.untag('again', { fallback: true });
  assert.equal(await repository.tags.exists('again'), false);
  assert.equal(await repository.tags.exists('multi'), true);
});

test('signatures are reached apart from manifests', limits, async (t) => {
  const { repository } = await setup(t);
  const image = await repository.image('multi');
  assert.deepEqual(await repository.signatures.get(image), []);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const payload = cosignPayload(index.descriptor.digest, 'registry.test/group/app');
  const signature = sign('sha256', payload, privateKey).toString('base64');
  await repository.signatures.put(image, { format: 'sigstore', payload, signature });
  const again = await repository.image('multi');
  assert.equal(again.descriptor.digest, index.descriptor.digest, 'the manifest is what it was');
  const place = repository.manifests.getByTag(cosignTag(index.descriptor.digest, 'signature'));
  assert.equal((await place).manifest.kind, 'image');
});

test('a manifest gives its references: config and layers, or children', limits, async (t) => {
  const { repository } = await setup(t);
  const digestsIn = async (name: string) => {
    const { manifest } = await repository.manifests.get(name);
    return referencesOf(manifest).map(({ digest }) => digest);
  };
  assert.deepEqual(await digestsIn('multi'), [amd64.descriptor.digest, arm64.descriptor.digest]);
  const blobs = [amd64.config, ...amd64.layers].map(({ descriptor }) => descriptor.digest);
  assert.deepEqual(await digestsIn(amd64.descriptor.digest), blobs);
});

test('a source of the cache by a descriptor that has no name', limits, async (t) => {
  const { server, provider } = await setup(t);
  await provider.imagePull(`${server.host}/group/app:multi`);
  const source = await provider.newSource('local.test/any:name', arm, arm64.descriptor);
  assert.equal(source.descriptor.digest, arm64.descriptor.digest);
  assert.equal((await source.config())?.platform?.architecture, 'arm64');
  await assert.rejects(provider.newSource('local.test/any:name'), { code: 'not-found' });
});

test('a single image in the registry is for the platform that its config says', limits, async (t) => {
  const { server, provider } = await setup(t);
  server.addImage('group/app', arm64, 'single');
  const name = `${server.host}/group/app:single`;
  assert.equal(await provider.imageInRegistry(name), true);
  assert.equal(await provider.imageInRegistry(name, arm), true);
  assert.equal(await provider.imageInRegistry(name, platform), false);
  assert.equal(await provider.imageInRegistry(`${name}@${arm64.descriptor.digest}`, arm), true);
});
