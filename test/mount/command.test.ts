/** `imgfs mount` as a user sees it: a daemon, real tools on the tree, an outage, the end. Over each driver. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { run, skipWithout } from '../support/child.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildIndex, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** What a tool needs at most before the mount counts as hung. */
const toolTimeoutMs = 30_000;

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip = skipWithoutMount(driver) || skipWithout('getfattr', 'fusermount3');
  describe(`imgfs mount --driver ${driver}`, { skip, timeout: 240_000 }, () => {
    let registry: FaultRegistry;
    let directory: string;
    let mountPoint: string;
    let imgfs: ImgfsCommand;
    let image: BuiltSingleImage;
    let app: string;

    const mount = (...more: string[]) =>
      imgfs([
        'mount', mountPoint, '--driver', driver, '--store', `local=oci:${join(directory, 'layout')}`, '--timeout', '5s',
        '--retry-times', '1', ...more,
      ]); // prettier-ignore

    before(async () => {
      registry = await startFaultRegistry();
      directory = await makeTempDir('mount');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      imgfs = imgfsIn(directory);
      image = await sampleImage();
      registry.addImage('group/app', image, 'v1');
      registry.addImage('group/app', image, 'never-read');
      registry.addImage('group/multi', await buildIndex([image]), 'v1');
      await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
      app = join(mountPoint, registry.host, 'group', 'app');
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });

    test('the parent returns when the tree can be used, and says which driver serves it', async () => {
      const { code, stdout, stderr } = await mount();
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`mounted at .*mnt \\(pid \\d+, ${driver} driver\\)`));
      const status = JSON.parse(await readFile(join(mountPoint, '.imgfs', 'status.json'), 'utf8'));
      assert.equal(status.driver, driver);
    });

    test('mounting again is refused with exit code 7 and the next step', async () => {
      const { code, stderr } = await mount();
      assert.equal(code, 7);
      assert.match(stderr, /already/);
      assert.match(stderr, /next step: .*umount/);
    });

    test('manifest, config and layers have the bytes their digests say', async () => {
      const manifest = await readFile(join(app, 'v1', 'manifest.json'));
      assert.equal(sha256(manifest), image.descriptor.digest);
      const parsed = JSON.parse(manifest.toString());
      assert.equal(sha256(await readFile(join(app, 'v1', 'config.json'))), parsed.config.digest);
      for (const [index, layer] of parsed.layers.entries()) {
        assert.equal(sha256(await readFile(join(app, 'v1', 'layers', `${index}.tar.gz`))), layer.digest);
      }
    });

    test('getfattr shows digest, media type, size, cached and verified', async () => {
      const { stdout } = await run('getfattr', [
        '-d',
        '--absolute-names',
        join(app, 'v1', 'layers', '0.tar.gz'),
      ]);
      for (const name of [
        'user.oci.digest',
        'user.oci.mediatype',
        'user.oci.size',
        'user.imgfs.cached',
        'user.imgfs.verified',
      ]) {
        assert.match(stdout, new RegExp(`${name}="`));
      }
    });

    test('find, tar and cp -r work on an image directory, and the copy is equal', async () => {
      const copy = join(directory, 'copy');
      // Reading a layer for the first time adds its decompressed file, whose size is known from then on.
      await run('cp', ['-r', join(app, 'v1'), join(directory, 'first')], { timeoutMs: toolTimeoutMs });
      const cp = await run('cp', ['-r', join(app, 'v1'), copy], { timeoutMs: toolTimeoutMs });
      assert.equal(cp.code, 0, cp.stderr);
      const diff = await run('diff', ['-r', join(app, 'v1'), copy], { timeoutMs: toolTimeoutMs });
      assert.equal(diff.stdout + diff.stderr, '');
      const tar = await run(
        'bash',
        ['-c', 'tar c -C "$1" . | tar t | sed "s,/$,," | sort', '-', join(app, 'v1')],
        {
          timeoutMs: toolTimeoutMs,
        },
      );
      const find = await run('bash', ['-c', 'cd "$1" && find . | sort', '-', join(app, 'v1')]);
      assert.equal(tar.stdout, find.stdout);
    });

    test('the local store shows the same image', async () => {
      const diff = await run('cmp', [
        join(app, 'v1', 'manifest.json'),
        join(mountPoint, 'local', 'v1', 'manifest.json'),
      ]);
      assert.equal(diff.code, 0, diff.stderr);
    });

    test('a pasted reference is a path', async () => {
      for (const name of ['app:v1', `app@${image.descriptor.digest}`]) {
        const path = join(mountPoint, registry.host, 'group', name, 'digest');
        assert.equal(await readFile(path, 'utf8'), `${image.descriptor.digest}\n`);
      }
    });

    test('what does not exist is ENOENT, writing what is no manifest is refused', async () => {
      await assert.rejects(readFile(join(app, 'v9', 'manifest.json')), { code: 'ENOENT' });
      await assert.rejects(readdir(join(mountPoint, 'no-host-name')), { code: 'ENOENT' });
      const error = await writeFile(join(app, 'v1', 'manifest.json'), '{}').catch(
        (thrown: NodeJS.ErrnoException) => thrown,
      );
      assert.ok(
        error instanceof Error && ['EROFS', 'EPERM', 'EACCES', 'EINVAL'].includes(error.code ?? ''),
        String(error),
      );
    });

    test('status and doctor know the mount', async () => {
      const [report] = JSON.parse((await imgfs(['status', mountPoint, '--json'])).stdout);
      assert.equal(report.state, 'serving');
      assert.equal(report.driver, driver);
    });

    test('with the registry gone, cached parts are read and others fail in time with their cause', async () => {
      await registry.suspend();
      const cached = await run('sha256sum', [join(app, 'v1', 'layers', '0.tar.gz')], {
        timeoutMs: toolTimeoutMs,
      });
      assert.equal(cached.code, 0, cached.stderr);
      const uncached = join(app, 'never-seen', 'manifest.json');
      const startedAt = Date.now();
      const failed = await run('cat', [uncached], { timeoutMs: toolTimeoutMs });
      assert.match(failed.stderr, /Input\/output error|Connection timed out/);
      assert.ok(Date.now() - startedAt < 15_000, 'later than the deadline');
      const errors = await readFile(join(mountPoint, '.imgfs', 'errors.ndjson'), 'utf8');
      assert.match(errors, /unavailable|timeout/);
      await registry.resume();
    });

    test('umount ends the daemon and leaves an empty directory', async () => {
      const [report] = JSON.parse((await imgfs(['status', mountPoint, '--json'])).stdout);
      const { code, stderr } = await imgfs(['umount', mountPoint]);
      assert.equal(code, 0, stderr);
      assert.deepEqual(await readdir(mountPoint), []);
      assert.throws(() => process.kill(report.pid, 0), { code: 'ESRCH' });
    });

    test('the daemon killed with SIGKILL leaves nothing that hinders the next mount', async () => {
      assert.equal((await mount()).code, 0);
      const [report] = JSON.parse((await imgfs(['status', mountPoint, '--json'])).stdout);
      process.kill(report.pid, 'SIGKILL');
      const again = await mount();
      assert.equal(again.code, 0, again.stderr);
      assert.equal(await readFile(join(app, 'v1', 'digest'), 'utf8'), `${image.descriptor.digest}\n`);
      assert.equal((await imgfs(['umount', mountPoint])).code, 0);
    });

    test('SIGTERM unmounts', async () => {
      assert.equal((await mount()).code, 0);
      const [report] = JSON.parse((await imgfs(['status', mountPoint, '--json'])).stdout);
      process.kill(report.pid, 'SIGTERM');
      for (let tries = 0; tries < 100 && (await findMount(mountPoint)) !== undefined; tries += 1) {
        await new Promise((wake) => {
          setTimeout(wake, 100);
        });
      }
      assert.equal(await findMount(mountPoint), undefined);
    });
  });
}

