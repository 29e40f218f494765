/** docs/SEMANTICS.md, "Writing": each number a test. Over the fault registry and a real spool. */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { test } from 'node:test';
import { digestOf } from '../../../src/oci/digest.js';
import { createStoreDirectory } from '../../../src/image/stores.js';
import { createFileSystem } from '../../../src/vfs/create-file-system.js';
import { isWritable } from '../../../src/vfs/file-system.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { walk } from '../../support/file-system-walker.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';
import { openTestStore } from '../../support/registry-client.js';
import { blobPath, repository, setUp, timeout } from '../../support/writing-ground.js';

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
  registry.fault({ match: { method: ['POST', 'PUT', 'PATCH'] }, fault: { kind: 'status', status: 507 } });
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
  registry.fault({ match: { method: ['POST', 'PUT', 'PATCH'] }, fault: { kind: 'status', status: 503 } });
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
