import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { copyImage, type CopyEvent } from '../../../src/image/copy/copy-image.js';
import { deleteTag } from '../../../src/image/delete-tag.js';
import { pushManifest } from '../../../src/image/push-manifest.js';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import {
  startFaultRegistry,
  type Fault,
  type FaultMatch,
  type FaultRegistryOptions,
} from '../../support/fault-registry/index.js';
import { buildArtifact, buildIndex, sampleImage } from '../../support/image-builder.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const timeout = 20_000;

async function registryAndStore(t: TestContext, options: FaultRegistryOptions = {}) {
  const registry = await startFaultRegistry(options);
  t.after(() => registry.close());
  const store = openTestStore(registry, { options: hastyOptions });
  t.after(() => store.close());
  return { registry, store };
}

test(
  'an index with all children goes from a registry to a layout and back, equal',
  { timeout },
  async (t) => {
    const { registry, store } = await registryAndStore(t);
    const image = await buildIndex([
      await sampleImage(),
      await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } }),
    ]);
    registry.addImage('group/app', image, 'v1');
    const layout = await openLayoutStore(await tempDir(t, 'copy'), { create: true });
    const { descriptor } = image;
    const there = await copyImage(
      { store, repository: 'group/app', descriptor },
      { store: layout, repository: '' },
      { tags: ['v1'] },
    );
    assert.equal(there.descriptor.digest, descriptor.digest);
    assert.equal((await layout.resolve({ repository: '', tag: 'v1' })).descriptor.digest, descriptor.digest);
    const back = await copyImage(
      { store: layout, repository: '', descriptor },
      { store, repository: 'back' },
      { tags: ['x', 'y'] },
    );
    assert.equal(back.blobs.sent, image.blobs.length);
    assert.equal(
      (await store.resolve({ repository: 'back', tag: 'y' })).descriptor.digest,
      descriptor.digest,
    );
  },
);

test('blobs come first, children before their index, the tag last', { timeout }, async (t) => {
  const { registry, store } = await registryAndStore(t);
  const image = await buildIndex([await sampleImage()]);
  const layout = await openLayoutStore(await tempDir(t, 'order'), { create: true });
  registry.addImage('src', image, 'v1');
  await copyImage(
    { store, repository: 'src', descriptor: image.descriptor },
    { store: layout, repository: '' },
    { tags: ['v'] },
  );
  registry.forgetRequests();
  const { descriptor } = image;
  await copyImage(
    { store: layout, repository: '', descriptor },
    { store, repository: 'dst' },
    { tags: ['v'] },
  );
  const puts = registry.requestsTo({ method: 'PUT' }).map(({ path }) => path);
  const firstManifest = puts.findIndex((path) => path.includes('/manifests/'));
  assert.ok(puts.slice(0, firstManifest).every((path) => path.includes('/blobs/')));
  assert.ok(puts.slice(firstManifest).every((path) => path.includes('/manifests/')));
  assert.match(puts.at(-1) ?? '', /manifests\/v$/);
});

test(
  'between repositories of one registry blobs are mounted; a second copy sends nothing',
  { timeout },
  async (t) => {
    const { registry, store } = await registryAndStore(t);
    const image = await sampleImage();
    registry.addImage('a', image, 'v1');
    const events: CopyEvent[] = [];
    const copy = () =>
      copyImage(
        { store, repository: 'a', descriptor: image.descriptor },
        { store, repository: 'b' },
        {
          tags: ['v1'],
          onEvent: (event) => events.push(event),
        },
      );
    const first = await copy();
    assert.deepEqual(first.blobs, { present: 0, mounted: image.blobs.length, sent: 0 });
    assert.equal(first.sentBytes, 0);
    assert.equal(events.filter(({ kind }) => kind === 'blob-end').length, image.blobs.length);
    assert.deepEqual((await copy()).blobs, { present: image.blobs.length, mounted: 0, sent: 0 });
    assert.equal(registry.requestsTo({ method: 'PATCH' }).length, 0);
  },
);

