/**
 * Images whose lowest layer is bad in every way that a layer can be: what needs it is an error that names it, the layers
 * above it stay readable, and no byte is served that the layer does not have (docs/SEMANTICS.md, R9, R10 and R16).
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { codeFacts } from '../../../src/errors/codes.js';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import { LayerStore } from '../../../src/layer/layer-store.js';
import { digestOf } from '../../../src/oci/digest.js';
import { mediaTypes } from '../../../src/oci/media-type.js';
import { ImageInside } from '../../../src/vfs/inside/image-inside.js';
import { createFixture, host, type Fixture } from '../../support/file-system-fixture.js';
import type { BuiltBlob, BuiltImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { rawEntry, rawHeader, rawTar } from '../../support/raw-tar.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const options = { timeout: 60_000 };
const content = Buffer.from('what the lower layer holds\n'.repeat(3000));
const tar = Buffer.from(
  rawTar(rawEntry({ name: 'dir/', type: '5' }), rawEntry({ name: 'dir/lower' }, content)),
);
const gzip = gzipSync(tar);
const gzipType = mediaTypes.ociLayerGzip;

function flipped(bytes: Uint8Array, at: number): Buffer {
  const bad = Buffer.from(bytes);
  bad[at] = (bad[at] ?? 0) ^ 0x10;
  return bad;
}

interface BadLayer {
  /** What the manifest names by its digest. */
  readonly named: Uint8Array;
  readonly mediaType?: string;
  readonly urls?: readonly string[];
  /** What the store sends instead; undefined: it has no such blob. */
  readonly sent?: Uint8Array | undefined;
  readonly limits?: { readonly maxBytes: number; readonly maxRatio: number; readonly ratioFromBytes: number };
  readonly says: RegExp;
  /** Its media type is none of a layer: it has no tree of its own. */
  readonly isUnknown?: true;
}

const bomb = gzipSync(Buffer.concat([tar.subarray(0, tar.length - 1024), rawHeader({ name: 'zeros', size: 64 << 20 }), Buffer.alloc(64 << 20)])); // prettier-ignore

const bad: Record<string, BadLayer> = {
  'cut, and not what its digest says': {
    named: gzip,
    sent: gzip.subarray(0, gzip.length >> 1),
    says: /ends at byte/,
  },
  'cut, with a digest of its own': { named: gzip.subarray(0, gzip.length >> 1), says: /./ },
  'garbage behind it, with a digest of its own': {
    named: Buffer.concat([gzip, Buffer.alloc(100, 'x')]),
    says: /./,
  },
  'a wrong digest': {
    named: gzip,
    sent: gzipSync(rawTar(rawEntry({ name: 'dir/lower' }, 'evil'))),
    says: /./,
  },
  'cut inside a file': { named: gzipSync(tar.subarray(0, 30_000)), says: /breaks off inside the data/ },
  'a bomb by its bytes': {
    named: bomb,
    limits: { maxBytes: 1 << 20, maxRatio: 1e9, ratioFromBytes: 0 },
    says: /more than/,
  },
  'a bomb by its ratio': {
    named: bomb,
    limits: { maxBytes: 1e12, maxRatio: 20, ratioFromBytes: 1 << 20 },
    says: /to 1/,
  },
  'compressed by xz': {
    named: Buffer.from('fd377a585a000004e6d6b446', 'hex'),
    mediaType: 'application/vnd.oci.image.layer.v1.tar+xz',
    isUnknown: true,
    says: /xz/,
  },
  'compressed by xz and called gzip': { named: Buffer.from('fd377a585a000004e6d6b446', 'hex'), says: /xz/ },
  'neither packed nor an archive': { named: Buffer.alloc(2000, 'z'), says: /neither a tar archive/ },
  encrypted: { named: gzip, mediaType: `${gzipType}+encrypted`, says: /is encrypted/ },
  'not in the store': { named: gzip, sent: undefined, says: /the store lacks/ },
  'a foreign layer whose urls nobody can reach': {
    named: gzip,
    sent: undefined,
    mediaType: mediaTypes.dockerForeignLayerGzip,
    urls: ['https://layers.invalid/blob'],
    says: /the store lacks/,
  },
  'a tar with a hostile size': {
    named: gzipSync(rawTar(rawHeader({ name: 'f', patches: [[124, '8'.repeat(11)]] }))),
    says: /number|header|size/,
  },
};
for (let at = 0; at < 16; at += 1) {
  const place = Math.floor((gzip.length * (at + 0.5)) / 16);
  bad[`a flipped bit at byte ${place}`] = { named: gzip, sent: flipped(gzip, place), says: /./ };
}

const blobOf = (bytes: Uint8Array, mediaType: string, more: object = {}): BuiltBlob => ({
  bytes,
  descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length, ...more },
});

