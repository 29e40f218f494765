/** What every driver must do with a file system that takes changes. */
import assert from 'node:assert/strict';
import {
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rmdir,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../support/child.js';
import { bigBytes, pattern } from '../support/sample-tree.js';
import { mountSample, skipWithoutMount, type DriverName, type Mounted } from '../support/mounted.js';

const timeout = 30_000;

export function writingSuite(driver: DriverName): void {
  describe(`${driver}: writing`, { skip: skipWithoutMount(driver) }, () => {
    let mounted: Mounted;
    const at = (...names: string[]): string => join(mounted.path, 'work', ...names);
    before(async () => {
      mounted = await mountSample(driver, { readOnly: false });
    });
    after(async () => {
      await mounted.dispose();
    });

    test('a new file is read back, whole and after growing', { timeout }, async () => {
      const content = pattern(0, 3_000_000);
      await writeFile(at('new'), content);
      assert.equal((await stat(at('new'))).size, content.length);
      assert.ok((await readFile(at('new'))).equals(content));
      const file = await open(at('new'), 'r+');
      await file.write(Buffer.from('XYZ'), 0, 3, 1_000_000);
      await file.sync();
      await file.close();
      const changed = await readFile(at('new'));
      assert.equal(
        changed.subarray(999_999, 1_000_004).toString('hex').slice(2, 8),
        Buffer.from('XYZ').toString('hex'),
      );
      const { calls } = await mounted.counts();
      assert.ok((calls['flush'] ?? 0) >= 2 && (calls['fsync'] ?? 0) >= 1);
    });

    test('O_TRUNC and truncate', { timeout }, async () => {
      await writeFile(at('cut'), 'a long text');
      await writeFile(at('cut'), 'short');
      assert.equal(await readFile(at('cut'), 'utf8'), 'short');
      await truncate(at('cut'), 2);
      assert.equal(await readFile(at('cut'), 'utf8'), 'sh');
    });

    test('directories come and go, and only when they are empty', { timeout }, async () => {
      await mkdir(at('folder'));
      await writeFile(at('folder', 'x'), 'x');
      await assert.rejects(mkdir(at('folder')), { code: 'EEXIST' });
      await assert.rejects(rmdir(at('folder')), { code: 'ENOTEMPTY' });
      assert.deepEqual(await readdir(at('folder')), ['x']);
      await unlink(at('folder', 'x'));
      assert.deepEqual(await readdir(at('folder')), []);
      await rmdir(at('folder'));
      await assert.rejects(stat(at('folder')), { code: 'ENOENT' });
    });

    test('renaming, linking and links', { timeout }, async () => {
      await writeFile(at('one'), 'content');
      await mkdir(at('other'));
      await rename(at('one'), at('other', 'two'));
      await assert.rejects(stat(at('one')), { code: 'ENOENT' });
      assert.equal(await readFile(at('other', 'two'), 'utf8'), 'content');
      const target = 'a/target/'.repeat(100);
      await symlink(target, at('sym'));
      assert.equal(await readlink(at('sym')), target);
      await link(at('other', 'two'), at('hard'));
      assert.equal(await readFile(at('hard'), 'utf8'), 'content');
    });

    test('what may not change says so', { timeout }, async () => {
      await assert.rejects(writeFile(join(mounted.path, 'fixed', 'new'), 'x'), { code: 'EPERM' });
      await assert.rejects(unlink(join(mounted.path, 'fixed', 'f1')), { code: 'EPERM' });
      const { stderr } = await run('setfattr', ['-n', 'user.mine', '-v', 'x', join(mounted.path, 'hello')]);
      assert.match(stderr, /not permitted/);
    });

    test('a failed commit is the error of close', { timeout }, async () => {
      const file = await open(at('refused'), 'w');
      await file.write(Buffer.from('x'));
      await mounted.command('fail-flush');
      await assert.rejects(file.close(), { code: 'EINVAL' });
    });

    test(
      'a copy of a file, by the file system itself where the kernel asks for it',
      { timeout },
      async () => {
        await copyFile(join(mounted.path, 'big'), at('copied'));
        assert.ok((await readFile(at('copied'))).equals(pattern(0, bigBytes)));
        const { code, stderr } = await run('cp', [join(mounted.path, 'big'), at('by-cp')]);
        assert.equal(code, 0, stderr);
        assert.ok((await readFile(at('by-cp'))).equals(pattern(0, bigBytes)));
        if (driver === 'native') {
          const { calls } = await mounted.counts();
          assert.ok((calls['copyFileRange'] ?? 0) > 0);
        }
      },
    );

    test('handles come back when files are closed', { timeout }, async () => {
      const until = Date.now() + 5_000;
      while ((await mounted.counts()).openFiles > 0) {
        assert.ok(Date.now() < until, 'files are still open');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    });
  });
}
