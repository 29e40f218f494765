/** docs/SEMANTICS.md, "Writing": each number a test. Over the fault registry and a real spool. */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { digestHex, digestOf } from '../../../src/oci/digest.js';
import { createStoreDirectory } from '../../../src/image/stores.js';
import { createFileSystem } from '../../../src/vfs/create-file-system.js';
import { isWritable, type Caller } from '../../../src/vfs/file-system.js';
import type { WritingRules } from '../../../src/vfs/writing/writing.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../../support/fault-registry/index.js';
import { buildSaved } from '../../support/archive-writer.js';
import { verbs } from '../../support/file-system-verbs.js';
import { walk } from '../../support/file-system-walker.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { hastyOptions, openTestStore } from '../../support/registry-client.js';
import { tempDir } from '../../support/temp.js';

const timeout = 20_000;
const repository = 'group/app';

interface SetUp {
  readonly rules?: Partial<WritingRules>;
  readonly registry?: FaultRegistryOptions;
  readonly empty?: boolean;
  readonly retryAfterMs?: readonly number[];
}

async function setUp(t: TestContext, options: SetUp = {}) {
  const registry = await startFaultRegistry(options.registry);
  t.after(() => registry.close());
  const image = await sampleImage();
  if (options.empty !== true) registry.addImage(repository, image, 'v1');
  const store = openTestStore(registry, { options: hastyOptions });
  const stores = createStoreDirectory({ openRegistry: async () => store });
  const directory = await tempDir(t, 'writing');
  const open = () =>
    createFileSystem({
      stores,
      content: createMemoryContent(directory),
      platform: { os: 'linux', architecture: 'amd64' },
      writing: {
        allowOverwrite: false,
        allowDelete: false,
        ...options.rules,
        ...(options.retryAfterMs === undefined ? {} : { retryAfterMs: options.retryAfterMs }),
      },
    });
  const fileSystem = open();
  assert.ok(isWritable(fileSystem));
  t.after(async () => {
    await fileSystem.close();
    await stores.close();
  });
  const root = registry.host;
  const base = `${root}/${repository}`;
  const tree = walk(fileSystem);
  const content = () => registry.content.repositories.get(repository);
  return { registry, image, fileSystem, tree, base, root, content, open, ...verbs(fileSystem, tree) };
}

const blobPath = (digest: ReturnType<typeof digestOf>): string => `sha256/${digestHex(digest)}`;

test(
  'W1 a file written to @uploads is a blob of the repository when close returns',
  { timeout },
  async (t) => {
    const { cp, base, content, tree } = await setUp(t);
    const bytes = Buffer.alloc(300_000, 'blob');
    await cp(bytes, `${base}/@uploads/layer`);
    assert.ok(content()?.blobs.has(digestOf(bytes)));
    assert.equal(await tree.xattr(`${base}/@uploads/layer`, 'user.oci.digest'), digestOf(bytes));
    assert.deepEqual(await tree.list(`${base}/@uploads`), ['layer']);
    assert.ok((await tree.read(`${base}/@uploads/layer`)).equals(bytes));
  },
);

test('W2 a digest as the name must be that of the content', { timeout }, async (t) => {
  const { cp, base, content } = await setUp(t);
  const digest = digestOf(Buffer.from('right'));
  for (const path of [`${base}/@uploads/${digest}`, `${base}/@blobs/${blobPath(digest)}`]) {
    await assert.rejects(cp('wrong', path), { code: 'digest-mismatch' });
    assert.ok(!content()?.blobs.has(digest));
    await cp('right', path);
    assert.ok(content()?.blobs.has(digest));
    content()?.blobs.delete(digest);
  }
  await assert.rejects(cp('x', `${base}/@uploads/sha256:12`), { code: 'name-invalid' });
});

test('W3 a close that fails says so, the content stays, and rm gives it up', { timeout }, async (t) => {
  const { cp, rm, base, tree, registry, content } = await setUp(t);
  registry.fault({ match: { method: ['PUT', 'PATCH'] }, fault: { kind: 'status', status: 507 } });
  await assert.rejects(cp('kept', `${base}/@uploads/a`));
  assert.equal(await tree.xattr(`${base}/@uploads/a`, 'user.imgfs.upload.state'), 'failed');
  assert.match((await tree.xattr(`${base}/@uploads/a`, 'user.imgfs.error')) ?? '', /507/);
  assert.equal(await tree.text(`${base}/@uploads/a`), 'kept');
  registry.clearFaults();
  await rm(`${base}/@uploads/a`);
  assert.deepEqual(await tree.list(`${base}/@uploads`), []);
  assert.ok(!content()?.blobs.has(digestOf(Buffer.from('kept'))));
});

