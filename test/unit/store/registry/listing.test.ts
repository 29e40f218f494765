import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { openRegistryStore, type RegistryStore } from '../../../../src/store/registry/registry-store.js';
import {
  startFaultRegistry,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../support/fault-registry/index.js';
import { buildArtifact, sampleImage } from '../../../support/image-builder.js';
import { listOf } from '../../../support/read-body.js';
import { registryDeps, type EndpointSketch } from '../../../support/registry-deps.js';

const timeout = 20_000;

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions = {},
  endpoint: Partial<EndpointSketch> = {},
): Promise<{ registry: FaultRegistry; store: RegistryStore }> {
  const registry = await startFaultRegistry(options);
  const store = openRegistryStore(registry.host, registryDeps([{ origin: registry.url, ...endpoint }]));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  return { registry, store };
}

function addTags(registry: FaultRegistry, count: number): string[] {
  const tags = Array.from({ length: count }, (_, at) => `v${String(at).padStart(5, '0')}`);
  registry.putManifest('a/b', Buffer.from('{}'), mediaTypes.ociManifest, tags);
  return tags;
}

test('all pages, by relative and by absolute links', { timeout }, async (t) => {
  for (const absoluteLinks of [false, true]) {
    const { registry, store } = await setUp(t, { pageSize: 7, absoluteLinks });
    const tags = addTags(registry, 50);
    assert.deepEqual(await listOf(store.tags('a/b')), tags);
    assert.equal(registry.requests.length, 8);
  }
});

test('names behind another, also where the server ignores the wish', { timeout }, async (t) => {
  for (const dialect of ['spec', 'docker-2.8'] as const) {
    const { registry, store } = await setUp(t, { dialect });
    const tags = addTags(registry, 50);
    assert.deepEqual(await listOf(store.tags('a/b', { last: 'v00041' })), tags.slice(42), dialect);
  }
});

test('a server with an order of its own loses no names', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  addTags(registry, 1);
  registry.fault({ fault: { kind: 'body', body: '{"tags":["b","a","C"]}' } });
  assert.deepEqual(await listOf(store.tags('a/b', { last: 'c' })), ['b', 'a', 'C']);
});

test('nulls, digests and names that are none are left out', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  addTags(registry, 1);
  const body = JSON.stringify({
    tags: [
      'v1',
      null,
      `sha256:${'a'.repeat(64)}`,
      'v1',
      '../x',
      '',
      'a\u0000b',
      7,
      ['nested'],
      { tags: ['no'] },
      'v2',
    ],
    name: 'a/b',
  });
  registry.fault({ fault: { kind: 'body', body } });
  assert.deepEqual(await listOf(store.tags('a/b')), ['v1', 'v2']);
  registry.clearFaults();
  registry.fault({ fault: { kind: 'body', body: '{"name":"a/b","tags":null}' } });
  assert.deepEqual(await listOf(store.tags('a/b')), []);
});

test('lists end, whatever is sent', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const cases = [
    { kind: 'endless-pages', repeat: true },
    { kind: 'endless-pages', perPage: 0 },
    { kind: 'link', value: '<http://evil.example/v2/a/b/tags/list?last=x>; rel="next"' },
    { kind: 'link', value: '<file:///etc/passwd>; rel=next' },
    { kind: 'garbage-json' },
    { kind: 'body', body: '{"name":"a/b"}' },
    { kind: 'body', body: '["v1"]' },
    { kind: 'body', body: '{"tags":["v1"' },
    { kind: 'body', body: `{"tags":${'['.repeat(100_000)}` },
    { kind: 'body', body: `{"tags":["${'x'.repeat(100_000)}"]}` },
    { kind: 'huge-body', bytes: Infinity, prefix: '{"tags":["' },
    { kind: 'body', body: '<html>' },
  ] as const;
  for (const fault of cases) {
    addTags(registry, 3);
    registry.clearFaults();
    registry.fault({ fault });
    await assert.rejects(
      listOf(store.tags('a/b')),
      (error) => isImgfsError(error, 'protocol'),
      JSON.stringify(fault),
    );
  }
  assert.equal(registry.requestsTo({ role: 'stranger' }).length, 0);
});

test('leaving a list early asks for no further page', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { pageSize: 5 });
  addTags(registry, 50);
  for await (const tag of store.tags('a/b')) if (tag === 'v00002') break;
  assert.equal(registry.requests.length, 1);
});

test('no such repository is not-found, no catalog is unsupported', { timeout }, async (t) => {
  const { store } = await setUp(t, { catalog: false });
  await assert.rejects(listOf(store.tags('none')), (error) => isImgfsError(error, 'not-found'));
  await assert.rejects(listOf(store.repositories()), (error) => isImgfsError(error, 'unsupported'));
});

test('repositories in pages', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { pageSize: 2 });
  for (const name of ['a', 'b/c', 'd', 'e/f/g', 'h']) registry.putBlob(name, Buffer.from(name));
  assert.deepEqual(await listOf(store.repositories()), ['a', 'b/c', 'd', 'e/f/g', 'h']);
});

