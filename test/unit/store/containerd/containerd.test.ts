import assert from 'node:assert/strict';
import { mkdir, open, readFile, rename, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestHex, type Digest } from '../../../../src/oci/digest.js';
import { openBolt, readVarint } from '../../../../src/store/containerd/bolt.js';
import { readNamespaces } from '../../../../src/store/containerd/metadata.js';
import { openContainerd } from '../../../../src/store/containerd/open-containerd.js';
import type { SnapshotStore } from '../../../../src/store/snapshot-store.js';
import { collect, readBody, rejectsWith } from '../../../support/bodies.js';
import { boltMeta, buildBolt, varint, type BoltTree } from '../../../support/bolt-writer.js';
import { sampleImage, type BuiltImage } from '../../../support/image-builder.js';
import { createPrng } from '../../../support/prng.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

const database = (root: string): string => join(root, 'io.containerd.metadata.v1.bolt/meta.db');

function namespace(images: Readonly<Record<string, BuiltImage>>): BoltTree {
  const targets = Object.entries(images).map(([name, { descriptor }]) => {
    const { digest, mediaType, size } = descriptor;
    const target = { digest: Buffer.from(digest), mediatype: Buffer.from(mediaType), size: varint(size) };
    return [name, { createdat: Buffer.alloc(15, 1), target }] as const;
  });
  return { images: Object.fromEntries(targets), content: { blob: {}, ingests: {} } };
}

async function write(
  root: string,
  namespaces: Readonly<Record<string, Readonly<Record<string, BuiltImage>>>>,
): Promise<void> {
  const path = database(root);
  await mkdir(dirname(path), { recursive: true });
  const buckets = Object.entries(namespaces).map(([name, images]) => [name, namespace(images)] as const);
  await writeFile(`${path}.new`, buildBolt({ v1: { ...Object.fromEntries(buckets), version: varint(3) } }));
  await rename(`${path}.new`, path);
  for (const image of Object.values(namespaces).flatMap((images) => Object.values(images))) {
    for (const { descriptor, bytes } of [...image.blobs, ...image.manifests]) {
      const blob = join(root, 'io.containerd.content.v1.content/blobs/sha256', digestHex(descriptor.digest));
      await mkdir(dirname(blob), { recursive: true });
      await writeFile(blob, bytes);
    }
  }
}

async function opened(t: TestContext, root: string, part?: string): Promise<SnapshotStore> {
  const store = await openContainerd({ root, ...(part === undefined ? {} : { part }) });
  t.after(() => store.close());
  return store;
}