test('W4 before close, random writes, truncation and renaming work', { timeout }, async (t) => {
  const { openNew, fileSystem, tree, mv, base, content } = await setUp(t);
  const handle = await openNew(`${base}/@uploads/a`);
  const write = (text: string, at: number) => fileSystem.write(tree.caller, handle, Buffer.from(text), at);
  await write('world', 6);
  await write('hello ', 0);
  await write('!!!!', 11);
  await fileSystem.setattr(tree.caller, await tree.inode(`${base}/@uploads/a`), { size: 12 }, handle);
  await mv(`${base}/@uploads/a`, `${base}/@uploads/b`);
  await fileSystem.flush(tree.caller, handle);
  await fileSystem.release(handle);
  const digest = digestOf(Buffer.from('hello world!'));
  assert.ok(content()?.blobs.has(digest));
  assert.equal(await tree.xattr(`${base}/@uploads/b`, 'user.oci.digest'), digest);
});

test('W5 a close of a descriptor before anything was written means nothing', { timeout }, async (t) => {
  const { openNew, fileSystem, tree, base, registry, content } = await setUp(t);
  const handle = await openNew(`${base}/@uploads/a`);
  await fileSystem.flush(tree.caller, handle);
  assert.equal(registry.requestsTo({ method: 'POST' }).length, 0);
  await fileSystem.write(tree.caller, handle, Buffer.from('x'), 0);
  await fileSystem.flush(tree.caller, handle);
  await fileSystem.release(handle);
  assert.ok(content()?.blobs.has(digestOf(Buffer.from('x'))));
});

test('W6 a manifest in a directory made with mkdir makes the tag', { timeout }, async (t) => {
  const { cp, mkdir, base, tree, content, image } = await setUp(t);
  await mkdir(`${base}/v2`);
  assert.ok(!content()?.tags.has('v2'));
  await cp(await tree.read(`${base}/v1/manifest.json`), `${base}/v2/manifest.json`);
  assert.equal(content()?.tags.get('v2'), image.descriptor.digest);
  assert.equal(await tree.text(`${base}/v2/digest`), `${image.descriptor.digest}\n`);
});

test(
  'W7 an image copied file by file, in any order, is equal, and there is no tag before it is whole',
  { timeout },
  async (t) => {
    const { base, tree, image } = await setUp(t);
    const files = ['manifest.json', 'config.json', 'layers/0.tar.gz', 'layers/1.tar.gz'];
    for (const order of [files, files.toReversed()]) {
      const { cp, mkdir, root, registry, tree: copy } = await setUp(t, { empty: true });
      for (const path of ['other', 'other/v1', 'other/v1/layers']) await mkdir(`${root}/${path}`);
      for (const [done, file] of order.entries()) {
        const tags = registry.content.repositories.get('other')?.tags;
        assert.equal(tags?.get('v1'), undefined, `after ${done} files`);
        await cp(await tree.read(`${base}/v1/${file}`), `${root}/other/v1/${file}`);
      }
      assert.equal(registry.content.repositories.get('other')?.tags.get('v1'), image.descriptor.digest);
      assert.equal(await copy.text(`${root}/other/v1/digest`), `${image.descriptor.digest}\n`);
    }
  },
);

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

