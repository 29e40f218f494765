import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { ErrorCode } from '../../../../src/errors/codes.js';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestHex, digestOf, parseDigest, type Digest } from '../../../../src/oci/digest.js';
import type { LayoutStore } from '../../../../src/store/layout/layout-store.js';
import { openLayoutStore } from '../../../../src/store/layout/open-layout.js';
import type { PutManifestOptions } from '../../../../src/store/store.js';
import { buildArtifact, buildIndex, sampleImage, type BuiltImage } from '../../../support/image-builder.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 20_000 };

async function emptyLayout(t: TestContext): Promise<LayoutStore> {
  return openLayoutStore(join(await tempDir(t, 'layout'), 'new'), { create: true });
}

async function pushBlobs(store: LayoutStore, image: BuiltImage): Promise<void> {
  for (const { bytes, descriptor } of image.blobs) {
    const upload = await store.startUpload('');
    await upload.write(bytes);
    await upload.finish(descriptor.digest);
  }
}

async function push(
  store: LayoutStore,
  image: BuiltImage,
  options: PutManifestOptions,
  repository = '',
): Promise<void> {
  await pushBlobs(store, image);
  for (const [at, { bytes, descriptor }] of image.manifests.entries()) {
    const isLast = at === image.manifests.length - 1;
    const put = await store.putManifest(
      repository,
      bytes,
      descriptor.mediaType,
      isLast ? options : { child: true },
    );
    assert.equal(put.digest, descriptor.digest);
  }
}

async function rejects(work: Promise<unknown>, code: ErrorCode, says = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isImgfsError(error, code), `${String(error)} is not ${code}`);
    assert.match(`${error.message} ${error.hint ?? ''}`, says);
    return true;
  });
}

async function names(store: LayoutStore): Promise<string[]> {
  return (await store.images()).map(({ names }) =>
    names.map(({ repository, tag }) => `${repository}:${tag}`).join(' '),
  );
}

