/** The library's handles over stores: the methods of the four interfaces, against a registry over HTTP. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { Registry } from '../../../src/image/library/registry.js';
import { digestOf, parseDigest } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import { openContentCache } from '../../../src/content/disk.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../../support/fault-registry/index.js';
import { buildArtifact, buildIndex, sampleImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { readTar } from '../../support/read-tar.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 20_000 };
const amd64 = await sampleImage({ payloadBytes: 5_000 });
const arm64 = await sampleImage({
  seed: 2,
  payloadBytes: 5_000,
  platform: { os: 'linux', architecture: 'arm64' },
});
const index = await buildIndex([amd64, arm64]);
const sbom = buildArtifact({
  artifactType: 'application/spdx+json',
  subject: amd64.descriptor,
  files: [{ title: 'sbom.json', content: '{"spdxVersion":"SPDX-2.3"}', mediaType: 'application/spdx+json' }],
});

async function listOf<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function setup(t: TestContext, options: FaultRegistryOptions = {}) {
  const server = await startFaultRegistry(options);
  t.after(() => server.close());
  server.addImage('group/app', index, 'multi');
  server.addImage('group/app', amd64, 'v1');
  server.addImage('group/app', arm64, 'v2');
  server.addImage('group/app', amd64, 'v3');
  server.addImage('other/tool', amd64, 'latest');
  const content = await openContentCache({ directory: await tempDir(t, 'library') });
  t.after(() => content.close());
  const store = openTestStore(server, { options: hastyOptions });
  const registry = new Registry(store, { content, platform: { os: 'linux', architecture: 'amd64' } });
  t.after(() => registry.close());
  const repository = registry.repository('group/app');
  return { server, content, store, registry, repository };
}

test('a registry names itself, says what it can do, and answers a ping', limits, async (t) => {
  const { registry, server } = await setup(t);
  assert.equal(registry.name, server.host);
  const info = registry.info();
  assert.deepEqual([info.push, info.delete, info.manifestPushFirst], [true, true, false]);
  await registry.ping();
  await server.close();
  await assert.rejects(registry.ping(), { code: 'unavailable' });
});

test('repositories come with limit and last', limits, async (t) => {
  const { registry } = await setup(t);
  assert.deepEqual(await listOf(registry.repositories()), ['group/app', 'other/tool']);
  assert.deepEqual(await listOf(registry.repositories({ limit: 1 })), ['group/app']);
  assert.deepEqual(await listOf(registry.repositories({ last: 'group/app' })), ['other/tool']);
});

test('a repository is a handle that costs nothing, and a bad name is refused', limits, async (t) => {
  const { registry, server } = await setup(t);
  assert.equal(registry.repository('group/app').name, 'group/app');
  assert.throws(() => registry.repository('Group/App'), { code: 'name-invalid' });
  assert.equal(server.requests.length, 0);
});

test('a lookup finds repositories by a part of their name', limits, async (t) => {
  const { registry } = await setup(t);
  assert.deepEqual(await listOf(registry.lookup('TOOL')), [{ name: 'other/tool' }]);
  assert.deepEqual(await listOf(registry.lookup('o', { limit: 1 })), [{ name: 'group/app' }]);
  await assert.rejects(listOf(registry.lookup('')), { code: 'invalid' });
});

test('tags come with limit and last, and exist or do not', limits, async (t) => {
  const { repository, server } = await setup(t);
  assert.deepEqual(await listOf(repository.tags.list()), ['multi', 'v1', 'v2', 'v3']);
  assert.deepEqual(await listOf(repository.tags.list({ last: 'multi', limit: 2 })), ['v1', 'v2']);
  assert.equal(await repository.tags.exists('v1'), true);
  assert.equal(await repository.tags.exists('none'), false);
  await server.close();
  await assert.rejects(repository.tags.exists('v2'), { code: 'unavailable' });
});

test('a tag reader stops, and another goes on at its cursor', limits, async (t) => {
  const { repository, server } = await setup(t);
  const reader = repository.tags.reader();
  assert.deepEqual(await reader.read(2), ['multi', 'v1']);
  server.fault({ match: { path: /tags\/list/, times: 9 }, fault: { kind: 'status', status: 404 } });
  await assert.rejects(reader.read(2));
  server.clearFaults();
  const again = repository.tags.reader(reader.cursor);
  assert.deepEqual(await again.read(1), ['v2']);
  assert.deepEqual(await listOf(again), ['v3']);
  assert.equal(again.ended, true);
  assert.deepEqual(await again.read(5), []);
});

test('a digest gets one more tag, knows its tags, and loses one', limits, async (t) => {
  const { repository } = await setup(t);
  const { digest } = amd64.descriptor;
  assert.equal((await repository.tags.tag(digest, 'stable')).digest, digest);
  assert.deepEqual(await repository.tags.lookup(digest), ['stable', 'v1', 'v3']);
  await repository.tags.untag('stable');
  assert.equal(await repository.tags.exists('stable'), false);
  assert.equal(await repository.manifests.exists(digest), true);
  const missing = digestOf(Buffer.from('none'));
  await assert.rejects(repository.tags.tag(missing, 'x'), { code: 'not-found' });
});

test('manifests by tag and by digest are a union by kind', limits, async (t) => {
  const { repository } = await setup(t);
  const byTag = await repository.manifests.getByTag('multi');
  assert.equal(byTag.manifest.kind, 'index');
  const byDigest = await repository.manifests.getByDigest(amd64.descriptor.digest);
  assert.ok(byDigest.manifest.kind === 'image' && byDigest.manifest.layers.length === 2);
  assert.deepEqual(Buffer.from(byDigest.bytes), Buffer.from(amd64.manifests[0]?.bytes ?? []));
  assert.deepEqual(await repository.manifests.head('v2'), arm64.descriptor);
  const got = await repository.manifests.get('v2');
  assert.deepEqual(got.descriptor, arm64.descriptor);
  assert.deepEqual(Buffer.from(got.bytes), Buffer.from(arm64.manifests[0]?.bytes ?? []));
  assert.equal(repository.manifests.kindOf(mediaTypes.ociIndex), 'index');
  await assert.rejects(repository.manifests.getByTag('none'), { code: 'not-found' });
});

test('a manifest of an accepted type: an index gives the child for the platform', limits, async (t) => {
  const { repository } = await setup(t);
  const accept = [mediaTypes.ociManifest];
  const source = await repository.source('multi');
  assert.equal((await source.getManifest({ accept })).descriptor.digest, amd64.descriptor.digest);
  const image = await repository.manifests.get('multi', { accept });
  assert.equal(image.descriptor.digest, amd64.descriptor.digest);
  const arm = await repository.manifests.get('multi', { accept, platform: 'linux/arm64' });
  assert.equal(arm.descriptor.digest, arm64.descriptor.digest);
  await assert.rejects(repository.manifests.get('v1', { accept: [mediaTypes.dockerManifest] }), {
    code: 'unsupported',
  });
});

test('a manifest is put with tags, as a child, and not when a blob is missing', limits, async (t) => {
  const { repository, registry } = await setup(t);
  const bytes = amd64.manifests[0]?.bytes ?? new Uint8Array();
  const put = await repository.manifests.put(bytes, { tags: ['a', 'b'] });
  assert.equal(put.digest, amd64.descriptor.digest);
  assert.deepEqual(await repository.tags.lookup(put.digest), ['a', 'b', 'v1', 'v3']);
  const child = await repository.manifests.put(
    { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [put] },
    { child: true },
  );
  assert.equal((await repository.manifests.getByDigest(child.digest)).manifest.kind, 'index');
  await assert.rejects(registry.repository('empty').manifests.put(bytes), { code: 'invalid' });
});

test('a manifest is deleted with its tags, unless something refers to it', limits, async (t) => {
  const { repository, server } = await setup(t);
  server.addImage('group/app', sbom);
  const { digest } = amd64.descriptor;
  await assert.rejects(repository.manifests.delete(digest, { checkReferrers: true }), { code: 'invalid' });
  await repository.manifests.delete(sbom.descriptor.digest);
  await repository.manifests.delete(digest);
  assert.equal(await repository.tags.exists('v1'), false);
});

test('all manifests: tags, children and referrers, each once', limits, async (t) => {
  const { repository, server } = await setup(t);
  server.addImage('group/app', sbom);
  const found = await listOf(repository.manifests.all());
  assert.deepEqual(
    found.map(({ descriptor, via }) => [descriptor.digest, via]),
    [
      [index.descriptor.digest, 'tag'],
      [amd64.descriptor.digest, 'index'],
      [arm64.descriptor.digest, 'index'],
      [sbom.descriptor.digest, 'referrer'],
    ],
  );
});

test('referrers by artifact type', limits, async (t) => {
  const { repository, server } = await setup(t);
  server.addImage('group/app', sbom);
  const types = async (artifactType?: string) =>
    (await listOf(repository.referrers('v1', artifactType === undefined ? {} : { artifactType }))).length;
  assert.deepEqual([await types(), await types('application/spdx+json'), await types('x/y')], [1, 1, 0]);
});

test('blobs: head, exists, stream, random access', limits, async (t) => {
  const { repository, server } = await setup(t);
  const layer = amd64.layers[1];
  assert.ok(layer);
  const { digest, size } = layer.descriptor;
  assert.equal((await repository.blobs.head(digest)).size, size);
  assert.equal(await repository.blobs.exists(digest), true);
  assert.equal(await repository.blobs.exists(digestOf(Buffer.from('none'))), false);
  const all = Buffer.concat(await listOf((await repository.blobs.get(digest)).chunks));
  assert.deepEqual(all, Buffer.from(layer.bytes));
  const reader = await repository.blobs.open(digest);
  const part = Buffer.alloc(100);
  assert.equal(await reader.read(part, 0, 100, 50), 100);
  await reader.close();
  assert.deepEqual(part, Buffer.from(layer.bytes.subarray(50, 150)));
  server.fault({ match: { path: /\/blobs\// }, fault: { kind: 'flip', atFraction: 0.5 } });
  await assert.rejects(listOf((await repository.blobs.get(digest)).chunks), { code: 'integrity' });
});

test('blobs: put, mount, delete', limits, async (t) => {
  const { repository, registry } = await setup(t);
  const other = registry.repository('other/tool');
  const put = await repository.blobs.put(Buffer.from('some bytes'));
  assert.deepEqual([put.digest, put.size], [digestOf(Buffer.from('some bytes')), 10]);
  await assert.rejects(repository.blobs.put([Buffer.from('x')], { digest: digestOf(Buffer.from('y')) }), {
    code: 'digest-mismatch',
  });
  assert.equal(await other.blobs.mount('group/app', put.digest), true);
  await other.blobs.delete(put.digest);
  assert.equal(await other.blobs.exists(put.digest), false);
});

test(
  'an upload has an id and a start, is written anywhere, resumed, finished and cancelled',
  limits,
  async (t) => {
    const { repository } = await setup(t);
    const upload = await repository.blobs.upload();
    assert.match(upload.uuid, /^[0-9a-f-]{36}$/);
    assert.ok(Math.abs(upload.startedAt.getTime() - Date.now()) < 10_000);
    await upload.write(Buffer.from('hello'));
    upload.seek(3);
    assert.equal(await upload.readFrom([Buffer.from('p!')]), 2);
    assert.deepEqual([upload.position, upload.size], [5, 5]);
    await assert.rejects(upload.finish(digestOf(Buffer.from('other'))), { code: 'digest-mismatch' });
    await upload.close();
    const again = await repository.blobs.resume(upload.uuid).catch((error: unknown) => error);
    assert.ok(again instanceof ImgfsError && again.code === 'busy', 'this process still works on it');
    const { digest } = await upload.finish(digestOf(Buffer.from('help!')));
    assert.equal(await repository.blobs.exists(digest), true);
    assert.equal(upload.sentBytes, 5);
    const second = await repository.blobs.upload();
    await second.cancel();
    await assert.rejects(second.write(Buffer.from('x')), { code: 'bad-handle' });
    await assert.rejects(repository.blobs.resume(second.uuid), { code: 'not-found' });
  },
);

test('an upload of a registry that was closed goes on in the next one', limits, async (t) => {
  const { repository, registry, content, server } = await setup(t);
  const upload = await repository.blobs.upload();
  await upload.write(Buffer.from('first '));
  await registry.close();
  const next = new Registry(openTestStore(server, { options: hastyOptions }), { content });
  t.after(() => next.close());
  const resumed = await next.repository('group/app').blobs.resume(upload.uuid);
  await resumed.write(Buffer.from('second'));
  assert.equal((await resumed.finish()).digest, digestOf(Buffer.from('first second')));
});

test('when a layer was made: by the store, by the history, or unknown', limits, async (t) => {
  const { repository, content } = await setup(t);
  const [layer] = amd64.layers;
  assert.ok(layer);
  const { digest } = layer.descriptor;
  assert.equal(await repository.blobs.createdAt(digest), undefined);
  const made = await repository.blobs.createdAt(digest, await repository.image('v1'));
  assert.deepEqual([made?.source, made?.at.toISOString()], ['history', '2023-11-14T22:13:20.000Z']);
  const layout = await openLayoutStore(await tempDir(t, 'dated'), { create: true });
  const local = new Registry(layout, { content }).repository('');
  const put = await local.blobs.put(Buffer.from('x'));
  assert.equal((await local.blobs.createdAt(put.digest))?.source, 'store');
});

test('a source gives manifest, blobs, layers, config, history and inspection', limits, async (t) => {
  const { repository, server } = await setup(t);
  const source = await repository.source('multi');
  assert.equal(source.reference, `${server.host}/group/app:multi`);
  assert.equal(source.descriptor.digest, index.descriptor.digest);
  assert.equal((await source.getManifest()).manifest.kind, 'index');
  assert.equal((await source.config())?.platform?.architecture, 'amd64');
  const [only] = await source.layers([1]);
  assert.equal(only?.descriptor.digest, amd64.layers[1]?.descriptor.digest);
  await only?.reader.close();
  await assert.rejects(source.layers([7]), { code: 'not-found' });
  const blob = await source.getBlob(amd64.config.descriptor.digest);
  assert.equal(blob.size, amd64.config.bytes.length);
  await blob.close();
  const steps = await source.history();
  assert.deepEqual(
    steps.map(({ layer }) => layer?.size),
    amd64.layers.map(({ descriptor }) => descriptor.size),
  );
  const inspection = await source.inspect();
  assert.equal(inspection.ManifestDigest, amd64.descriptor.digest);
  const arm = await repository.source('multi', { platform: 'linux/arm64' });
  assert.equal(arm.descriptor.digest, arm64.descriptor.digest);
});

test('an image by tag, by digest, by both, and for a platform', limits, async (t) => {
  const { repository } = await setup(t);
  const { digest } = amd64.descriptor;
  for (const name of ['v1', digest, `v1@${digest}`])
    assert.equal((await repository.image(name)).descriptor.digest, digest, name);
  const arm = await repository.image('multi', { platform: 'linux/arm64' });
  assert.equal(arm.descriptor.digest, arm64.descriptor.digest);
  await assert.rejects(repository.image('multi', { platform: 'plan9/mips' }), { code: 'not-found' });
  await assert.rejects(repository.image('none'), { code: 'not-found' });
});

test('what a source was asked once it answers again without the registry', limits, async (t) => {
  const { repository, server } = await setup(t);
  const source = await repository.source('v1');
  const ask = async () => [
    source.reference,
    (await source.getManifest()).bytes,
    await source.config(),
    await source.inspect(),
  ];
  const first = await ask();
  const before = server.requests.length;
  assert.deepEqual(await ask(), first);
  assert.deepEqual(
    server.requests
      .slice(before)
      .map(({ path }) => path)
      .filter((path) => !path.includes('/referrers/')),
    [],
  );
});

test(
  'archives of a source: for engines under a name, as a layout with all platforms, and its files merged',
  limits,
  async (t) => {
    const { repository } = await setup(t);
    const source = await repository.source('multi');
    const whole = async (stream: AsyncIterable<Uint8Array>) => Buffer.concat(await listOf(stream));
    const members = (tar: Buffer) =>
      new Map(readTar(tar).map((entry) => [Buffer.from(entry.path).toString(), entry]));
    const docker = await whole(source.v1TarReader('registry.test/me/app:v9'));
    assert.match(docker.toString('latin1'), /"RepoTags":\["registry\.test\/me\/app:v9"\]/);
    assert.ok(members(docker).has('manifest.json'));
    assert.ok(members(await whole(source.dockerTar())).has('manifest.json'));
    const oci = members(await whole(source.ociTarReader()));
    for (const { digest } of [
      index.descriptor,
      amd64.descriptor,
      arm64.descriptor,
      ...arm64.layers.map(({ descriptor }) => descriptor),
    ])
      assert.ok(oci.has(`blobs/${digest.replace(':', '/')}`), digest);
    const merged = [...members(await whole(source.tarReader())).keys()];
    const inLayers = amd64.layers.flatMap(({ tar }) => [...members(Buffer.from(tar)).keys()]);
    const names = (paths: readonly string[]) =>
      paths
        .map((path) => path.replace(/^\.\/|\/$/g, ''))
        .filter((path) => path !== '' && !path.includes('.wh.'));
    for (const name of names(merged)) assert.ok(names(inLayers).includes(name), `${name} is in no layer`);
    assert.ok(names(merged).includes('usr/payload'), names(merged).join());
  },
);

test('a source has SBOMs and attestations, ready to read', limits, async (t) => {
  const { repository, server } = await setup(t);
  server.addImage('group/app', sbom);
  const source = await repository.source('v1');
  const [document] = await source.sboms();
  assert.ok(document);
  assert.match(Buffer.from(await source.readDocument(document)).toString(), /SPDX-2.3/);
  assert.deepEqual(await source.attestations(), []);
});

test('a source is deleted with its tags', limits, async (t) => {
  const { repository } = await setup(t);
  await (await repository.source('v2')).delete();
  assert.equal(await repository.tags.exists('v2'), false);
});

test('images of a repository, one for each tag', limits, async (t) => {
  const { repository } = await setup(t);
  const images = await listOf(repository.images({ last: 'multi' }));
  assert.deepEqual(
    images.map(({ tag }) => tag),
    ['v1', 'v2', 'v3'],
  );
});

test('a destination takes blobs and then the manifest', limits, async (t) => {
  const { registry, server } = await setup(t);
  const target = registry.repository('new/app').destination('v1');
  assert.equal(target.canonicalReference, `${server.host}/new/app:v1`);
  assert.equal(await target.mountBlob('group/app', amd64.config.descriptor.digest), true);
  for (const { bytes, descriptor } of amd64.blobs) await target.putBlob(bytes, { digest: descriptor.digest });
  await target.putManifest(amd64.manifests[0]?.bytes ?? new Uint8Array());
  assert.equal(server.content.repositories.get('new/app')?.tags.get('v1'), amd64.descriptor.digest);
});

test('a layout is collected when it is closed, and not while somebody holds it off', limits, async (t) => {
  const { content } = await setup(t);
  const directory = await tempDir(t, 'collected');
  const registry = new Registry(await openLayoutStore(directory, { create: true }), { content });
  const repository = registry.repository('');
  const { digest } = await repository.blobs.put(Buffer.from('nobody needs it'));
  const release = registry.gcLock();
  await assert.rejects(registry.collectGarbage({ minAgeMs: 0 }), { code: 'busy' });
  assert.equal((await registry.collectGarbage({ minAgeMs: 0, dryRun: true })).removed[0]?.digest, digest);
  release();
  await registry.close({ collect: { minAgeMs: 0 } });
  const again = new Registry(await openLayoutStore(directory), { content });
  assert.equal(await again.repository('').blobs.exists(parseDigest(digest)), false);
  await assert.rejects(new Registry((await setup(t)).store, { content }).collectGarbage(), {
    code: 'unsupported',
  });
});