test('referrers: the API, in pages, filtered', { timeout }, async (t) => {
  for (const referrersFilter of [true, false]) {
    const { registry, store } = await setUp(t, { pageSize: 2, referrersFilter });
    const image = await sampleImage();
    registry.addImage('a/b', image, 'v1');
    const artifacts = Array.from({ length: 5 }, (_, at) =>
      buildArtifact({
        artifactType: at % 2 === 0 ? 'application/x-even' : 'application/x-odd',
        subject: image.descriptor,
        files: [{ title: 'f', content: String(at) }],
      }),
    );
    for (const artifact of artifacts) registry.addImage('a/b', artifact);
    const digests = async (artifactType?: string): Promise<string[]> => {
      const options = artifactType === undefined ? {} : { artifactType };
      const found = await listOf(store.referrers('a/b', image.descriptor.digest, options));
      return found.map(({ digest }) => digest).sort();
    };
    const expected = artifacts.map(({ descriptor }) => descriptor.digest);
    assert.deepEqual(await digests(), [...expected].sort());
    assert.deepEqual(await digests('application/x-odd'), [String(expected[1]), String(expected[3])].sort());
    assert.deepEqual(await listOf(store.referrers('a/b', digestOf(Buffer.from('none')))), []);
  }
});

test('referrers: the tag where there is no API, which clients keep', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { referrers: false });
  const image = await sampleImage();
  registry.addImage('a/b', image, 'v1');
  const artifacts = Array.from({ length: 4 }, (_, at) =>
    buildArtifact({
      artifactType: 'application/x-test',
      subject: image.descriptor,
      files: [{ title: 'f', content: String(at) }],
      annotations: { at: String(at) },
    }),
  );
  assert.deepEqual(await listOf(store.referrers('a/b', image.descriptor.digest)), []);
  for (const artifact of artifacts) for (const { bytes } of artifact.blobs) registry.putBlob('a/b', bytes);
  await Promise.all(
    artifacts.map(({ manifests: [manifest] }) =>
      store.putManifest('a/b', manifest?.bytes ?? Buffer.alloc(0), mediaTypes.ociManifest),
    ),
  );
  const found = await listOf(store.referrers('a/b', image.descriptor.digest));
  assert.deepEqual(
    new Map(found.map(({ digest, annotations }) => [digest, annotations])),
    new Map(artifacts.map(({ descriptor }, at) => [descriptor.digest, { at: String(at) }])),
  );
  assert.deepEqual(found[0]?.artifactType, 'application/x-test');
  assert.ok(registry.content.repositories.get('a/b')?.tags.has(image.descriptor.digest.replace(':', '-')));
  const [gone] = artifacts;
  await store.deleteManifest('a/b', gone?.descriptor.digest ?? digestOf(Buffer.alloc(0)));
  assert.equal((await listOf(store.referrers('a/b', image.descriptor.digest))).length, 3);
});

test('referrers: hostile answers', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const subject = digestOf(Buffer.from('subject'));
  const refused = [
    { kind: 'endless-pages', repeat: false },
    { kind: 'garbage-json' },
    { kind: 'body', body: '{"manifests":{}}', contentType: mediaTypes.ociIndex },
    { kind: 'link', value: '<https://evil.example/>; rel="next"' },
  ] as const;
  for (const fault of refused) {
    registry.clearFaults();
    registry.fault({ fault });
    await assert.rejects(
      listOf(store.referrers('a/b', subject)),
      (error) => isImgfsError(error, 'protocol'),
      JSON.stringify(fault),
    );
  }
  registry.clearFaults();
  const bad = [
    {},
    null,
    7,
    { mediaType: 'x', digest: 'sha256:zz', size: 1 },
    { mediaType: 'x', digest: subject, size: -1 },
  ];
  const body = JSON.stringify({ manifests: [...bad, { mediaType: 'x', digest: subject, size: 1 }] });
  registry.fault({ fault: { kind: 'body', body, contentType: mediaTypes.ociIndex } });
  assert.equal((await listOf(store.referrers('a/b', subject))).length, 1);
});

test('a list of the whole registry comes from the registry, not from a mirror', { timeout }, async (t) => {
  const mirror = await startFaultRegistry();
  const { registry } = await setUp(t);
  registry.putBlob('a', Buffer.from('a'));
  const store = openRegistryStore(
    'r.example',
    registryDeps([{ origin: mirror.url, isOrigin: false }, { origin: registry.url }]),
  );
  t.after(async () => {
    await store.close();
    await mirror.close();
  });
  assert.deepEqual(await listOf(store.repositories()), ['a']);
  assert.equal(mirror.requests.length, 0);
});

test('a next page on another host is named as such', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  addTags(registry, 3);
  registry.fault({ fault: { kind: 'link', value: '<http://evil.example/v2/a/b/tags/list>; rel="next"' } });
  await assert.rejects(listOf(store.tags('a/b')), /on another host \(evil\.example\)/);
});