async function indexText(store: LayoutStore): Promise<string> {
  return readFile(join(store.path, 'index.json'), 'utf8');
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
const blobPath = (store: LayoutStore, digest: Digest): string =>
  join(store.path, 'blobs/sha256', digestHex(digest));

describe('pushing to a layout', limits, () => {
  it('makes an image that resolves, and leaves nothing behind', async (t) => {
    const store = await emptyLayout(t);
    const image = await buildIndex([
      await sampleImage({ seed: 1, payloadBytes: 9 }),
      await sampleImage({ seed: 2, payloadBytes: 9 }),
    ]);
    await push(store, image, { tags: ['v1', 'latest'] });
    await push(store, image, { tags: ['3.20'] }, 'alpine');
    assert.deepEqual(await names(store), [':v1', ':latest', 'docker.io/library/alpine:3.20']);
    assert.equal(
      (await store.resolve({ repository: 'alpine', tag: '3.20' })).descriptor.digest,
      image.descriptor.digest,
    );
    assert.deepEqual(await readdir(join(store.path, '.imgfs-uploads')), []);
    assert.deepEqual((await readdir(store.path)).sort(), [
      '.imgfs-uploads',
      'blobs',
      'index.json',
      'oci-layout',
    ]);
    const { mode } = await stat(blobPath(store, image.descriptor.digest));
    assert.equal(mode & 0o777, 0o444);
    assert.match(await indexText(store), /"io.containerd.image.name":"docker.io\/library\/alpine:3.20"/);
  });

  it('moves a tag, keeping other names of what had it', async (t) => {
    const store = await emptyLayout(t);
    const [one, two] = [
      await sampleImage({ seed: 1, payloadBytes: 9 }),
      await sampleImage({ seed: 2, payloadBytes: 9 }),
    ];
    await push(store, one, { tags: ['v1'] });
    const document = JSON.parse(await indexText(store)) as {
      manifests: { annotations: Record<string, string> }[];
    };
    const [entry] = document.manifests;
    assert.ok(entry);
    entry.annotations['io.containerd.image.name'] = 'docker.io/library/app:v1';
    entry.annotations['ours'] = 'kept';
    await writeFile(join(store.path, 'index.json'), JSON.stringify({ ...document, later: { field: 1 } }));
    await push(store, two, { tags: ['v1'] });
    assert.deepEqual(await names(store), ['docker.io/library/app:v1', ':v1']);
    assert.match(await indexText(store), /"ours":"kept".*"later":\{"field":1\}/);
    await push(store, two, { tags: ['v1'] }, 'docker.io/library/app');
    assert.deepEqual(await names(store), [':v1', 'docker.io/library/app:v1']);
  });

  it('lists an image without a tag until it gets one', async (t) => {
    const store = await emptyLayout(t);
    const image = await sampleImage({ payloadBytes: 9 });
    await push(store, image, {});
    await push(store, image, {});
    assert.deepEqual(await names(store), ['']);
    await push(store, image, { tags: ['v1'] });
    assert.deepEqual(await names(store), [':v1']);
  });

  it('takes other digest algorithms', async (t) => {
    const store = await emptyLayout(t);
    const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
    const { digest } = await store.putManifest('', bytes, '', { tags: ['v1'], algorithm: 'sha512' });
    assert.equal(digest, digestOf(bytes, 'sha512'));
    assert.equal((await store.resolve({ repository: '', tag: 'v1' })).descriptor.digest, digest);
    const upload = await store.startUpload('', { algorithm: 'sha256' });
    await upload.write(bytes);
    await upload.finish(digestOf(bytes, 'blake3'));
    assert.equal((await store.statBlob('', digestOf(bytes, 'blake3'))).size, bytes.length);
  });

  it('refuses what is not whole, not legal or not allowed', async (t) => {
    const store = await emptyLayout(t);
    const image = await sampleImage({ payloadBytes: 9 });
    const [manifest] = image.manifests;
    assert.ok(manifest);
    const put = (bytes: Uint8Array, type: string, tags: string[]): Promise<unknown> =>
      store.putManifest('', bytes, type, { tags });
    await rejects(
      put(manifest.bytes, manifest.descriptor.mediaType, ['v1']),
      'invalid-content',
      /not in the layout.*before the manifest/,
    );
    await pushBlobs(store, image);
    await rejects(put(Buffer.from('{'), '', ['v1']), 'invalid-content');
    await rejects(put(manifest.bytes, 'application/vnd.oci.image.index.v1+json', ['v1']), 'invalid-content');
    for (const tag of ['@0', 'a/b', '', '../x', 'a:b']) {
      await rejects(put(manifest.bytes, manifest.descriptor.mediaType, [tag]), 'name-invalid');
    }
    await rejects(
      store.putManifest('UPPER', manifest.bytes, manifest.descriptor.mediaType, { tags: ['v1'] }),
      'name-invalid',
    );
    assert.deepEqual(await names(store), []);
    const readOnly = await openLayoutStore(store.path, { readOnly: true });
    await rejects(readOnly.putManifest('', manifest.bytes, manifest.descriptor.mediaType), 'read-only-store');
    await rejects(readOnly.startUpload(''), 'read-only-store');
    await rejects(readOnly.deleteTag('', 'v1'), 'read-only-store');
    await rejects(readOnly.collectGarbage(), 'read-only-store');
  });

  it('serialises processes and stores that push at once', async (t) => {
    const store = await emptyLayout(t);
    const image = await sampleImage({ payloadBytes: 9 });
    await push(store, image, { tags: ['first'] });
    const [manifest] = image.manifests;
    assert.ok(manifest);
    const program = `
      import { openLayoutStore } from ${JSON.stringify(new URL('../../../../src/store/layout/open-layout.js', import.meta.url).href)};
      import { readFile } from 'node:fs/promises';
      const [, , path, blob, mark] = process.argv;
      const store = await openLayoutStore(path);
      const bytes = await readFile(blob);
      for (let at = 0; at < 8; at += 1) await store.putManifest('', bytes, '', { tags: [mark + at] });
    `;
    const file = join(store.path, '..', 'pusher.mjs');
    await writeFile(file, program);
    const children = ['a', 'b'].map((mark) =>
      fork(file, [store.path, blobPath(store, manifest.descriptor.digest), mark], { timeout: 15_000 }),
    );
    const others = await Promise.all([openLayoutStore(store.path), openLayoutStore(store.path)]);
    await Promise.all([
      ...children.map(async (child) => assert.deepEqual(await once(child, 'exit'), [0, null])),
      ...others.map(async (other, number) => {
        for (let at = 0; at < 8; at += 1) {
          await other.putManifest('', manifest.bytes, manifest.descriptor.mediaType, {
            tags: [`s${number}${at}`],
          });
        }
      }),
    ]);
    assert.equal((await names(store)).length, 1 + 4 * 8);
    assert.equal(await isThere(join(store.path, '.imgfs-lock')), false);
  });
});

describe('uploads to a layout', limits, () => {
  const content = Buffer.from('some content that is pushed in pieces');
  const digest = digestOf(content);

  it('go on after a restart', async (t) => {
    const store = await emptyLayout(t);
    const first = await store.startUpload('', { size: content.length });
    await first.write(content.subarray(0, 10));
    const later = await openLayoutStore(store.path);
    const second = await later.resumeUpload('', first.resumeToken);
    assert.deepEqual([second.offset, await second.status(), second.id], [10, 10, first.id]);
    await second.write(content.subarray(10));
    assert.deepEqual((await second.finish(digest)).size, content.length);
    assert.deepEqual(await readFile(blobPath(store, digest)), content);
    await rejects(later.resumeUpload('', first.resumeToken), 'not-found');
  });

  it('refuse another digest and stay alive', async (t) => {
    const store = await emptyLayout(t);
    const upload = await store.startUpload('');
    await upload.write(content.subarray(0, 5));
    await rejects(upload.finish(digest), 'digest-mismatch');
    await upload.write(content.subarray(5));
    await upload.finish(digest);
    await rejects(upload.write(content), 'not-found');
    await rejects(upload.finish(digest), 'not-found');
  });

  it('keep to the announced size', async (t) => {
    const store = await emptyLayout(t);
    const upload = await store.startUpload('', { size: 5 });
    await rejects(upload.write(content), 'invalid');
    await upload.write(content.subarray(0, 3));
    await rejects(upload.finish(digestOf(content.subarray(0, 3))), 'digest-mismatch', /3 of 5/);
    await upload.cancel();
    await upload.cancel();
    assert.deepEqual(await readdir(join(store.path, '.imgfs-uploads')), []);
  });

  it('keep the order of writes that were not waited for', async (t) => {
    const store = await emptyLayout(t);
    const upload = await store.startUpload('');
    const big = Buffer.alloc(3_000_000, 'x');
    await Promise.all([upload.write(big), upload.write(content)]);
    await upload.finish(digestOf(Buffer.concat([big, content])));
    assert.equal(upload.offset, big.length + content.length);
  });

  it('refuse tokens that are not theirs', async (t) => {
    const store = await emptyLayout(t);
    for (const token of [
      '',
      '../../etc/passwd',
      'x '.repeat(20),
      '00000000-0000-0000-0000-000000000000 -1',
    ]) {
      await rejects(store.resumeUpload('', token), 'invalid');
    }
    await rejects(store.resumeUpload('', '00000000-0000-0000-0000-000000000000 '), 'not-found');
  });

  it('heal a blob that was damaged', async (t) => {
    const store = await emptyLayout(t);
    await writeFile(blobPath(store, digest), 'damaged');
    const upload = await store.startUpload('');
    await upload.write(content);
    await upload.finish(digest);
    assert.deepEqual(await readFile(blobPath(store, digest)), content);
    assert.equal(await store.mountBlob('a', 'b', digest), true);
    assert.equal(await store.mountBlob('a', 'b', parseDigest(`sha256:${'0'.repeat(64)}`)), false);
  });
});

describe('deleting from a layout', limits, () => {
  it('takes tags, manifests and blobs', async (t) => {
    const store = await emptyLayout(t);
    const image = await sampleImage({ payloadBytes: 9 });
    const { digest } = image.descriptor;
    await push(store, image, { tags: ['v1', 'v2'] });
    await push(store, image, { tags: ['v1'] }, 'app');
    await store.deleteTag('', 'v1');
    assert.deepEqual(await names(store), [':v2', 'docker.io/library/app:v1']);
    await rejects(store.deleteTag('', 'v1'), 'not-found');
    await rejects(store.deleteTag('', '@0'), 'name-invalid');
    await store.deleteManifest('', digest);
    assert.deepEqual(await names(store), ['docker.io/library/app:v1']);
    assert.ok(await isThere(blobPath(store, digest)));
    await rejects(store.deleteManifest('', digest), 'invalid', /another image/);
    await store.deleteManifest('app', digest);
    assert.deepEqual(await names(store), []);
    await rejects(store.resolve({ repository: '', digest }), 'not-found');
    await rejects(store.deleteManifest('', digest), 'not-found');
    const [config] = image.blobs;
    assert.ok(config);
    await store.deleteBlob('', config.descriptor.digest);
    await rejects(store.deleteBlob('', config.descriptor.digest), 'not-found');
  });

  it('leaves children of an index alone', async (t) => {
    const store = await emptyLayout(t);
    const child = await sampleImage({ payloadBytes: 9 });
    await push(store, await buildIndex([child]), { tags: ['multi'] });
    await rejects(store.deleteManifest('', child.descriptor.digest), 'invalid', /delete the index/);
    assert.ok(await isThere(blobPath(store, child.descriptor.digest)));
  });
});

describe('collecting garbage in a layout', limits, () => {
  it('removes what nothing needs, and nothing else', async (t) => {
    const store = await emptyLayout(t);
    const [kept, dropped] = [
      await sampleImage({ seed: 1, payloadBytes: 9 }),
      await sampleImage({ seed: 2, payloadBytes: 9 }),
    ];
    const sbom = buildArtifact({
      artifactType: 'x/sbom',
      subject: kept.descriptor,
      files: [{ title: 'a', content: 'sbom' }],
    });
    const note = buildArtifact({
      artifactType: 'x/note',
      subject: sbom.descriptor,
      files: [{ title: 'b', content: 'note' }],
    });
    await push(store, await buildIndex([kept]), { tags: ['keep'] });
    await push(store, dropped, { tags: ['drop'] });
    for (const { bytes, descriptor } of [sbom, note].flatMap((artifact) => [
      ...artifact.blobs,
      ...artifact.manifests,
    ])) {
      const upload = await store.startUpload('');
      await upload.write(bytes);
      await upload.finish(descriptor.digest);
    }
    const abandoned = await store.startUpload('');
    await store.deleteTag('', 'drop');
    const young = await store.collectGarbage();
    assert.deepEqual([young.removed, young.uploads], [[], []]);
    const planned = await store.collectGarbage({ minAgeMs: 0, dryRun: true });
    const gone = new Set([...dropped.manifests, ...dropped.blobs].map(({ descriptor }) => descriptor.digest));
    for (const { descriptor } of kept.blobs) gone.delete(descriptor.digest);
    assert.deepEqual(new Set(planned.removed.map(({ digest }) => digest)), gone);
    assert.ok(await isThere(blobPath(store, dropped.descriptor.digest)));
    const done = await store.collectGarbage({ minAgeMs: 0 });
    assert.deepEqual(done, planned);
    assert.deepEqual(done.uploads, [abandoned.id]);
    for (const { descriptor } of [...kept.blobs, ...sbom.manifests, ...note.manifests, ...note.blobs]) {
      assert.ok(await isThere(blobPath(store, descriptor.digest)), descriptor.digest);
    }
    for (const digest of gone) assert.equal(await isThere(blobPath(store, digest)), false);
    await abandoned.cancel();
  });

  it('removes nothing when an image cannot be walked', async (t) => {
    const store = await emptyLayout(t);
    const image = await sampleImage({ payloadBytes: 9 });
    await push(store, image, { tags: ['v1'] });
    const stray = await store.startUpload('');
    await stray.write(Buffer.from('stray'));
    const { digest } = await stray.finish(digestOf(Buffer.from('stray')));
    const path = blobPath(store, image.descriptor.digest);
    await chmod(path, 0o644);
    await writeFile(path, '{');
    await rejects(store.collectGarbage({ minAgeMs: 0 }), 'invalid-content', /remove its entry/);
    assert.ok(await isThere(blobPath(store, digest)));
  });
});

describe('the lock of a layout', limits, () => {
  const lockOf = (store: LayoutStore): string => join(store.path, '.imgfs-lock');

  it('is waited for, and names its holder when the time is over', async (t) => {
    const store = await emptyLayout(t);
    const impatient = await openLayoutStore(store.path, { lockTimeoutMs: 100 });
    await writeFile(
      lockOf(store),
      JSON.stringify({ nonce: 'n', host: 'elsewhere boot', pid: 42, started: '1' }),
    );
    const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
    await rejects(
      impatient.putManifest('', bytes, '', { tags: ['a'] }),
      'timeout',
      /process 42 on elsewhere/,
    );
    const abort = AbortSignal.timeout(50);
    await rejects(store.putManifest('', bytes, '', { tags: ['a'], signal: abort }), 'interrupted');
    const longAgo = new Date(Date.now() - 120_000);
    await utimes(lockOf(store), longAgo, longAgo);
    // However long it takes to find out that nobody holds it: no time at all is left here.
    const hasty = await openLayoutStore(store.path, { lockTimeoutMs: 0 });
    await hasty.putManifest('', bytes, '', { tags: ['a'] });
    assert.deepEqual(await names(store), [':a']);
  });

  it('is broken when its holder died', async (t) => {
    const store = await emptyLayout(t);
    const program = `
      import { withLock } from ${JSON.stringify(new URL('../../../../src/store/layout/lock.js', import.meta.url).href)};
      await withLock(process.argv[2], () => new Promise(() => { process.send('locked'); setInterval(() => {}, 1000); }));
    `;
    const file = join(store.path, '..', 'holder.mjs');
    await writeFile(file, program);
    const child = fork(file, [lockOf(store)], { timeout: 15_000 });
    await once(child, 'message');
    const impatient = await openLayoutStore(store.path, { lockTimeoutMs: 100 });
    const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
    await rejects(
      impatient.putManifest('', bytes, '', { tags: ['a'] }),
      'timeout',
      new RegExp(`process ${child.pid}`),
    );
    child.kill('SIGKILL');
    await once(child, 'exit');
    await store.putManifest('', bytes, '', { tags: ['a'] });
    assert.deepEqual(await names(store), [':a']);
    assert.equal(await isThere(`${lockOf(store)}.break`), false);
  });
});
