/** docs/SEMANTICS.md, R17 to R21: layers that bring an index. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { exportZtoc } from '../../../src/layer/foreign/export-ztoc.js';
import { LayerStore, type LayerStoreOptions } from '../../../src/layer/layer-store.js';
import { digestOf } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { ImageInside } from '../../../src/vfs/inside/image-inside.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import { mixedFiles } from '../../support/foreign-ground.js';
import type { BuiltBlob, BuiltImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { estargzLayer, type TocJson, type TocLayerOptions } from '../../support/toc-layers.js';

const options = { timeout: 60_000 };
const files = mixedFiles(11);
const content = files.find(({ name }) => name === 'many/f3')?.content ?? Buffer.alloc(0);

const folders: string[] = [];
const opened: Fixture[] = [];
after(async () => {
  for (const one of opened) await one.fileSystem.close();
  for (const folder of folders) await removeTempDir(folder);
});

function blobOf(
  bytes: Uint8Array,
  mediaType: string,
  annotations?: Readonly<Record<string, string>>,
): BuiltBlob {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { bytes, descriptor: annotations === undefined ? descriptor : { ...descriptor, annotations } };
}

const json = (value: unknown, mediaType: string): BuiltBlob =>
  blobOf(Buffer.from(JSON.stringify(value)), mediaType);

function imageOf(layer: BuiltBlob, annotations: Readonly<Record<string, string>> = {}): BuiltImage {
  const config = json({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } }, mediaTypes.ociConfig); // prettier-ignore
  const manifest = json(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: config.descriptor,
      layers: [layer.descriptor],
      annotations,
    },
    mediaTypes.ociManifest,
  );
  return { descriptor: manifest.descriptor, blobs: [config, layer], manifests: [manifest] };
}

const estargz = (more: TocLayerOptions = {}): BuiltBlob => {
  const made = estargzLayer(files, more);
  return blobOf(made.blob, mediaTypes.ociLayerGzip, made.annotations);
};

async function fixture(image: BuiltImage, more: Partial<LayerStoreOptions> = {}): Promise<Fixture> {
  const folder = await makeTempDir('foreign');
  folders.push(folder);
  const cache = createMemoryContent(folder);
  const layers = new LayerStore({ cache, foreignFromBytes: 0, ...more });
  const made = createFixture({
    content: cache,
    fileSystem: { extensions: [new ImageInside({ content: cache, layers })] },
  });
  made.store.add('app', image, 'v1');
  opened.push(made);
  return made;
}

const at = (path: string): string => `${host}/app/v1/${path}`;
const xattr = (from: Fixture, path: string, name: string) => from.xattr(at(path), name);

test(
  'R17 an index that the manifest binds gives the names, and what helps it is no part of rootfs/',
  options,
  async () => {
    const layer = estargz();
    const made = await fixture(imageOf(layer));
    const root = await made.list(at('rootfs'));
    assert.ok(
      root.includes('many') && !root.includes('.prefetch.landmark') && !root.includes('stargz.index.json'),
    );
    const alone = await made.list(at('layers/0'));
    assert.ok(alone.includes('.prefetch.landmark') && alone.includes('stargz.index.json'));
    assert.ok((await made.read(at('rootfs/many/f3'))).equals(content));
    assert.equal(await xattr(made, 'rootfs/many/f3', 'user.imgfs.index'), 'estargz');
    assert.equal(await xattr(made, 'rootfs/many/f3', 'user.imgfs.verified'), 'yes');
    const toc = JSON.parse((await made.read(at('layers/0/stargz.index.json'))).toString()) as TocJson;
    assert.equal(toc.version, 1);
  },
);

test(
  'R18 what an index cannot tell, and much reading, has the layer gone through once',
  options,
  async () => {
    const layer = estargz();
    const made = await fixture(imageOf(layer));
    assert.ok((await made.read(at('rootfs/many/f3'))).equals(content));
    const tar = await made.read(at('layers/0.tar'));
    assert.ok(tar.equals(estargzLayer(files).tar));
    assert.equal(await xattr(made, 'rootfs/many/f3', 'user.imgfs.index'), 'pass');
    assert.ok((await made.read(at('rootfs/many/f3'))).equals(content));
  },
);

test('R19 an index that lies is not used, or makes stale what was shown by it', options, async () => {
  const refused = await fixture(imageOf(estargz({ edit: (toc) => void (toc.version = 9) })));
  assert.ok((await refused.read(at('rootfs/many/f3'))).equals(content));
  assert.equal(await xattr(refused, 'rootfs/many/f3', 'user.imgfs.index'), 'pass');

  const lying = imageOf(
    estargz({
      edit: (toc) => void toc.entries.push({ name: 'extra', type: 'symlink', linkName: '/etc/shadow' }),
    }),
  );
  const made = await fixture(lying);
  assert.ok((await made.list(at('rootfs'))).includes('extra'));
  // Going through it shows the lie: what was there before is stale, and the next look sees the layer as it is.
  await made
    .read(at('layers/0.tar'))
    .catch((error: unknown) => assert.match(String(error), /stale|another index|says something else/));
  assert.ok(!(await made.list(at('rootfs'))).includes('extra'));
  assert.ok((await made.read(at('rootfs/many/f3'))).equals(content));
});

test(
  'R20 an index that nothing binds is used with --verify=deferred alone, and says so',
  options,
  async () => {
    const tar = estargzLayer(files, { external: true }).tar;
    const layer = blobOf(gzipSync(tar), mediaTypes.ociLayerGzip);
    const image = imageOf(layer);
    const maker = await fixture(image);
    assert.ok((await maker.read(at('rootfs/many/f3'))).equals(content));
    const folder = folders.at(-1) ?? '';
    const source = { store: maker.store, repository: 'app', descriptor: layer.descriptor };
    const ztoc = blobOf(
      await exportZtoc({ source, cache: createMemoryContent(folder), spanBytes: 1 << 20, buildTool: 'test' }),
      'application/octet-stream',
      { 'com.amazon.soci.image-layer-digest': layer.descriptor.digest },
    );
    const empty = blobOf(Buffer.from('{}'), 'application/vnd.amazon.soci.index.v1+json');
    const index = json(
      {
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: empty.descriptor,
        layers: [ztoc.descriptor],
        subject: image.descriptor,
      },
      mediaTypes.ociManifest,
    );
    const artifact: BuiltImage = {
      descriptor: { ...index.descriptor, artifactType: 'application/vnd.amazon.soci.index.v1+json' },
      blobs: [empty, ztoc],
      manifests: [index],
    };
    const plain = await fixture(image);
    plain.store.refer('app', image.descriptor.digest, artifact);
    await plain.list(at('rootfs'));
    assert.equal(await xattr(plain, 'rootfs/many/f3', 'user.imgfs.index'), 'pass');
    assert.ok(!plain.store.requests.some((request) => request.startsWith('referrers')));

    const deferred = await fixture(image, { deferred: true });
    deferred.store.refer('app', image.descriptor.digest, artifact);
    deferred.store.before = async (request) => {
      if (request.endsWith(layer.descriptor.digest))
        await new Promise((resolve) => setTimeout(resolve, 2000).unref());
    };
    await deferred.list(at('rootfs'));
    assert.equal(await xattr(deferred, 'rootfs/many/f3', 'user.imgfs.index'), 'soci');
    assert.equal(await xattr(deferred, 'rootfs/many/f3', 'user.imgfs.verified'), 'no');
  },
);
