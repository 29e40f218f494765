/** What one may ask by a path that is not listed: pages, searches, everything, what a store can do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openLayoutStore } from '../../../src/store/layout/open-layout.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { buildArtifact, buildIndex, sampleImage } from '../../support/image-builder.js';
import { tempDir } from '../../support/temp.js';

const notFound = { code: 'not-found' };
const amd64 = await sampleImage({ payloadBytes: 1_000 });
const arm64 = await sampleImage({
  seed: 2,
  payloadBytes: 1_000,
  platform: { os: 'linux', architecture: 'arm64' },
});
const index = await buildIndex([amd64, arm64]);
const sbom = buildArtifact({ artifactType: 'x/y', subject: amd64.descriptor, files: [] });

function fixture(): Fixture {
  const made = createFixture();
  made.store.add('group/app', index, 'v1', 'v2', 'v3', 'v4');
  made.store.refer('group/app', amd64.descriptor.digest, sbom);
  made.store.add('other/tool', amd64, 'latest');
  return made;
}

test('S1 @tags,last=…,n=… is one page of tags, each a link', async () => {
  const { list, entry, store, text } = fixture();
  await entry(`${host}/group/app`);
  store.taken();
  assert.deepEqual(await list(`${host}/group/app/@tags,last=v1,n=2`), ['v2', 'v3']);
  assert.equal(store.taken().length, 1);
  assert.deepEqual(await list(`${host}/group/app/@tags,n=1`), ['v1']);
  assert.equal(await text(`${host}/group/app/@tags/v2/digest`), `${index.descriptor.digest}\n`);
  for (const bad of ['@tags,n=0', '@tags,n=99999', '@tags,x=1', '@tags,last=', '@tags,last=%'])
    await assert.rejects(entry(`${host}/group/app/${bad}`), notFound, bad);
});

test('S2 @repos,last=…,n=… is one page of the catalog, each a link', async () => {
  const { list, entry } = fixture();
  assert.deepEqual(await list(`${host}/@repos,n=1`), ['group%2Fapp']);
  assert.deepEqual(await list(`${host}/@repos,last=group%2Fapp`), ['other%2Ftool']);
  const link = await entry(`${host}/@repos,n=1/group%2Fapp`);
  assert.equal(link.attributes.type, 'symlink');
  assert.equal(link.attributes.size, '../group/app'.length);
});

test('S3 @all/<alg>/<hex> has every manifest that can be found: tags, children, referrers', async () => {
  const { list, text } = fixture();
  const all = [index, amd64, arm64, sbom].map(({ descriptor }) => descriptor.digest.slice(7)).sort();
  const found = await list(`${host}/group/app/@all/sha256`);
  assert.deepEqual([...found].sort(), all);
  const hex = arm64.descriptor.digest.slice(7);
  assert.equal(await text(`${host}/group/app/@all/sha256/${hex}/digest`), `${arm64.descriptor.digest}\n`);
});

test('S4 @search/<term>/ has what the store finds, each a link', async () => {
  const { list, entry } = fixture();
  assert.deepEqual(await list(`${host}/@search`), []);
  assert.deepEqual(await list(`${host}/@search/tool`), ['other%2Ftool']);
  assert.deepEqual(await list(`${host}/@search/none`), []);
  await assert.rejects(entry(`${host}/group/app/@search`), notFound);
});

test(
  'S5 @store/ tells what a store can do, and of a layout what nobody needs',
  { timeout: 20_000 },
  async (t) => {
    const layout = await openLayoutStore(await tempDir(t, 'facts'), { create: true });
    const made = createFixture({ locals: new Map([['mine', layout]]) });
    const facts = JSON.parse(await made.text('mine/@store/capabilities.json')) as Record<string, unknown>;
    assert.deepEqual([facts['transport'], facts['push'], facts['manifestPushFirst']], ['oci', true, false]);
    const garbage = JSON.parse(await made.text('mine/@store/garbage.json')) as { removed: unknown[] };
    assert.deepEqual(garbage.removed, []);
    assert.deepEqual(await made.list(`${host}/@store`), ['capabilities.json', 'rate-limit.json']);
  },
);

test('S6 none of these is listed', async () => {
  const { list } = fixture();
  const names = [...(await list(host)), ...(await list(`${host}/group/app`))];
  assert.deepEqual(
    names.filter((name) => /^@(all|search|store|repos|tags,)/.test(name)),
    [],
  );
});

test('S7 history.json, descriptor.json and runconfig.json of an image', async () => {
  const { text } = fixture();
  const at = (name: string): Promise<string> => text(`${host}/group/app/v1/${name}`);
  const steps = JSON.parse(await at('history.json')) as { layer: { size: number } }[];
  assert.deepEqual(
    steps.map(({ layer }) => layer.size),
    amd64.layers.map(({ descriptor }) => descriptor.size),
  );
  const { digest, size, mediaType } = index.descriptor;
  assert.deepEqual(JSON.parse(await at('descriptor.json')), { digest, size, mediaType });
  const config = JSON.parse(Buffer.from(amd64.config.bytes).toString()) as { config: unknown };
  assert.deepEqual(JSON.parse(await at('runconfig.json')), config.config);
});