describe('imgfs mount refuses', { timeout: 60_000 }, () => {
  let directory: string;
  let imgfs: ImgfsCommand;

  before(async () => {
    directory = await makeTempDir('refuse');
    imgfs = imgfsIn(directory);
  });

  after(() => removeTempDir(directory));

  test('a mount point that is missing, a file, or not empty', async () => {
    await writeFile(join(directory, 'file'), '');
    for (const [path, words] of [
      [join(directory, 'missing'), /no such directory/],
      [join(directory, 'file'), /not a directory/],
      [directory, /not empty/],
    ] as const) {
      const { code, stderr } = await imgfs(['mount', path]);
      assert.equal(code, 7, stderr);
      assert.match(stderr, words);
      assert.match(stderr, /next step/);
    }
  });

  test('a store that is no layout, with the reason when it is used, and a name without a transport', async () => {
    const { code, stderr } = await imgfs(['mount', directory, '--store', 'x=layout']);
    assert.equal(code, 2);
    assert.match(stderr, /transport/);
    const creds = await imgfs(['mount', directory, '--creds', 'alice:secret']);
    assert.equal(creds.code, 2);
    assert.doesNotMatch(creds.stderr, /secret/);
    const listing = await imgfs(['ls', `oci:${directory}`]);
    assert.notEqual(listing.code, 0);
    assert.match(listing.stderr, /oci-layout/);
  });
});
