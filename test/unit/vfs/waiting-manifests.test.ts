/** docs/SEMANTICS.md, "Writing": manifests that come before their blobs (W8, W20 to W24). */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isWritable, type Caller } from '../../../src/vfs/file-system.js';
import { verbs } from '../../support/file-system-verbs.js';
import { walk } from '../../support/file-system-walker.js';
import { sampleImage } from '../../support/image-builder.js';
import { repository, setUp, timeout, type SetUp } from '../../support/writing-ground.js';

/** A manifest whose blobs are elsewhere, and an empty registry for it. */
async function withoutBlobs(t: TestContext, options: SetUp = {}) {
  const { tree, base, image } = await setUp(t);
  const bytes = await tree.read(`${base}/v1/manifest.json`);
  const other = await setUp(t, { ...options, empty: true });
  const app = `${other.root}/new`;
  await other.mkdir(app);
  await other.mkdir(`${app}/v1`);
  const bring = async (...digests: readonly string[]): Promise<void> => {
    for (const { descriptor, bytes: blob } of image.blobs)
      if (!digests.includes(descriptor.digest)) await other.cp(blob, `${app}/@uploads/${descriptor.digest}`);
  };
  const tag = () => other.registry.content.repositories.get('new')?.tags.get('v1');
  /** Another program than the one that made the directory. */
  const stranger: Caller = { ...other.tree.caller, pid: process.pid };
  return { ...other, bytes, app, image, bring, tag, stranger };
}

const waitingName = 'v1:manifest.json';

test(
  'W8 a manifest before its blobs waits in the spool, is shown, and is put by the last of them',
  { timeout },
  async (t) => {
    const { tree, cp, app, bytes, bring, tag, image, rmdir } = await withoutBlobs(t);
    await cp(bytes, `${app}/v1/manifest.json`);
    const pending = await tree.xattr(`${app}/v1/manifest.json`, 'user.imgfs.pending');
    assert.match(pending ?? '', /lacks blob/);
    assert.deepEqual(await tree.list(`${app}/@uploads`), [waitingName]);
    assert.ok((await tree.read(`${app}/@uploads/${waitingName}`)).equals(bytes));
    await bring(image.blobs[0]?.descriptor.digest ?? '');
    assert.equal(tag(), undefined);
    await bring();
    assert.equal(tag(), image.descriptor.digest);
    assert.ok(!(await tree.list(`${app}/@uploads`)).includes(waitingName));
    await assert.rejects(rmdir(`${app}/v1`), { code: 'forbidden' });
  },
);

test(
  'W20 while a manifest waits, fsync is EINVAL, and close for all but the program that made the directory',
  { timeout },
  async (t) => {
    const { cp, app, bytes, bring, tag, image, stranger, openNew, fileSystem, tree } = await withoutBlobs(t);
    await assert.rejects(cp(bytes, `${app}/v1/manifest.json`, stranger), { code: 'invalid' });
    const handle = await openNew(`${app}/v1/manifest.json`);
    await fileSystem.write(tree.caller, handle, bytes, 0);
    await assert.rejects(fileSystem.fsync(tree.caller, handle), { code: 'invalid' });
    await fileSystem.flush(tree.caller, handle);
    await bring();
    await fileSystem.fsync(tree.caller, handle);
    await fileSystem.release(handle);
    assert.equal(tag(), image.descriptor.digest);
  },
);

test('W21 rm in @uploads, or rmdir of its directory, gives a waiting manifest up', { timeout }, async (t) => {
  const { tree, cp, app, bytes, bring, tag, rm, rmdir, mkdir } = await withoutBlobs(t);
  await cp(bytes, `${app}/v1/manifest.json`);
  await rm(`${app}/@uploads/${waitingName}`);
  assert.deepEqual(await tree.list(`${app}/@uploads`), []);
  await rmdir(`${app}/v1`);
  await mkdir(`${app}/v1`);
  await cp(bytes, `${app}/v1/manifest.json`);
  await rmdir(`${app}/v1`);
  await assert.rejects(tree.inode(`${app}/v1`), { code: 'not-found' });
  await bring();
  assert.equal(tag(), undefined);
});

test('W22 a waiting manifest outlives the process, and so do its blobs', { timeout }, async (t) => {
  const { cp, app, bytes, tag, image, open, fileSystem, registry, stranger } = await withoutBlobs(t);
  await assert.rejects(cp(bytes, `${app}/v1/manifest.json`, stranger), { code: 'invalid' });
  await fileSystem.close();
  const again = open();
  assert.ok(isWritable(again));
  t.after(() => again.close());
  const tree = walk(again);
  const uploads = `${registry.host}/new/@uploads`;
  await verbs(again, tree).mkdir(`${registry.host}/new`);
  for (let tries = 0; tries < 200 && !(await tree.list(uploads)).includes(waitingName); tries += 1)
    await new Promise((wake) => setTimeout(wake, 20));
  for (const { descriptor, bytes: blob } of image.blobs) {
    assert.equal(tag(), undefined);
    await verbs(again, tree).cp(blob, `${uploads}/${descriptor.digest}`);
  }
  assert.equal(tag(), image.descriptor.digest);
  assert.equal(await tree.text(`${registry.host}/new/v1/digest`), `${image.descriptor.digest}\n`);
});

test('W23 a manifest that is refused at last stays, and is tried again', { timeout }, async (t) => {
  const { cp, app, bytes, bring, tag, image, registry, tree } = await withoutBlobs(t, { retryAfterMs: [50] });
  await cp(bytes, `${app}/v1/manifest.json`);
  registry.fault({ match: { method: 'PUT', path: /manifests/ }, fault: { kind: 'status', status: 503 } });
  await assert.rejects(bring(), { code: 'unavailable' });
  assert.ok((await tree.list(`${app}/@uploads`)).includes(waitingName));
  registry.clearFaults();
  for (let tries = 0; tries < 200 && tag() === undefined; tries += 1)
    await new Promise((wake) => setTimeout(wake, 20));
  assert.equal(tag(), image.descriptor.digest);
});

test(
  'W24 of two programs that make one tag, the second replaces it only with --allow-overwrite',
  { timeout },
  async (t) => {
    for (const allowOverwrite of [false, true]) {
      const { cp, mkdir, base, tree, registry, content, image } = await setUp(t, {
        rules: { allowOverwrite },
      });
      const next = await sampleImage({ seed: 2 });
      registry.addImage(repository, next, 'other');
      await mkdir(`${base}/v2`);
      registry.tag(repository, 'v2', image.descriptor.digest);
      const write = async () =>
        cp(await tree.read(`${base}/other/manifest.json`), `${base}/v2/manifest.json`);
      if (allowOverwrite) await write();
      else await assert.rejects(write(), { code: 'forbidden' });
      assert.equal(content()?.tags.get('v2'), (allowOverwrite ? next : image).descriptor.digest);
    }
  },
);
