/** docs/SEMANTICS.md, "Writing": what is written to `@uploads/` in parts, and again (W25 to W29). */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { test } from 'node:test';
import { digestOf } from '../../../src/oci/digest.js';
import { isWritable } from '../../../src/vfs/file-system.js';
import { verbs } from '../../support/file-system-verbs.js';
import { walk } from '../../support/file-system-walker.js';
import { repository, setUp, timeout } from '../../support/writing-ground.js';

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
