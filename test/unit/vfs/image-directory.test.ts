import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { digestHex } from '../../../src/oci/digest.js';
import { nameFromText } from '../../../src/oci/name.js';
import { rootInode } from '../../../src/vfs/file-system.js';
import { createFixture, host, mountTimeMs, type Fixture } from '../../support/file-system-fixture.js';
import { buildArtifact, buildIndex, sampleImage } from '../../support/image-builder.js';
import { tempDir } from '../../support/temp.js';

const notFound = { code: 'not-found' };
const amd64 = await sampleImage({ payloadBytes: 5000 });
const arm64 = await sampleImage({
  seed: 2,
  payloadBytes: 5000,
  platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
});
const statement = {
  _type: 'https://in-toto.io/Statement/v0.1',
  predicateType: 'https://spdx.dev/Document',
  predicate: { spdxVersion: 'SPDX-2.3', name: 'a "b" }{' },
};
const index = await buildIndex([amd64, arm64], {
  attestation: (image) => ({ ...statement, of: image.descriptor.digest }),
});
const artifact = buildArtifact({
  artifactType: 'application/vnd.test',
  files: [
    { title: 'readme.md', content: 'read me' },
    { title: 'docs/a/b.txt', content: 'deep' },
    { title: '../../etc/passwd', content: 'escape' },
    { title: '/absolute', content: 'absolute' },
    { title: 'readme.md', content: 'again' },
    { title: 'docs', content: 'a file where a directory is' },
    { title: 'new\nline%', content: 'control' },
    { title: '', content: 'empty' },
  ],
});

function fixture(options: Parameters<typeof createFixture>[0] = {}): Fixture {
  const made = createFixture(options);
  made.store.add('app', amd64, 'single');
  made.store.add('app', index, 'multi');
  made.store.add('files', artifact, 'v1');
  return made;
}

const layerNames = ['0.tar.gz', '1.tar.gz'];

test('I1 an image directory lists what DESIGN section 2 says, in two round trips', async () => {
  const { list, store, entry } = fixture();
  await entry(`${host}/app`);
  store.taken();
  assert.deepEqual(await list(`${host}/app/single`), [
    'manifest.json',
    'digest',
    'reference',
    'config.json',
    'inspect.json',
    'history.json',
    'layers',
    'referrers',
    'signatures',
    'sbom',
    'attestations',
  ]);
  assert.equal(store.taken().length, 2);
  const multi = await list(`${host}/app/multi`);
  assert.ok(multi.includes('index.json') && multi.includes('platforms'));
  assert.equal(store.taken().length, 2);
});

test('I2 manifest.json, index.json and config.json are the exact bytes', async () => {
  const { read } = fixture();
  const bytes = (image: typeof amd64) => image.manifests[0]?.bytes;
  assert.deepEqual(await read(`${host}/app/single/manifest.json`), bytes(amd64));
  assert.deepEqual(await read(`${host}/app/single/config.json`), amd64.config.bytes);
  assert.deepEqual(await read(`${host}/app/multi/index.json`), index.manifests.at(-1)?.bytes);
  assert.deepEqual(await read(`${host}/app/multi/manifest.json`), bytes(amd64), 'of the chosen platform');
  await assert.rejects(read(`${host}/app/single/index.json`), notFound);
});

test('I3 digest and reference are one line each', async () => {
  const { text } = fixture();
  assert.equal(await text(`${host}/app/multi/digest`), `${index.descriptor.digest}\n`);
  assert.equal(await text(`${host}/app/multi/reference`), `${host}/app:multi\n`);
});

test('I4 ls -l of layers transfers no blob', async () => {
  const { entries, stat, store } = fixture();
  const found = await entries(`${host}/app/single/layers`, true);
  assert.deepEqual(
    found.map(({ name }) => name),
    layerNames,
  );
  assert.deepEqual(
    found.map(({ entry }) => entry?.attributes.size),
    amd64.layers.map(({ descriptor }) => descriptor.size),
  );
  await stat(`${host}/app/single/layers/1.tar.gz`);
  const layers = amd64.layers.map(({ descriptor }) => `fetch app ${descriptor.digest}`);
  assert.ok(!store.requests.some((request) => layers.includes(request)));
});

test('I5 a layer is read as it is stored', async () => {
  const { read } = fixture();
  for (const [at, layer] of amd64.layers.entries()) {
    assert.deepEqual(await read(`${host}/app/single/layers/${at}.tar.gz`), layer.bytes);
  }
  await assert.rejects(read(`${host}/app/single/layers/2.tar.gz`), notFound);
  await assert.rejects(read(`${host}/app/single/layers/0.tar.zst`), notFound);
  await assert.rejects(read(`${host}/app/single/layers/00.tar.gz`), notFound);
});

