/**
 * Real images through a mount, by hand: `IMGFS_TEST_LAYOUTS` names them (umoci.test.ts says how). A walk and a grep with
 * the daemon's memory watched, tar through it all, and programs of the image run from where it is mounted.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { layoutsToCompare } from '../support/layout-tree.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const timeoutMs = 600_000;
/** Resident memory while the large image is walked and grepped. */
const maxResidentMebibytes = 200;

const layouts = layoutsToCompare();
const skip =
  layouts.length === 0
    ? 'names no image in IMGFS_TEST_LAYOUTS'
    : skipWithoutMount('native') || skipWithout('tar', 'find', 'grep', 'rg', 'git');

for (const { ours } of layouts) {
  describe(`${ours.layout}:${ours.tag}, mounted`, { skip, timeout: 3_600_000 }, () => {
    let directory = '';
    let mountPoint = '';
    let rootfs = '';
    let pid = 0;
    const shell = async (script: string, ...words: string[]): Promise<string> =>
      (await mustRun('sh', ['-c', script, rootfs, ...words], { timeoutMs })).stdout.trim();
    const memory = async (field: string): Promise<number> => {
      const text = await readFile(`/proc/${pid}/status`, 'utf8');
      return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(text)?.[1] ?? Number.NaN) / 1024;
    };

    before(async () => {
      directory = await makeTempDir('mounted-image');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      const words = ['mount', mountPoint, '--store', `image=oci:${ours.layout}`, '--timeout', '300s'];
      const { code, stderr } = await imgfsIn(directory)(words);
      assert.equal(code, 0, stderr);
      rootfs = join(mountPoint, 'image', ours.tag, 'rootfs');
      const status = JSON.parse(await readFile(join(mountPoint, '.imgfs/status.json'), 'utf8')) as {
        pid: number;
      };
      ({ pid } = status);
    });

    after(async () => {
      await unmountPath(mountPoint, { lazy: true }).catch(() => undefined);
      await removeTempDir(directory);
    });

    test('find sees every entry, and grep -r reads every file, in bounded memory', async (t) => {
      const entries = Number(await shell('cd "$0" && find . | tr -cd "\\n" | wc -c'));
      const walked = await memory('VmHWM');
      // grep says 1 where nothing is found, 2 for a file that it cannot read: fifos and devices are passed over.
      await shell('cd "$0" && grep -r -D skip -c "no such text $$" . >/dev/null; [ $? -eq 1 ]');
      const grepped = await memory('VmHWM');
      t.diagnostic(
        `${entries} entries; peak ${walked.toFixed(0)} MiB walking, ${grepped.toFixed(0)} MiB grepping`,
      );
      assert.ok(entries > 1000);
      assert.ok(grepped < maxResidentMebibytes, `${grepped} MiB`);
    });

    test('tar c rootfs | tar t names every entry once', async () => {
      const sorted = '| LC_ALL=C sort';
      const found = await shell(`cd "$0" && find . -printf '%P\\n' | grep -v '^$' ${sorted} | sha256sum`);
      const tarred = await shell(
        `cd "$0" && tar c --sort=none . | tar t --quoting-style=literal | sed -e 's,^[.]/,,' -e 's,/$,,' | grep -v '^$' ${sorted} | sha256sum`,
      );
      assert.equal(tarred, found);
    });

    test('tar of it compares as equal with what is mounted', async () => {
      await shell('cd "$0" && tar c --exclude=./opt/odd/dev . | tar d');
    });

    test('programs of the image run in it: python3, perl', async (t) => {
      if (process.getuid?.() !== 0) return t.skip('needs root: chroot');
      const has = async (path: string): Promise<boolean> =>
        (await run('test', ['-x', join(rootfs, path)])).code === 0;
      const program =
        'import json, sqlite3, ssl, asyncio, email.message; print(sum(json.loads("[1, 2, 3]")))';
      const runs = [
        ['/usr/bin/python3', ['-B', '-c', program], '6'],
        // Not -e: perl reads that from /dev/null, and devices of an image are inert.
        ['/usr/bin/perl', ['/usr/bin/json_pp', '-json_opt', 'canonical'], '{"a":[2]}'],
      ] as const;
      let ran = 0;
      for (const [path, words, output] of runs) {
        if (!(await has(path))) continue;
        const { stdout } = await mustRun('chroot', [rootfs, path, ...words], {
          timeoutMs,
          input: '{ "a": [2] }',
        });
        assert.equal(stdout.trim(), output, path);
        ran += 1;
      }
      t.diagnostic(`${ran} programs ran`);
    });

    test('git of the image, by its own loader and libraries, compares files of the image', async (t) => {
      const loaders = await run('sh', ['-c', 'ls "$0"/usr/lib/*-linux-gnu/ld-linux-*.so.*', rootfs]);
      const [loader = ''] = loaders.stdout.split('\n');
      const git = join(rootfs, 'usr/bin/git');
      if (loaders.code !== 0 || (await run('test', ['-x', git])).code !== 0) return t.skip('has no git');
      // Not by chroot: git opens /dev/null, and devices of an image are inert.
      const words = ['--library-path', dirname(loader), git, '--no-pager', 'diff', '--no-index', '--stat'];
      const { code, stdout, stderr } = await run(loader, [
        ...words,
        join(rootfs, 'etc/passwd'),
        join(rootfs, 'etc/group'),
      ]);
      assert.equal(code, 1, stderr);
      assert.match(stdout, /1 file changed/);
    });

    test('rg finds what grep finds', async () => {
      const count = async (command: string): Promise<string> =>
        shell(`cd "$0/etc" && ${command} | LC_ALL=C sort`);
      const found = await count('rg -l --no-ignore --hidden -a -F root .');
      assert.equal(found, await count('grep -r -l -a -D skip -F root .'));
      assert.ok(found.split('\n').length > 3);
    });
  });
}

// Without a name a run of this file would have run no test.
test('images to look into are named by hand', { skip: layouts.length === 0 && 'IMGFS_TEST_LAYOUTS' }, () => {
  assert.ok(layouts.length > 0);
});