function imageOf({ named, mediaType = gzipType, urls }: BadLayer): { image: BuiltImage; lower: BuiltBlob } {
  const json = (value: unknown, type: string): BuiltBlob => blobOf(Buffer.from(JSON.stringify(value)), type);
  const lower = blobOf(named, mediaType, urls === undefined ? {} : { urls });
  const upper = blobOf(gzipSync(rawTar(rawEntry({ name: 'upper' }, 'good\n'))), gzipType);
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar), digestOf(tar)] };
  const config = json({ os: 'linux', architecture: 'amd64', rootfs }, mediaTypes.ociConfig);
  const layers = [lower.descriptor, upper.descriptor];
  const type = mediaTypes.ociManifest;
  const manifest = json({ schemaVersion: 2, mediaType: type, config: config.descriptor, layers }, type);
  return {
    image: { descriptor: manifest.descriptor, blobs: [config, lower, upper], manifests: [manifest] },
    lower,
  };
}

const folders: string[] = [];
const opened: Fixture[] = [];
after(async () => {
  for (const one of opened) await one.fileSystem.close();
  for (const folder of folders) await removeTempDir(folder);
});

async function fixture(layer: BadLayer, kept?: string): Promise<{ made: Fixture; digest: string }> {
  const folder = kept ?? (await makeTempDir('bad-layer'));
  if (kept === undefined) folders.push(folder);
  const cache = createMemoryContent(folder);
  const { limits } = layer;
  const layers = new LayerStore({ cache, ...(limits === undefined ? {} : { limits }) });
  const made = createFixture({
    content: cache,
    fileSystem: { extensions: [new ImageInside({ content: cache, layers })] },
  });
  opened.push(made);
  const { image, lower } = imageOf(layer);
  made.store.add('app', image, 'v1');
  const { blobs } = made.store.repository('app');
  if ('sent' in layer) {
    if (layer.sent === undefined) blobs.delete(lower.descriptor.digest);
    else blobs.set(lower.descriptor.digest, { descriptor: lower.descriptor, bytes: layer.sent });
  }
  return { made, digest: lower.descriptor.digest };
}

const at = (path: string): string => `${host}/app/v1/${path}`;

for (const [name, layer] of Object.entries(bad)) {
  test(`a layer that is bad: ${name}`, options, async () => {
    const { made, digest } = await fixture(layer);
    const { list, read, text, xattr } = made;
    let cause = '';
    const looks = [() => list(at('rootfs')), () => read(at('rootfs/dir/lower'))];
    const alone = layer.isUnknown === true ? 'rootfs' : 'layers/0';
    for (const look of [...looks, () => list(at(alone))]) {
      await assert.rejects(look(), (error: unknown) => {
        assert.ok(isImgfsError(error), String(error));
        // "No such file" would be a lie: the manifest says that there is one.
        assert.notEqual(codeFacts[error.code].errno, 'ENOENT', error.message);
        cause = error.message;
        return true;
      });
    }
    assert.match(cause, layer.says);
    assert.match((await xattr(at(alone), 'user.imgfs.error')) ?? '', new RegExp(digest));
    assert.equal(await text(at('layers/1/upper')), 'good\n');
    assert.equal(
      digestOf(await read(at('manifest.json'))),
      await xattr(at('manifest.json'), 'user.oci.digest'),
    );
  });
}

test('a foreign layer that its store has is read like any other', options, async () => {
  const layer = {
    named: gzip,
    mediaType: mediaTypes.dockerForeignLayerGzip,
    urls: ['https://layers.invalid/x'],
    says: /./,
  };
  const { made } = await fixture(layer);
  assert.ok((await made.read(at('rootfs/dir/lower'))).equals(content));
});

test('what a store sends behind the size that the manifest says is not taken', options, async () => {
  const { made } = await fixture({
    named: gzip,
    sent: Buffer.concat([gzip, Buffer.alloc(100, 'x')]),
    says: /./,
  });
  assert.ok((await made.read(at('rootfs/dir/lower'))).equals(content));
});

test('a blob that its store lost is no file that goes away', options, async () => {
  const folder = await makeTempDir('bad-layer');
  folders.push(folder);
  const { made: first } = await fixture({ named: gzip, says: /./ }, folder);
  assert.deepEqual(await first.list(at('rootfs/dir')), ['lower']);
  await first.fileSystem.close();
  await rm(join(folder, 'decoded'), { recursive: true, force: true });
  const { made } = await fixture({ named: gzip, sent: undefined, says: /./ }, folder);
  assert.deepEqual(await made.list(at('rootfs/dir')), ['lower']);
  await assert.rejects(made.read(at('rootfs/dir/lower')), { code: 'protocol' });
});

test('a layer that is padded with zeros behind its end is read', options, async () => {
  const { made } = await fixture({ named: Buffer.concat([gzip, Buffer.alloc(1000)]), says: /./ });
  assert.ok((await made.read(at('rootfs/dir/lower'))).equals(content));
});