test('W25 a session takes its content in parts, and its digest commits it', { timeout }, async (t) => {
  const { cp, mkdir, rmdir, base, tree, content, fileSystem, registry } = await setUp(t);
  const session = `${base}/@uploads/s`;
  await mkdir(session);
  assert.deepEqual(await tree.list(session), ['data', 'uuid', 'started_at', 'offset', 'digest']);
  assert.ok([...registry.uploads.keys()].includes((await tree.text(`${session}/uuid`)).trim()));
  assert.match(await tree.text(`${session}/started_at`), /^\d{4}-\d\d-\d\dT/);
  for (const part of ['one ', 'two ', 'three']) {
    const { handle } = await fileSystem.open(
      tree.caller,
      await tree.inode(`${session}/data`),
      constants.O_WRONLY | constants.O_APPEND,
    );
    await fileSystem.write(tree.caller, handle, Buffer.from(part), 0);
    await fileSystem.flush(tree.caller, handle);
    await fileSystem.release(handle);
  }
  const bytes = Buffer.from('one two three');
  assert.ok(!content()?.blobs.has(digestOf(bytes)));
  await assert.rejects(cp(digestOf(Buffer.from('x')), `${session}/digest`), { code: 'digest-mismatch' });
  await assert.rejects(cp('sha256:no', `${session}/digest`), { code: 'invalid' });
  await cp(`${digestOf(bytes)}\n`, `${session}/digest`);
  assert.ok(content()?.blobs.has(digestOf(bytes)));
  assert.equal(await tree.text(`${session}/digest`), `${digestOf(bytes)}\n`);
  assert.equal(await tree.text(`${session}/offset`), `${bytes.length}\n`);
  await assert.rejects(cp(digestOf(bytes), `${session}/digest`), { code: 'immutable' });
  await rmdir(session);
  assert.ok(content()?.blobs.has(digestOf(bytes)));
  await mkdir(session);
  await rmdir(session);
  assert.equal(registry.uploads.size, 0);
});

test('W26 a session goes on after a restart', { timeout }, async (t) => {
  const { mkdir, base, root, tree, cp, fileSystem, open, content } = await setUp(t);
  await mkdir(`${base}/@uploads/s`);
  await cp('first ', `${base}/@uploads/s/data`);
  await fileSystem.close();
  const again = open();
  assert.ok(isWritable(again));
  t.after(() => again.close());
  const next = walk(again);
  const session = `${root}/${repository}/@uploads/s`;
  for (let tries = 0; tries < 200 && !(await next.list(`${base}/@uploads`)).includes('s'); tries += 1)
    await new Promise((wake) => setTimeout(wake, 20));
  assert.equal(await next.text(`${session}/data`), 'first ');
  const { handle } = await again.open(
    tree.caller,
    await next.inode(`${session}/data`),
    constants.O_WRONLY | constants.O_APPEND,
  );
  await again.write(tree.caller, handle, Buffer.from('second'), 6);
  await again.release(handle);
  const digest = digestOf(Buffer.from('first second'));
  await verbs(again, next).cp(digest, `${session}/digest`);
  assert.ok(content()?.blobs.has(digest));
});

test('W27 what is appended to an unfinished upload goes to its end', { timeout }, async (t) => {
  const { openNew, fileSystem, tree, base, content } = await setUp(t);
  const first = await openNew(`${base}/@uploads/log`);
  const inode = await tree.inode(`${base}/@uploads/log`);
  const second = (await fileSystem.open(tree.caller, inode, constants.O_WRONLY | constants.O_APPEND)).handle;
  await fileSystem.write(tree.caller, first, Buffer.from('aaa'), 0);
  await fileSystem.write(tree.caller, second, Buffer.from('bbb'), 0);
  await fileSystem.flush(tree.caller, first);
  for (const handle of [first, second]) await fileSystem.release(handle);
  assert.ok(content()?.blobs.has(digestOf(Buffer.from('aaabbb'))));
  await assert.rejects(
    async () =>
      fileSystem.open(
        tree.caller,
        await tree.inode(`${base}/@uploads/log`),
        constants.O_WRONLY | constants.O_APPEND,
      ),
    { code: 'immutable' },
  );
});

test(
  'W28 a committed upload that is emptied begins anew; other changes are EPERM',
  { timeout },
  async (t) => {
    const { cp, base, content, tree, fileSystem } = await setUp(t);
    const path = `${base}/@uploads/a`;
    for (const text of ['first', 'first', 'second']) {
      await cp(text, path);
      assert.equal(await tree.xattr(path, 'user.oci.digest'), digestOf(Buffer.from(text)));
      assert.equal(await tree.text(path), text);
    }
    assert.ok(content()?.blobs.has(digestOf(Buffer.from('first'))));
    const { handle } = await fileSystem.open(tree.caller, await tree.inode(path), constants.O_WRONLY);
    await assert.rejects(fileSystem.write(tree.caller, handle, Buffer.from('x'), 2), { code: 'immutable' });
    await fileSystem.flush(tree.caller, handle);
    await fileSystem.release(handle);
    assert.equal(await tree.text(path), 'second');
  },
);

