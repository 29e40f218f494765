import assert from 'node:assert/strict';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { ErrorCode } from '../../../../src/errors/codes.js';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestHex } from '../../../../src/oci/digest.js';
import { openDirStore, type DirStore } from '../../../../src/store/dir/dir-store.js';
import { openStore } from '../../../../src/store/open.js';
import { parseLocation } from '../../../../src/store/location.js';
import { collect, readBody } from '../../../support/bodies.js';
import { mustRun, skipWithout } from '../../../support/child.js';
import { buildIndex, sampleImage, type BuiltImage } from '../../../support/image-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

async function newDir(t: TestContext): Promise<DirStore> {
  return openDirStore(join(await tempDir(t, 'dir'), 'new'), { create: true });
}

async function push(store: DirStore, image: BuiltImage): Promise<void> {
  for (const { bytes, descriptor } of image.blobs) {
    const upload = await store.startUpload('');
    await upload.write(bytes);
    await upload.finish(descriptor.digest);
  }
  for (const { bytes, descriptor } of image.manifests) {
    const child = descriptor.digest !== image.descriptor.digest;
    await store.putManifest('', bytes, descriptor.mediaType, { child });
  }
}

async function rejects(work: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isImgfsError(error, code), `${String(error)} is not ${code}`);
    assert.match(`${error.message} ${error.hint ?? ''}`, says);
    return true;
  });
}

describe('dir', limits, () => {
  it('keeps one image; the one before goes away', async (t) => {
    const store = await newDir(t);
    const index = await buildIndex([
      await sampleImage({ seed: 1, payloadBytes: 9 }),
      await sampleImage({ seed: 2, payloadBytes: 9 }),
    ]);
    await push(store, index);
    await writeFile(join(store.path, 'signature-1'), 'simple');
    await writeFile(join(store.path, 'notes.txt'), 'ours');
    assert.deepEqual(await collect(store.tags('')), ['latest']);
    const names = new Set(await readdir(store.path));
    for (const { descriptor } of index.manifests.slice(0, 2)) {
      assert.ok(names.has(`${digestHex(descriptor.digest)}.manifest.json`));
      assert.equal(
        (await store.resolve({ repository: '', digest: descriptor.digest })).descriptor.digest,
        descriptor.digest,
      );
    }
    await push(store, index);
    assert.ok((await readdir(store.path)).includes('signature-1'));
    const next = await sampleImage({ seed: 3, payloadBytes: 9 });
    await push(store, next);
    const left = (await readdir(store.path)).filter((name) => !name.startsWith('.')).sort();
    const blobs = next.blobs.map(({ descriptor }) => digestHex(descriptor.digest));
    assert.deepEqual(left, [...new Set(blobs), 'manifest.json', 'notes.txt', 'version'].sort());
    for (const { descriptor, bytes } of next.blobs) {
      assert.deepEqual(await readBody(await store.fetch('', descriptor)), Buffer.from(bytes));
    }
  });

  it('has no names', async (t) => {
    const store = await newDir(t);
    const image = await sampleImage({ payloadBytes: 9 });
    await rejects(store.resolve({ repository: '' }), 'not-found');
    assert.deepEqual(await collect(store.tags('')), []);
    await push(store, image);
    for (const target of [
      { repository: '' },
      { repository: '', tag: '@0' },
      { repository: '', tag: 'latest' },
    ]) {
      assert.equal((await store.resolve(target)).descriptor.digest, image.descriptor.digest);
    }
    await rejects(store.resolve({ repository: '', tag: 'v1' }), 'not-found', /latest or @0/);
    const [manifest] = image.manifests;
    assert.ok(manifest);
    await rejects(store.putManifest('', manifest.bytes, '', { tags: ['v1'] }), 'unsupported', /oci:/);
    await rejects(store.putManifest('app', manifest.bytes, ''), 'unsupported');
    await store.deleteTag('', 'latest');
    await rejects(store.deleteTag('', 'latest'), 'not-found');
    const readOnly = await openDirStore(store.path, { readOnly: true });
    await rejects(readOnly.startUpload(''), 'read-only-store');
  });

  it('says what is wrong with a directory', async (t) => {
    const directory = await tempDir(t, 'dir');
    await rejects(openDirStore(join(directory, 'nowhere')), 'not-found');
    await rejects(openDirStore(directory), 'invalid-content', /that skopeo wrote/);
    await writeFile(join(directory, 'oci-layout'), '{}');
    await rejects(openDirStore(directory), 'invalid-content', /use oci:/);
    await rejects(openDirStore(directory, { create: true }), 'not-empty');
    await writeFile(join(directory, 'version'), 'Directory Transport Version: 2.0\n');
    await rejects(openDirStore(directory), 'unsupported', /2.0/);
    await rm(join(directory, 'version'));
    await mkdir(join(directory, 'manifest.json'));
    const store = await openDirStore(directory);
    await rejects(store.resolve({ repository: '' }), 'invalid-content', /not a regular file/);
  });

  it('is read by skopeo, and we read what it writes', { skip: skipWithout('skopeo') }, async (t) => {
    const store = await newDir(t);
    const image = await buildIndex([await sampleImage({ payloadBytes: 9 })]);
    await push(store, image);
    const theirs = join(await tempDir(t, 'dir'), 'theirs');
    await mustRun('skopeo', ['--insecure-policy', 'copy', '--all', `dir:${store.path}`, `dir:${theirs}`]);
    const read = await openStore(parseLocation(`dir:${theirs}`));
    assert.equal((await read.resolve({ repository: '' })).descriptor.digest, image.descriptor.digest);
    for (const { descriptor, bytes } of [...image.blobs, ...image.manifests]) {
      assert.deepEqual(await readBody(await read.fetch('', descriptor)), Buffer.from(bytes));
    }
  });
});

describe('openStore', limits, () => {
  it('opens what needs only a path, and asks the caller for the rest', async (t) => {
    const path = join(await tempDir(t, 'open'), 'layout');
    const store = await openStore(parseLocation(`oci:${path}`), { create: true });
    assert.equal(store.transport, 'oci');
    for (const transport of ['oci-archive', 'docker-archive']) {
      await rejects(openStore(parseLocation(`${transport}:${path}.tar`)), 'not-found');
    }
    await rejects(openStore(parseLocation('alpine')), 'unsupported', /docker/);
    const given = await openStore(parseLocation('alpine'), {}, { docker: async () => store });
    assert.equal(given, store);
  });
});