test('I6 platforms/ has an image directory for each child but attestations', async () => {
  const { list, text, read } = fixture();
  assert.deepEqual(await list(`${host}/app/multi/platforms`), ['linux-amd64', 'linux-arm64-v8']);
  assert.equal(
    await text(`${host}/app/multi/platforms/linux-arm64-v8/digest`),
    `${arm64.descriptor.digest}\n`,
  );
  assert.deepEqual(await read(`${host}/app/multi/platforms/linux-arm64-v8/config.json`), arm64.config.bytes);
});

test('I7 an index without the wanted platform shows index.json and platforms, and no manifest.json', async () => {
  const { list, read, store } = fixture({ fileSystem: { platform: { os: 'linux', architecture: 's390x' } } });
  const only = await buildIndex([amd64]);
  store.add('other', only, 'v1');
  const names = await list(`${host}/other/v1`);
  assert.ok(names.includes('index.json') && names.includes('platforms'));
  await assert.rejects(read(`${host}/other/v1/manifest.json`), notFound);
  assert.deepEqual(await list(`${host}/other/v1/platforms`), ['linux-amd64']);
});

test('I8 inspect.json is what skopeo inspect prints, and more', async () => {
  const { text, stat } = fixture();
  const inspection = JSON.parse(await text(`${host}/app/single/inspect.json`)) as Record<string, unknown>;
  assert.equal(inspection['Name'], `${host}/app`);
  assert.equal(inspection['Digest'], amd64.descriptor.digest);
  assert.equal(inspection['Os'], 'linux');
  assert.equal(inspection['Architecture'], 'amd64');
  assert.deepEqual(inspection['Labels'], { seed: '1' });
  assert.deepEqual(inspection['Env'], ['PATH=/bin']);
  assert.deepEqual(
    inspection['Layers'],
    amd64.layers.map(({ descriptor }) => descriptor.digest),
  );
  const data = inspection['LayersData'] as { Size: number; DiffID: string }[];
  assert.deepEqual(
    data.map((layer) => layer.DiffID),
    amd64.layers.map((layer) => layer.diffId),
  );
  assert.equal(
    (await stat(`${host}/app/single/inspect.json`)).size,
    (await text(`${host}/app/single/inspect.json`)).length,
  );
});

test('I9 @digests reaches any manifest, @blobs any blob, blobs/ what was seen', async () => {
  const { text, read, list } = fixture();
  const [algorithm, hex] = arm64.descriptor.digest.split(':');
  assert.equal(await text(`${host}/app/@digests/${algorithm}/${hex}/digest`), `${arm64.descriptor.digest}\n`);
  const layer = arm64.layers[0];
  const layerHex = layer?.descriptor.digest.slice(7) ?? '';
  assert.deepEqual(await read(`${host}/app/@blobs/sha256/${layerHex}`), layer?.bytes);
  assert.deepEqual(await read(`blobs/sha256/${layerHex}`), layer?.bytes);
  assert.ok((await list(`${host}/app/@blobs/sha256`)).includes(layerHex));
  assert.ok((await list(`${host}/app/@digests/sha256`)).includes(hex ?? ''));
  await assert.rejects(read(`${host}/app/@blobs/sha256/${'0'.repeat(64)}`), notFound);
  await assert.rejects(read(`${host}/app/@blobs/sha256/..`), notFound);
  await assert.rejects(read(`${host}/app/@blobs/md5/${'0'.repeat(32)}`), notFound);
});

test('I10 files/ has artifact layers by title, hostile titles made safe', async () => {
  const { list, text, xattr } = fixture();
  assert.deepEqual((await list(`${host}/files/v1/files`)).sort(), [
    '%',
    '%%~7',
    '%2E%2E',
    'docs',
    'docs%~5',
    'new%0Aline%25',
    'readme.md',
    'readme.md%~4',
  ]);
  assert.equal(await text(`${host}/files/v1/files/docs/a/b.txt`), 'deep');
  assert.equal(await text(`${host}/files/v1/files/%2E%2E/%2E%2E/etc/passwd`), 'escape');
  assert.equal(await text(`${host}/files/v1/files/readme.md%~4`), 'again');
  assert.equal(await text(`${host}/files/v1/files/%/absolute`), 'absolute');
  assert.equal(await xattr(`${host}/files/v1/files/new%0Aline%25`, 'user.oci.title'), 'new\nline%');
});