test('W30 an archive written as image.tar becomes the tag', { timeout }, async (t) => {
  const { cp, mkdir, base, content, tree, fileSystem } = await setUp(t);
  const saved = await sampleImage({ seed: 3 });
  const archive = Buffer.from(await buildSaved([{ image: saved, tags: ['example.org/app:x'] }]));
  await mkdir(`${base}/v2`);
  await assert.rejects(cp('no archive', `${base}/v2/image.tar`), { code: 'invalid' });
  assert.ok(!content()?.tags.has('v2'));
  assert.deepEqual(await tree.list(`${base}/@uploads`), ['v2:image.tar']);
  await cp(archive, `${base}/v2/image.tar`);
  assert.ok(content()?.tags.has('v2'));
  assert.deepEqual(await tree.list(`${base}/@uploads`), []);
  const config = JSON.parse(await tree.text(`${base}/v2/config.json`));
  assert.deepEqual(
    config.rootfs.diff_ids,
    saved.layers.map(({ diffId }) => diffId),
  );
  const several = await buildSaved([
    { image: saved, tags: ['a:v3'] },
    { image: await sampleImage({ seed: 4 }), tags: ['b:v3'] },
  ]);
  await mkdir(`${base}/v3`);
  await assert.rejects(cp(several, `${base}/v3/image.tar`), { code: 'invalid' });
  assert.ok(!content()?.tags.has('v3'));
  assert.ok(isWritable(fileSystem));
});

test(
  'W31 an archive that could not be loaded is tried again, also after a restart',
  { timeout },
  async (t) => {
    const { cp, mkdir, base, content, registry, fileSystem, open } = await setUp(t);
    const archive = await buildSaved([{ image: await sampleImage({ seed: 3 }), tags: [] }]);
    await mkdir(`${base}/v2`);
    registry.fault({ match: { method: ['PUT', 'PATCH'] }, fault: { kind: 'status', status: 503 } });
    await assert.rejects(cp(archive, `${base}/v2/image.tar`), { code: 'unavailable' });
    await fileSystem.close();
    registry.clearFaults();
    const next = open();
    for (let tries = 0; tries < 200 && content()?.tags.has('v2') !== true; tries += 1)
      await new Promise((wake) => setTimeout(wake, 20));
    assert.ok(content()?.tags.has('v2'));
    await next.close();
  },
);

test('W9 what is no manifest, or an ambiguous one, is EINVAL and changes nothing', { timeout }, async (t) => {
  const { cp, mkdir, base, content } = await setUp(t);
  await mkdir(`${base}/v2`);
  for (const text of [
    '',
    '{',
    '[]',
    '{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}',
    '{"schemaVersion":2,"mediaType":"text/plain"}',
  ])
    if (text !== '') await assert.rejects(cp(text, `${base}/v2/manifest.json`), { code: 'invalid' });
  await assert.rejects(cp(Buffer.alloc(5 * 1024 * 1024), `${base}/v2/manifest.json`), { code: 'too-large' });
  assert.deepEqual([...(content()?.tags.keys() ?? [])], ['v1']);
});

test(
  'W10 a tag is replaced only with --allow-overwrite, and by a manifest of its kind',
  { timeout },
  async (t) => {
    for (const allowOverwrite of [false, true]) {
      const { cp, base, registry, tree, content } = await setUp(t, { rules: { allowOverwrite } });
      const next = await sampleImage({ seed: 2 });
      registry.addImage(repository, next, 'v2');
      const write = async () => cp(await tree.read(`${base}/v2/manifest.json`), `${base}/v1/manifest.json`);
      if (!allowOverwrite) {
        await assert.rejects(write(), { code: 'forbidden' });
        assert.notEqual(content()?.tags.get('v1'), next.descriptor.digest);
        continue;
      }
      await write();
      assert.equal(content()?.tags.get('v1'), next.descriptor.digest);
      assert.equal(await tree.text(`${base}/v1/digest`), `${next.descriptor.digest}\n`);
      registry.addImage(repository, await buildIndex([next]), 'multi');
      const index = await tree.read(`${base}/multi/index.json`);
      await assert.rejects(cp(index, `${base}/v1/manifest.json`), { code: 'invalid' });
    }
  },
);

