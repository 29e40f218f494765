import assert from 'node:assert/strict';
import { test } from 'node:test';
import { artifactKind, documentSuffix, kindOfType } from '../../../src/image/artifact-kind.js';
import { catalogChildren } from '../../../src/image/catalog-children.js';
import { imageHistory } from '../../../src/image/history.js';
import { Images } from '../../../src/image/images.js';
import { inspectImage } from '../../../src/image/inspect.js';
import { KnownNames } from '../../../src/image/known-names.js';
import { createStoreDirectory } from '../../../src/image/stores.js';
import { parseImageConfig } from '../../../src/oci/image-config.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import type { ImageStore } from '../../../src/store/store.js';
import { CountingStore } from '../../support/counting-store.js';
import { buildArtifact, buildIndex, sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';

const amd64 = await sampleImage({ payloadBytes: 100 });
const arm64 = await sampleImage({
  seed: 2,
  payloadBytes: 100,
  platform: { os: 'linux', architecture: 'arm64' },
});
const index = await buildIndex([amd64, arm64]);

function setup() {
  const store = new CountingStore();
  store.add('app', amd64, 'single');
  store.add('app', index, 'multi');
  const images = new Images({
    content: createMemoryContent(),
    platform: { os: 'linux', architecture: 'arm64' },
  });
  return { store, images };
}

test('an image is read in two requests, and only once', async () => {
  const { store, images } = setup();
  const image = await images.open(store, { repository: 'app', tag: 'single' });
  await image.chosen();
  assert.equal(store.taken().length, 2);
  await image.chosen();
  const again = await images.open(store, { repository: 'app', tag: 'single' });
  assert.equal(again.peekChosen()?.descriptor.digest, amd64.descriptor.digest);
  assert.deepEqual(store.taken(), []);
});

test('of an index the wanted platform is chosen', async () => {
  const { store, images } = setup();
  const image = await images.open(store, { repository: 'app', tag: 'multi' });
  assert.equal((await image.chosen()).descriptor.digest, arm64.descriptor.digest);
  assert.equal((await image.config())?.platform?.architecture, 'arm64');
  assert.equal(image.reference, 'registry.test/app:multi');
});

test('an index in an index is followed, but not for ever', async () => {
  const { store, images } = setup();
  let inner = index.descriptor;
  for (let depth = 0; depth < 5; depth += 1) {
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [inner], depth }),
    );
    inner = store.addBytes('app', bytes, mediaTypes.ociIndex, `nested${depth}`);
  }
  const shallow = await images.open(store, { repository: 'app', tag: 'nested1' });
  assert.equal((await shallow.chosen()).descriptor.digest, arm64.descriptor.digest);
  const deep = await images.open(store, { repository: 'app', tag: 'nested4' });
  await assert.rejects(deep.chosen(), { code: 'invalid-content' });
});

test('artifacts have no image config', async () => {
  const { store, images } = setup();
  store.add(
    'app',
    buildArtifact({ artifactType: 'application/vnd.x', files: [{ title: 'f', content: 'c' }] }),
    'art',
  );
  const image = await images.open(store, { repository: 'app', tag: 'art' });
  assert.equal(await image.config(), undefined);
  const inspection = await inspectImage(image, { repoTags: ['art'] });
  assert.equal(inspection.ArtifactType, 'application/vnd.x');
  assert.deepEqual(inspection.RepoTags, ['art']);
  assert.equal(inspection.Created, null);
});

test('history pairs steps with layers', () => {
  const layers = amd64.layers.map(({ descriptor }) => descriptor);
  const config = parseImageConfig(
    Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        rootfs: { type: 'layers', diff_ids: amd64.layers.map(({ diffId }) => diffId) },
        history: [{ created_by: 'ADD' }, { created_by: 'ENV', empty_layer: true }],
      }),
    ),
  );
  const steps = imageHistory(config, layers);
  assert.deepEqual(
    steps.map(({ createdBy, layer }) => [createdBy, layer?.index, layer?.diffId]),
    [
      ['ADD', 0, amd64.layers[0]?.diffId],
      ['ENV', undefined, undefined],
      [undefined, 1, amd64.layers[1]?.diffId],
    ],
  );
  assert.equal(imageHistory(undefined, layers).length, 2);
});