test('I11 referrers/ has artifacts by digest', async () => {
  const { list, text, store } = fixture();
  const refers = buildArtifact({
    artifactType: 'application/vnd.test',
    files: [{ title: 'x', content: 'y' }],
  });
  store.refer('app', amd64.descriptor.digest, refers);
  const hex = refers.descriptor.digest.slice(7);
  assert.deepEqual(await list(`${host}/app/single/referrers/sha256`), [hex]);
  assert.equal(await text(`${host}/app/single/referrers/sha256/${hex}/files/x`), 'y');
  await assert.rejects(list(`${host}/app/single/referrers/sha256/${'0'.repeat(64)}`), notFound);
});

test('I12 signatures, SBOMs and attestations are ready to read', async () => {
  const { list, text, store } = fixture();
  const sbom = buildArtifact({
    artifactType: 'application/spdx+json',
    files: [{ title: 's', content: '{"spdxVersion":"SPDX-2.3"}', mediaType: 'application/spdx+json' }],
  });
  store.refer('app', amd64.descriptor.digest, sbom);
  const signature = buildArtifact({
    artifactType: 'application/vnd.dev.cosign.artifact.sig.v1+json',
    files: [
      {
        title: 'p',
        content: '{"critical":1}',
        mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
      },
    ],
  });
  store.add('app', signature, `${amd64.descriptor.digest.replace(':', '-')}.sig`);
  const sboms = await list(`${host}/app/single/sbom`);
  assert.equal(sboms.length, 1);
  assert.match(sboms[0] ?? '', /^[0-9a-f]{12}\.spdx\.json$/);
  assert.equal(await text(`${host}/app/single/sbom/${sboms[0]}`), '{"spdxVersion":"SPDX-2.3"}');
  const signatures = await list(`${host}/app/single/signatures`);
  assert.match(signatures[0] ?? '', /\.payload\.json$/);
  const [inside = ''] = (await list(`${host}/app/multi/sbom`)).filter((name) => !sboms.includes(name));
  assert.match(inside, /^[0-9a-f]{12}\.spdx\.json$/);
  assert.deepEqual(JSON.parse(await text(`${host}/app/multi/sbom/${inside}`)), statement.predicate);
  assert.equal((await list(`${host}/app/multi/attestations`)).length, 1);
  assert.equal((await list(`${host}/app/multi/platforms/linux-arm64-v8/attestations`)).length, 1);
});

test('I23 signatures of simple signing are in signatures/, where the lookaside has some', async (t) => {
  const directory = await tempDir(t, 'lookaside');
  const folder = join(directory, `app@sha256=${digestHex(amd64.descriptor.digest)}`);
  await mkdir(folder);
  await writeFile(join(folder, 'signature-1'), 'first');
  await writeFile(join(folder, 'signature-2'), 'second');
  const base = pathToFileURL(directory).href;
  const registriesD = { placeOf: async () => ({ read: base, write: base }) };
  const { list, text } = fixture({ fileSystem: { registriesD } });
  assert.deepEqual(await list(`${host}/app/single/signatures`), ['signature-1', 'signature-2']);
  assert.equal(await text(`${host}/app/single/signatures/signature-2`), 'second');
  assert.deepEqual(await list(`${host}/app/single/sbom`), []);
});

test('I13 extended attributes carry digest, media type, size and how much is cached', async () => {
  const { xattr, xattrs, read } = fixture();
  const path = `${host}/app/single/layers/0.tar.gz`;
  const layer = amd64.layers[0];
  assert.equal(await xattr(path, 'user.oci.digest'), layer?.descriptor.digest);
  assert.equal(await xattr(path, 'user.oci.mediatype'), layer?.descriptor.mediaType);
  assert.equal(await xattr(path, 'user.oci.size'), String(layer?.descriptor.size));
  assert.equal(await xattr(path, 'user.imgfs.cached'), '0');
  assert.equal(await xattr(path, 'user.imgfs.verified'), 'no');
  await read(path);
  assert.equal(await xattr(path, 'user.imgfs.cached'), '100');
  assert.equal(await xattr(path, 'user.imgfs.verified'), 'yes');
  assert.equal(await xattr(path, 'user.imgfs.error'), undefined);
  assert.ok(!(await xattrs(path)).includes('user.imgfs.error'));
  assert.equal(await xattr(`${host}/app/multi`, 'user.oci.digest'), index.descriptor.digest);
  assert.equal(await xattr(path, 'user.nothing'), undefined);
});

test('I14 the last failure of a path is in user.imgfs.error and in the error log', async () => {
  const { xattr, xattrs, read, store, errorLog } = fixture();
  const path = `${host}/app/single/layers/0.tar.gz`;
  store.repository('app').blobs.delete(amd64.layers[0]?.descriptor.digest ?? ('' as never));
  await assert.rejects(read(path), notFound);
  store.before = (request) => {
    if (request.startsWith('fetch')) throw new Error('scripted defect');
  };
  await assert.rejects(read(path), { code: 'internal' });
  assert.match(
    (await xattr(path, 'user.imgfs.error')) ?? '',
    /^open \/registry\.test\/app\/single\/layers\/0\.tar\.gz\ninternal: .*scripted defect/,
  );
  assert.ok((await xattrs(path)).includes('user.imgfs.error'));
  const logged = JSON.parse(errorLog.renderNdjson()) as Record<string, unknown>;
  assert.equal(logged['operation'], 'open');
  assert.equal(logged['code'], 'internal');
});