test(
  'W11 writing what is there already is no change, other content under a digest is refused',
  { timeout },
  async (t) => {
    const { cp, base, tree, registry } = await setUp(t);
    const paths = ['manifest.json', 'config.json', 'layers/0.tar.gz'].map((file) => `${base}/v1/${file}`);
    for (const path of paths) await cp(await tree.read(path), path);
    assert.equal(registry.requestsTo({ method: 'PUT' }).length, 0);
    await assert.rejects(cp('other', `${base}/v1/config.json`), { code: 'digest-mismatch' });
  },
);

test('W12 a symbolic link makes a tag, and so does renaming one', { timeout }, async (t) => {
  const { symlink, mv, base, content, image, tree } = await setUp(t, { rules: { allowDelete: true } });
  const { digest } = image.descriptor;
  await symlink(`../@digests/${blobPath(digest)}`, `${base}/@tags/v2`);
  await symlink('v1', `${base}/v3`);
  await mv(`${base}/v3`, `${base}/v4`);
  assert.deepEqual(
    new Map(content()?.tags),
    new Map([
      ['v1', digest],
      ['v2', digest],
      ['v4', digest],
    ]),
  );
  assert.equal(await tree.text(`${base}/v2/digest`), `${digest}\n`);
  await assert.rejects(symlink('nothing', `${base}/v5`), { code: 'invalid' });
  await assert.rejects(symlink('/v1', `${base}/v5`), { code: 'invalid' });
});

test('W13 deleting needs --allow-delete', { timeout }, async (t) => {
  const { rmdir, rm, mv, base, content, image } = await setUp(t);
  const { digest } = image.descriptor;
  const config = image.blobs[0]?.descriptor.digest ?? digest;
  await assert.rejects(rmdir(`${base}/v1`), { code: 'forbidden' });
  await assert.rejects(rm(`${base}/v1/manifest.json`), { code: 'forbidden' });
  await assert.rejects(rmdir(`${base}/@digests/${blobPath(digest)}`), { code: 'forbidden' });
  await assert.rejects(rm(`${base}/@blobs/${blobPath(config)}`), { code: 'forbidden' });
  await assert.rejects(mv(`${base}/v1`, `${base}/v2`), { code: 'forbidden' });
  assert.deepEqual([...(content()?.tags.keys() ?? [])], ['v1']);
});

test(
  'W14 rmdir of a tag deletes the tag, of a digest the manifest, rm of a blob the blob',
  { timeout },
  async (t) => {
    const { rmdir, rm, symlink, base, content, image, tree } = await setUp(t, {
      rules: { allowDelete: true },
    });
    const { digest } = image.descriptor;
    const config = image.blobs[0]?.descriptor.digest ?? digest;
    await symlink('v1', `${base}/v2`);
    await symlink('v1', `${base}/v3`);
    await rmdir(`${base}/v2`);
    await rm(`${base}/v3/manifest.json`);
    assert.deepEqual([...(content()?.tags.keys() ?? [])], ['v1']);
    await assert.rejects(tree.inode(`${base}/v2`), { code: 'not-found' });
    await rmdir(`${base}/@digests/${blobPath(digest)}`);
    assert.equal(content()?.manifests.size, 0);
    await assert.rejects(tree.inode(`${base}/v1`), { code: 'not-found' });
    await rm(`${base}/@blobs/${blobPath(config)}`);
    assert.ok(!content()?.blobs.has(config));
  },
);

test(
  'W15 a registry that cannot delete tags says so, unless the fallback is allowed',
  { timeout },
  async (t) => {
    for (const tagDeleteFallback of [false, true]) {
      const { rmdir, base, content } = await setUp(t, {
        rules: { allowDelete: true, tagDeleteFallback },
        registry: { dialect: 'docker-2.8' },
      });
      if (tagDeleteFallback) await rmdir(`${base}/v1`);
      else await assert.rejects(rmdir(`${base}/v1`), { code: 'unsupported' });
      assert.equal(content()?.tags.has('v1'), !tagDeleteFallback);
    }
  },
);