test('artifacts are told apart by the types that tools write', () => {
  const cases: [string, string][] = [
    ['application/vnd.cncf.notary.signature', 'signature'],
    ['application/vnd.dev.cosign.artifact.sig.v1+json', 'signature'],
    ['application/vnd.dev.sigstore.bundle.v0.3+json', 'signature'],
    ['application/spdx+json', 'sbom'],
    ['text/spdx', 'sbom'],
    ['application/vnd.cyclonedx+json', 'sbom'],
    ['application/vnd.syft+json', 'sbom'],
    ['application/vnd.goharbor.harbor.sbom.v1', 'sbom'],
    ['application/vnd.in-toto+json', 'attestation'],
    ['application/vnd.dsse.envelope.v1+json', 'attestation'],
    ['application/vnd.oci.image.config.v1+json', 'other'],
    ['application/vnd.cncf.helm.config.v1+json', 'other'],
  ];
  for (const [type, kind] of cases) assert.equal(kindOfType(type), kind, type);
  const bundle = {
    ...amd64.descriptor,
    artifactType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    annotations: { 'dev.sigstore.bundle.predicateType': 'https://slsa.dev/provenance/v1' },
  };
  assert.equal(artifactKind(bundle), 'attestation');
  assert.equal(documentSuffix('application/vnd.cyclonedx+json'), '.cdx.json');
  assert.equal(documentSuffix('application/x-unknown'), '.bin');
});

test('a level of the catalog is listed once, and nothing beside it', async () => {
  const store = new CountingStore();
  for (const name of ['a', 'a-b/x', 'a/one', 'a/two/x', 'a/two/y', 'b/z']) store.repository(name);
  const list = async (parent: string): Promise<string[]> => {
    const names: string[] = [];
    for await (const name of catalogChildren(store, parent)) names.push(name);
    return names;
  };
  assert.deepEqual(await list(''), ['a', 'a-b', 'b']);
  assert.deepEqual(await list('a'), ['one', 'two']);
  assert.deepEqual(await list('a/two'), ['x', 'y']);
  assert.deepEqual(await list('c'), []);
  assert.deepEqual(store.taken(), ['catalog', 'catalog a/', 'catalog a/two/', 'catalog c/']);
});

test('known names are a tree, and bounded', () => {
  const names = new KnownNames(3);
  names.add('s', 'a/b');
  assert.equal(names.kind('s', 'a'), 'prefix');
  assert.equal(names.kind('s', 'a/b'), 'repository');
  assert.equal(names.kind('other', 'a'), undefined);
  assert.deepEqual(names.children('s', ''), ['a']);
  names.add('s', 'c/d/e');
  assert.equal(names.kind('s', 'c/d/e'), undefined, 'beyond the bound nothing is taken');
  assert.deepEqual(names.children('s', ''), ['a'], 'and what leads nowhere is not listed');
  names.remove('s', 'a/b');
  assert.equal(names.kind('s', 'a'), undefined);
});

test('stores are opened once, again after a failure, and closed', async () => {
  let attempts = 0;
  const opened: string[] = [];
  const stores = createStoreDirectory({
    openRegistry: async (host) => {
      attempts += 1;
      if (attempts === 1) throw new Error('first time');
      opened.push(host);
      return new CountingStore({ id: `docker://${host}` });
    },
    locals: new Map([
      ['mine', async (): Promise<ImageStore> => new CountingStore({ transport: 'oci', id: 'oci:/x' })],
    ]),
  });
  await assert.rejects(stores.registry('docker.io'), /first time/);
  const [one, two] = await Promise.all([stores.registry('docker.io'), stores.registry('index.docker.io')]);
  assert.equal(one, two);
  assert.deepEqual(opened, ['docker.io']);
  const local = (await stores.local('mine')) as CountingStore;
  await assert.rejects(stores.local('other'), { code: 'not-found' });
  await stores.close();
  assert.deepEqual(local.taken(), ['close']);
  await assert.rejects(stores.registry('docker.io'), { code: 'internal' });
});