test('I15 a refused manifest is readable as bytes, and nothing is derived from it', async () => {
  const { list, text, read, store } = fixture();
  const bytes = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}');
  store.addBytes('app', bytes, 'application/vnd.oci.image.manifest.v1+json', 'odd');
  assert.deepEqual(await list(`${host}/app/odd`), ['manifest.json', 'digest', 'reference']);
  assert.equal(await text(`${host}/app/odd/manifest.json`), bytes.toString());
  await assert.rejects(read(`${host}/app/odd/config.json`), { code: 'invalid-content' });
});

test('I16 bytes that are not what the digest says are never served', async () => {
  const { read, store } = fixture();
  const blob = store.repository('app').blobs.get(amd64.config.descriptor.digest);
  assert.ok(blob);
  store.repository('app').blobs.set(amd64.config.descriptor.digest, {
    ...blob,
    bytes: Buffer.from(blob.bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte))),
  });
  await assert.rejects(read(`${host}/app/single/config.json`), { code: 'integrity' });
});

test('I17 times are those of the image where they are known, else of the mount', async () => {
  const { stat, text } = fixture();
  const path = `${host}/app/single`;
  assert.equal((await stat(path)).mtimeNs, BigInt(mountTimeMs) * 1_000_000n);
  await text(`${path}/inspect.json`);
  assert.equal((await stat(path)).mtimeNs, BigInt(Date.parse('2023-11-14T22:13:20Z')) * 1_000_000n);
});

test('I18 directories are 0755, files 0444, owned by who mounted', async () => {
  const { stat } = fixture();
  const directory = await stat(`${host}/app/single/layers`);
  assert.deepEqual([directory.mode, directory.uid, directory.gid, directory.nlink], [0o755, 1000, 1001, 1]);
  const file = await stat(`${host}/app/single/layers/0.tar.gz`);
  assert.deepEqual(
    [file.mode, file.uid, file.gid, file.blocks],
    [0o444, 1000, 1001, Math.ceil(file.size / 512)],
  );
});

test('I19 opening for writing is refused, directories are not files', async () => {
  const { fileSystem, caller, inode } = fixture();
  const file = await inode(`${host}/app/single/manifest.json`);
  for (const flags of [1, 2, 0o1000, 0o2000]) {
    await assert.rejects(fileSystem.open(caller, file, flags), { code: 'read-only-store' });
  }
  await assert.rejects(fileSystem.open(caller, rootInode, 0), { code: 'is-dir' });
  await assert.rejects(fileSystem.opendir(caller, file), { code: 'not-dir' });
  await assert.rejects(fileSystem.lookup(caller, file, nameFromText('x')), { code: 'not-dir' });
  await assert.rejects(fileSystem.readlink(caller, file), { code: 'invalid' });
});

test('I20 control files are rendered when they are opened', async () => {
  let calls = 0;
  const render = async (): Promise<Uint8Array> => Buffer.from(`{"calls":${(calls += 1)}}`);
  const { text, list, stat } = fixture({ fileSystem: { controlFiles: new Map([['status.json', render]]) } });
  assert.deepEqual(await list('.imgfs'), ['status.json']);
  assert.notEqual(await text('.imgfs/status.json'), await text('.imgfs/status.json'));
  assert.ok((await stat('.imgfs/status.json')).size > 0);
});

test('I21 statfs tells of the disk of the cache', async () => {
  const { fileSystem, caller } = fixture();
  const facts = await fileSystem.statfs(caller, rootInode);
  assert.ok(facts.blocks > 0);
  assert.equal(facts.maxNameLength, 255);
});

test('I22 listing a directory with attributes fetches nothing that only an attribute needs', async () => {
  const { entries, store } = fixture();
  await entries(`${host}/app/multi/sbom`, false);
  store.taken();
  const [sbom] = await entries(`${host}/app/multi/sbom`, true);
  assert.equal(sbom?.entry, undefined);
  const names = (await entries(`${host}/app/multi`, true)).filter(({ entry }) => entry === undefined);
  assert.deepEqual(
    names.map(({ name }) => name),
    ['config.json', 'inspect.json', 'history.json'],
  );
  assert.ok(!store.taken().some((request) => request.startsWith('fetch')));
});