test(
  'W29 renaming a tag where tags cannot be deleted is refused before anything is changed',
  { timeout },
  async (t) => {
    for (const [registry, tagDeleteFallback] of [
      [{ dialect: 'docker-2.8' }, false],
      [{ dialect: 'docker-2.8', deletes: false }, true],
      [{ dialect: 'docker-2.8' }, true],
    ] as const) {
      const { mv, base, content, image } = await setUp(t, {
        rules: { allowDelete: true, tagDeleteFallback },
        registry,
      });
      const works = tagDeleteFallback && !('deletes' in registry);
      if (works) await mv(`${base}/v1`, `${base}/v2`);
      else await assert.rejects(mv(`${base}/v1`, `${base}/v2`), { code: 'unsupported' });
      assert.deepEqual([...(content()?.tags ?? [])], [[works ? 'v2' : 'v1', image.descriptor.digest]]);
    }
  },
);

test('W16 ln and copy_file_range of a blob to another repository move no byte', { timeout }, async (t) => {
  const { link, openNew, fileSystem, mkdir, base, root, tree, registry, image } = await setUp(t);
  const layer = image.blobs.at(-1)?.descriptor;
  assert.ok(layer);
  const layerFile = `${base}/v1/layers/1.tar.gz`;
  await mkdir(`${root}/b`);
  await link(layerFile, `${root}/b/@blobs/${blobPath(layer.digest)}`);
  assert.ok(registry.content.repositories.get('b')?.blobs.has(layer.digest));
  await mkdir(`${root}/c`);
  const from = (await fileSystem.open(tree.caller, await tree.inode(layerFile), constants.O_RDONLY)).handle;
  const to = await openNew(`${root}/c/@uploads/layer`);
  assert.equal(await fileSystem.copyFileRange(tree.caller, from, 0, to, 0, 1 << 30), layer.size);
  await fileSystem.flush(tree.caller, to);
  await fileSystem.release(to);
  await fileSystem.release(from);
  assert.ok(registry.content.repositories.get('c')?.blobs.has(layer.digest));
  assert.equal(await tree.xattr(`${root}/c/@uploads/layer`, 'user.imgfs.upload.how'), 'mounted');
  assert.equal(
    registry.requestsTo({ method: 'PUT' }).length + registry.requestsTo({ method: 'PATCH' }).length,
    0,
  );
});

test('W17 everywhere else a change is EPERM', { timeout }, async (t) => {
  const { cp, mkdir, rm, base, root, tree, fileSystem } = await setUp(t);
  for (const path of [
    `${base}/file`,
    `${base}/v1/notes.txt`,
    `${base}/v1/layers/9.tar`,
    `${root}/file.txt`,
    `${base}/@tags/file`,
  ])
    await assert.rejects(
      cp('x', path),
      (error: { code?: string }) => ['immutable', 'forbidden'].includes(error.code ?? ''),
      path,
    );
  await assert.rejects(mkdir(`${base}/v1/dir`), { code: 'immutable' });
  await assert.rejects(rm(`${base}/v1/config.json`), { code: 'immutable' });
  await assert.rejects(
    fileSystem.setattr(tree.caller, await tree.inode(`${base}/v1/digest`), { size: 0 }, undefined),
    { code: 'immutable' },
  );
});

test('W18 without writing rules nothing takes writes, and @uploads is not there', { timeout }, async (t) => {
  const { base, open } = await setUp(t);
  assert.ok(open);
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  const store = openTestStore(registry);
  t.after(() => store.close());
  registry.addImage(repository, await sampleImage(), 'v1');
  const readOnly = createFileSystem({
    stores: createStoreDirectory({ openRegistry: async () => store }),
    content: createMemoryContent(),
  });
  assert.ok(!isWritable(readOnly));
  const tree = walk(readOnly);
  await assert.rejects(tree.inode(`${registry.host}/${repository}/@uploads`), { code: 'not-found' });
  assert.ok(base);
});

test('W19 an upload that another process left whole is finished after a restart', { timeout }, async (t) => {
  const { cp, base, registry, fileSystem, open, content } = await setUp(t);
  registry.fault({ match: { method: ['PUT', 'PATCH'] }, fault: { kind: 'status', status: 503 } });
  await assert.rejects(cp('late', `${base}/@uploads/a`), { code: 'unavailable' });
  await fileSystem.close();
  registry.clearFaults();
  const next = open();
  const digest = digestOf(Buffer.from('late'));
  for (let tries = 0; tries < 200 && content()?.blobs.has(digest) !== true; tries += 1)
    await new Promise((wake) => setTimeout(wake, 20));
  assert.ok(content()?.blobs.has(digest));
  await next.close();
});