describe('containerd', limits, () => {
  it('gives the images of a namespace by name, and every blob as it is', async (t) => {
    const root = await tempDir(t, 'containerd');
    const [one, two] = [await sampleImage(), await sampleImage({ seed: 2 })];
    await write(root, {
      default: { 'docker.io/library/one:v1': one, [`docker.io/library/one@${one.descriptor.digest}`]: one },
      'k8s.io': { 'registry.k8s.io/two:v2': two, [two.descriptor.digest]: two },
    });
    const store = await opened(t, root);
    assert.deepEqual(await collect(store.repositories()), ['docker.io/library/one']);
    const { descriptor } = await store.resolve({ repository: 'one', tag: 'v1' });
    assert.equal(descriptor.digest, one.descriptor.digest);
    for (const { descriptor: blob, bytes } of [...one.blobs, ...one.manifests]) {
      assert.deepEqual(await readBody(await store.fetch('one', blob)), Buffer.from(bytes));
    }
    const other = await opened(t, root, 'k8s.io');
    assert.deepEqual(await collect(other.repositories()), ['registry.k8s.io/two']);
    await rejectsWith(openContainerd({ root, part: 'moby' }), 'not-found');
    await rejectsWith(store.statBlob('', `sha256:${'0'.repeat(64)}` as Digest), 'not-found');
  });

  it('takes the only namespace there is, and asks when there are several', async (t) => {
    const root = await tempDir(t, 'containerd');
    const image = await sampleImage();
    await write(root, { 'k8s.io': { 'a.example/x:v1': image } });
    const store = await opened(t, root);
    assert.deepEqual(await collect(store.repositories()), ['a.example/x']);
    await write(root, { 'k8s.io': { 'a.example/x:v1': image }, moby: { 'a.example/y:v1': image } });
    await assert.rejects(openContainerd({ root }), { code: 'usage', hint: /k8s\.io, moby/ });
  });

  it('follows the database: 500 images on many pages', async (t) => {
    const root = await tempDir(t, 'containerd');
    const image = await sampleImage();
    await write(root, { default: { 'a.example/x:v1': image } });
    const store = await opened(t, root);
    const many = Array.from({ length: 500 }, (_, at) => [`a.example/x:v${at}`, image] as const);
    await write(root, { default: Object.fromEntries(many) });
    assert.equal((await collect(store.tags('a.example/x'))).length, 500);
  });

  it('says when the database is written to without a pause, and reads it when it is not', async (t) => {
    const root = await tempDir(t, 'containerd');
    await write(root, { default: { 'a.example/x:v1': await sampleImage() } });
    const path = database(root);
    const bytes = await readFile(path);
    const rootPage = Number(bytes.readBigUInt64LE(32));
    const handle = await open(path, 'r+');
    t.after(() => handle.close());
    const stop = new AbortController();
    const writing = (async () => {
      for (let txid = 8n; !stop.signal.aborted; txid += 1n) {
        await handle.write(boltMeta(rootPage, txid), 0, 4096, txid % 2n === 0n ? 0 : 4096);
      }
    })();
    // Either every copy fell between two transactions, or it says that none did: never anything else.
    const outcome = await openContainerd({ root }).then(
      (store) => store.close().then(() => 'read'),
      (error: unknown) => (isImgfsError(error) ? error.code : String(error)),
    );
    stop.abort();
    await writing;
    assert.ok(['read', 'busy'].includes(outcome), outcome);
    await opened(t, root);
  });

  it('says what is wrong with a place', async (t) => {
    const root = await tempDir(t, 'containerd');
    await rejectsWith(openContainerd({ root }), 'not-found');
    await write(root, { default: { 'a.example/x:v1': await sampleImage() } });
    const path = database(root);
    const bytes = await readFile(path);
    await truncate(path, 8192);
    await rejectsWith(openContainerd({ root }), 'invalid-content');
    await writeFile(path, Buffer.alloc(20_000, 1));
    await rejectsWith(openContainerd({ root }), 'invalid-content');
    // One damaged meta page: the other transaction counts, as for bbolt.
    await writeFile(path, bytes.fill(0xff, 20, 30));
    assert.deepEqual(await collect((await opened(t, root)).repositories()), ['']);
  });
});

describe('bbolt', limits, () => {
  it('never throws anything but an ImgfsError, and always ends', async () => {
    const image = await sampleImage({ payloadBytes: 10 });
    const names = Array.from({ length: 60 }, (_, at) => [`a.example/x:v${at}`, image] as const);
    const whole = buildBolt({ v1: { default: namespace(Object.fromEntries(names)) } });
    assert.equal(readNamespaces(whole, 'meta.db').get('default')?.length, 60);
    const prng = createPrng(11);
    for (let round = 0; round < 300; round += 1) {
      const bytes = Buffer.from(whole);
      // Behind the meta pages, whose checksums would catch it.
      for (let flips = 0; flips < 4; flips += 1)
        bytes[8192 + prng.integer(bytes.length - 8192)] = prng.integer(256);
      try {
        readNamespaces(bytes, 'meta.db');
      } catch (error) {
        assert.ok(isImgfsError(error, 'invalid-content'), String(error));
      }
    }
  });

  it('refuses a page that leads to itself', () => {
    const bytes = buildBolt({ v1: { default: Buffer.from('x') } });
    const root = Number(bytes.readBigUInt64LE(32));
    const at = root * 4096;
    bytes.writeUInt16LE(1, at + 8);
    bytes.writeUInt16LE(1, at + 10);
    bytes.writeBigUInt64LE(BigInt(root), at + 16 + 8);
    assert.throws(() => [...openBolt(bytes, 'x').buckets()], { code: 'invalid-content' });
  });

  it('reads numbers as Go writes them', () => {
    for (const value of [0, 1, 63, 64, 300, 2 ** 40]) assert.equal(readVarint(varint(value)), value);
    assert.equal(readVarint(new Uint8Array([1])), undefined, 'negative');
    assert.equal(readVarint(new Uint8Array(12).fill(0xff)), undefined);
  });
});