test('a source that gives wrong bytes is found out, and no tag is made', { timeout }, async (t) => {
  const { registry, store } = await registryAndStore(t);
  const { registry: other, store: target } = await registryAndStore(t);
  const image = await sampleImage();
  registry.addImage('a', image, 'v1');
  registry.fault({
    match: { path: new RegExp(`/blobs/${image.blobs.at(-1)?.descriptor.digest}`) },
    fault: { kind: 'flip', atFraction: 0.5 },
  });
  await assert.rejects(
    copyImage(
      { store, repository: 'a', descriptor: image.descriptor },
      { store: target, repository: 'b' },
      { tags: ['v'] },
    ),
    { code: 'integrity' },
  );
  assert.equal(other.content.repositories.get('b')?.tags.size ?? 0, 0);
});

test('a long blob between registries is sent while it arrives, whatever breaks', { timeout }, async (t) => {
  const image = await sampleImage({ payloadBytes: 6 << 20 });
  const layer = image.blobs.at(-1)?.descriptor;
  assert.ok(layer);
  const blob = { method: 'GET', path: /\/blobs\// } as const;
  const cases: readonly (readonly [string, 'source' | 'target', Fault, FaultMatch, number])[] = [
    ['nothing', 'target', { kind: 'delay', ms: 0 }, {}, 0],
    ['an answer is lost', 'target', { kind: 'reset', when: 'handled' }, { method: 'PATCH', nth: 2 }, 1],
    ['a chunk is refused', 'target', { kind: 'status', status: 503 }, { method: 'PATCH', nth: 3 }, 1],
    ['the source breaks off', 'source', { kind: 'cut', atFraction: 0.4 }, blob, 1],
  ];
  for (const [what, where, fault, match, rereads] of cases) {
    const options = { ...hastyOptions, chunkBytes: 1 << 20 };
    const source = await registryAndStore(t);
    const { registry: other } = await registryAndStore(t);
    const target = openTestStore(other, { options });
    t.after(() => target.close());
    source.registry.addImage('a', image, 'v1');
    (where === 'source' ? source.registry : other).fault({ match: { ...match, times: 1 }, fault });
    await copyImage(
      { store: source.store, repository: 'a', descriptor: image.descriptor },
      { store: target, repository: 'b' },
      { tags: ['v'] },
    );
    const there = other.content.repositories.get('b');
    assert.equal(there?.tags.get('v'), image.descriptor.digest, what);
    assert.ok(there.blobs.has(layer.digest), what);
    const reads = source.registry.requestsTo({ method: 'GET', path: new RegExp(layer.digest) });
    assert.ok(reads.length <= 1 + rereads, `${what}: ${reads.length} requests for the layer`);
  }
});

for (const [what, fault] of Object.entries<Fault>({
  'a bit flipped': { kind: 'flip', atFraction: 0.5 },
  'its last bit flipped': { kind: 'flip', atFraction: 0.9999 },
})) {
  test(`a long blob with ${what} on its way is never committed`, { timeout }, async (t) => {
    const { registry, store } = await registryAndStore(t);
    const { registry: other, store: target } = await registryAndStore(t);
    const image = await sampleImage({ payloadBytes: 6 << 20 });
    registry.addImage('a', image, 'v1');
    const digest = image.blobs.at(-1)?.descriptor.digest;
    assert.ok(digest);
    registry.fault({ match: { path: new RegExp(`/blobs/${digest}`) }, fault });
    await assert.rejects(
      copyImage(
        { store, repository: 'a', descriptor: image.descriptor },
        { store: target, repository: 'b' },
        { tags: ['v'] },
      ),
      { code: 'integrity' },
    );
    assert.equal(other.content.repositories.get('b')?.blobs.has(digest), false);
    assert.equal(other.requestsTo({ method: 'PUT', path: /\/blobs\// }).length <= 1, true);
  });
}

test(
  'a destination that dies at each request: the copy ends well, or with no tag, and the next one finishes',
  { timeout },
  async (t) => {
    const { registry, store } = await registryAndStore(t);
    const image = await sampleImage();
    registry.addImage('a', image, 'v1');
    const { registry: other, store: target } = await registryAndStore(t);
    const copy = (repository: string) =>
      copyImage(
        { store, repository: 'a', descriptor: image.descriptor },
        { store: target, repository },
        { tags: ['v'] },
      );
    for (let cut = 1; ; cut += 1) {
      const repository = `r${cut}`;
      other.forgetRequests();
      other.fault({ match: { nth: cut, times: 1 }, fault: { kind: 'status', status: 500 } });
      for (let tries = 0; tries < 2; tries += 1) {
        try {
          await copy(repository);
          break;
        } catch {
          assert.equal(other.content.repositories.get(repository)?.tags.get('v'), undefined);
        }
      }
      const there = other.content.repositories.get(repository);
      assert.equal(there?.tags.get('v'), image.descriptor.digest, `cut ${cut}`);
      for (const { descriptor } of image.blobs) assert.ok(there.blobs.has(descriptor.digest));
      other.clearFaults();
      if (cut > other.requests.length) break;
    }
  },
);

test('referrers come along on request', { timeout }, async (t) => {
  const { registry, store } = await registryAndStore(t);
  const image = await sampleImage();
  registry.addImage('a', image, 'v1');
  const artifact = buildArtifact({
    artifactType: 'application/x.sbom',
    subject: image.descriptor,
    files: [{ title: 'f', content: 'x' }],
  });
  registry.addImage('a', artifact);
  const layout = await openLayoutStore(await tempDir(t, 'ref'), { create: true });
  await copyImage(
    { store, repository: 'a', descriptor: image.descriptor },
    { store: layout, repository: '' },
    { tags: ['v'], referrers: true },
  );
  const found = [];
  for await (const referrer of layout.referrers('', image.descriptor.digest)) found.push(referrer.digest);
  assert.deepEqual(found, [artifact.descriptor.digest]);
});

test(
  'a manifest is refused when it is none, is ambiguous, or names what is missing',
  { timeout },
  async (t) => {
    const { registry, store } = await registryAndStore(t);
    const image = await sampleImage();
    const [manifest] = image.manifests;
    assert.ok(manifest);
    const place = { store, repository: 'a' };
    await assert.rejects(pushManifest(place, Buffer.from('{'), { tags: ['v'] }), { code: 'invalid' });
    await assert.rejects(pushManifest(place, Buffer.from('{"config":{},"manifests":[]}')), {
      code: 'invalid',
    });
    await assert.rejects(pushManifest(place, Buffer.alloc(5 * 1024 * 1024)), { code: 'too-large' });
    await assert.rejects(pushManifest(place, manifest.bytes, { tags: ['v'] }), {
      code: 'invalid',
      message: /lacks blob/,
    });
    assert.equal(registry.requestsTo({ method: 'PUT' }).length, 0);
    registry.addImage('b', image);
    await pushManifest(place, manifest.bytes, { tags: ['v'], seenIn: () => ['b'] });
    assert.equal(registry.content.repositories.get('a')?.tags.get('v'), image.descriptor.digest);
  },
);

test(
  'a tag is deleted by the dummy manifest where the registry deletes by digest only',
  { timeout },
  async (t) => {
    const { registry, store } = await registryAndStore(t, { dialect: 'docker-2.8' });
    const image = await sampleImage();
    registry.addImage('a', image, 'v1');
    registry.addImage('a', image, 'v2');
    await assert.rejects(deleteTag(store, 'a', 'v1'), { code: 'unsupported' });
    await assert.rejects(deleteTag(store, 'a', 'missing', { fallback: true }), { code: 'not-found' });
    await deleteTag(store, 'a', 'v1', { fallback: true });
    assert.deepEqual([...(registry.content.repositories.get('a')?.tags.keys() ?? [])], ['v2']);
  },
);
