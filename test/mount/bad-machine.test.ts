/** Mounting where something is missing, and where the ground goes away under a mount. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, rmdirSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { reportDrivers } from '../../src/fuse/choose-driver.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { mountSample, skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const timeout = 60_000;
const needsRoot = process.getuid?.() === 0 ? skipWithout('unshare', 'setpriv', 'mount') : 'needs root';

/** What a process under `wrap` says of the drivers. */
async function driversUnder(
  wrap: readonly string[],
): Promise<Record<string, { usable: boolean; reason: string }>> {
  const module = new URL('../../src/fuse/choose-driver.js', import.meta.url).href;
  const program = `
    import { reportDrivers } from ${JSON.stringify(module)};
    console.log(JSON.stringify(await reportDrivers()));`;
  const words = [...wrap, process.execPath, '--input-type=module', '-e', program];
  const { stdout } = await mustRun(words[0] ?? '', words.slice(1));
  const reports = JSON.parse(stdout) as Awaited<ReturnType<typeof reportDrivers>>;
  return Object.fromEntries(reports.map(({ name, ...report }) => [name, report]));
}

describe('a machine that lacks something', { timeout }, () => {
  const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

  test('no right to open /dev/fuse', { skip: needsRoot || skipWithoutMount('native') }, async () => {
    const script =
      'mount -t tmpfs none /mnt; mknod -m 600 /mnt/f c 10 229; mount --bind /mnt/f /dev/fuse; exec "$@"';
    const { native } = await driversUnder(['unshare', '-m', 'sh', '-ec', script, 'sh', ...asNobody]);
    assert.equal(native?.usable, false);
    assert.match(native?.reason ?? '', /may not open \/dev\/fuse: chmod/);
  });

  test('no fusermount3', { skip: needsRoot || skipWithoutMount('native') }, async () => {
    const script = `
      mount -t tmpfs none /mnt; mknod -m 666 /mnt/f c 10 229; mount --bind /mnt/f /dev/fuse
      for helper in /usr/bin/fusermount3 /bin/fusermount3 /usr/local/bin/fusermount3; do
        [ ! -e $helper ] || mount --bind /dev/null $helper
      done
      exec env PATH=/usr/bin:/bin "$@"`;
    const { native } = await driversUnder(['unshare', '-m', 'sh', '-ec', script, 'sh', ...asNobody]);
    assert.equal(native?.usable, false);
    assert.match(native?.reason ?? '', /fusermount3 is missing: install the fuse3 package/);
  });

  test(
    'no addon: the fallback mounts, and says why it does',
    { skip: skipWithoutMount('fuse-native') },
    async (t) => {
      const { imgfs, mountPoint } = await imageMount(t, [], { IMGFS_ADDON: 'none' });
      const status = JSON.parse(await readFile(join(mountPoint, '.imgfs/status.json'), 'utf8'));
      assert.equal(status.driver, 'fuse-native');
      assert.match(status.driverReason, /native: the addon is switched off/);
      assert.equal((await imgfs(['umount', mountPoint])).code, 0);
    },
  );
});

/** An image in a layout, mounted by the command. */
async function imageMount(
  t: TestContext,
  words: readonly string[],
  environment: Record<string, string> = {},
) {
  const directory = await makeTempDir('bad-machine');
  const mountPoint = join(directory, 'mnt');
  t.after(async () => {
    if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
    await removeTempDir(directory);
  });
  mkdirSync(mountPoint);
  const image = await sampleImage({ payloadBytes: 8_000_000 });
  await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
  const imgfs = imgfsIn(directory);
  const store = ['--store', `local=oci:${join(directory, 'layout')}`];
  const mounted = await imgfs(['mount', mountPoint, ...store, ...words], { env: environment });
  assert.equal(mounted.code, 0, mounted.stderr);
  return { imgfs, mountPoint, image, directory };
}

describe('a full cache disk', { timeout, skip: needsRoot || skipWithoutMount('native') }, () => {
  test('does not keep an image from being read', async (t) => {
    const disk = await makeTempDir('full-disk');
    t.after(async () => {
      await run('umount', ['-l', disk]);
      await removeTempDir(disk);
    });
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', disk]);
    const { imgfs, mountPoint, image } = await imageMount(t, ['--cache-dir', join(disk, 'cache')]);
    const folder = join(mountPoint, 'local/v1');
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
    assert.equal(manifest.layers.length > 0, true);
    for (const [index, layer] of manifest.layers.entries()) {
      const bytes = await readFile(join(folder, `layers/${index}.tar.gz`));
      assert.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, layer.digest);
    }
    assert.ok(
      image.blobs.some((blob) => blob.bytes.length > 3 * 2 ** 20),
      'the image is larger than the disk',
    );
    assert.equal((await imgfs(['umount', mountPoint])).code, 0);
  });
});

describe('the ground under a mount', { timeout, skip: needsRoot || skipWithoutMount('native') }, () => {
  test('a mount inside another mount works, and ends with it', async (t) => {
    const outer = await makeTempDir('outer');
    t.after(async () => {
      await run('umount', ['-l', outer]);
      await removeTempDir(outer);
    });
    await mustRun('mount', ['-t', 'tmpfs', 'none', outer]);
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = outer;
    const mounted = await mountSample('native').finally(() => {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    });
    t.after(() => mounted.dispose());
    assert.ok(mounted.path.startsWith(outer));
    assert.equal(await readFile(join(mounted.path, 'hello'), 'utf8'), 'hello world\n');
    await mustRun('umount', ['-l', outer]);
    await Promise.race([mounted.closed, sleep(10_000).then(() => assert.fail('the session goes on'))]);
  });

  test('a mount point that is removed, by somebody who does not see the mount', async (t) => {
    const mounted = await mountSample('native', {}, ['unshare', '-m']);
    t.after(() => mounted.dispose());
    const { pid } = mounted.child;
    assert.match(await readFile(`/proc/${pid}/mounts`, 'utf8'), new RegExp(`${mounted.path} fuse\\.imgfs`));
    assert.deepEqual(await readdir(mounted.path), []);
    rmdirSync(mounted.path);
    await Promise.race([mounted.closed, sleep(10_000).then(() => assert.fail('the session goes on'))]);
    // The process lives and answers; it has nothing to serve any more.
    assert.equal((await mounted.statistics())['pending'], 0);
  });

  test('a directory inside an imgfs mount is no mount point', async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
    const { environment } = imgfsIn(mounted.scratch);
    const { code, stderr } = await run(process.execPath, [main, 'mount', join(mounted.path, 'work')], {
      env: environment,
    });
    assert.equal(code, 7, stderr);
    assert.match(stderr, /next step/);
  });
});
