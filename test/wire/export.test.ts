/**
 * What `imgfs export` writes, as other tools read it: skopeo, umoci, GNU tar, podman. `IMGFS_TEST_LAYOUTS` names real
 * images to try besides (`/path:tag`, separated by spaces).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mustRun, run, skipWithout } from '../support/child.js';
import { buildIndex, sampleImage, type BuiltImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skopeoCopy, skopeoInspect } from '../support/skopeo.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const isRoot = process.getuid?.() === 0;
const hasPodman = spawnSync('podman', ['--version']).status === 0;

describe('exported archives', { timeout: 600_000, skip: skipWithout('skopeo', 'umoci', 'tar') }, () => {
  let directory: string;
  let imgfs: ImgfsCommand;
  let images: string[];
  let index: BuiltImage;

  before(async () => {
    directory = await makeTempDir('export');
    imgfs = imgfsIn(directory);
    const arm64 = await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } });
    index = await buildIndex([await sampleImage(), arm64]);
    await writeLayout(join(directory, 'layout'), [{ image: index, name: 'v1' }]);
    const more = (process.env['IMGFS_TEST_LAYOUTS'] ?? '').split(' ').filter(Boolean);
    images = [`${join(directory, 'layout')}:v1`, ...more];
  });

  after(() => removeTempDir(directory));

  /** Export into a file of its own. */
  const exported = async (image: string, format: string, ...words: string[]): Promise<string> => {
    const path = join(directory, `${format}-${images.indexOf(image)}.tar`);
    const { code, stderr } = await imgfs([
      'export', `oci:${image}`, '--format', format, '-o', path, '--platform', 'linux/amd64', ...words,
    ]); // prettier-ignore
    assert.equal(code, 0, stderr);
    return path;
  };

  test('skopeo copies all of the OCI archive, and umoci unpacks what it copied', async () => {
    for (const image of images) {
      const path = await exported(image, 'oci');
      const target = join(directory, `oci-${images.indexOf(image)}`);
      await skopeoCopy(`oci-archive:${path}`, `oci:${target}:x`, { all: true });
      const inspected = await skopeoInspect(`oci-archive:${path}`, {
        extra: ['--override-arch', 'amd64', '--override-os', 'linux'],
      });
      assert.equal(inspected['Architecture'], 'amd64');
      if (image === images[0]) assert.equal(inspected['Digest'], index.descriptor.digest);
      await mustRun('umoci', ['list', '--layout', target]);
    }
  });

  test('skopeo takes the docker archive under the name that was asked for', async () => {
    for (const image of images) {
      const path = await exported(image, 'docker', '--name', 'registry.test/me/app:v9');
      const inspected = await skopeoInspect(`docker-archive:${path}:registry.test/me/app:v9`);
      assert.equal(inspected['Os'], 'linux');
      const target = join(directory, `docker-${images.indexOf(image)}`);
      await skopeoCopy(`docker-archive:${path}`, `dir:${target}`);
    }
  });

  test('podman loads the docker archive', { skip: !hasPodman || !isRoot }, async (t) => {
    const path = await exported(images[0] ?? '', 'docker', '--name', 'registry.test/me/app:v9');
    const roots = ['--root', join(directory, 'storage'), '--runroot', join(directory, 'run')];
    const words = ['--storage-driver', 'vfs', ...roots];
    const loaded = await run('podman', [...words, 'load', '-i', path], { timeoutMs: 120_000 });
    if (/newuidmap|cannot set up|permission denied|operation not permitted/i.test(loaded.stderr)) {
      t.skip(`podman does not run here: ${loaded.stderr.slice(0, 200)}`);
      return;
    }
    assert.equal(loaded.code, 0, loaded.stderr);
    assert.match(loaded.stdout, /registry\.test\/me\/app:v9/);
    await run('podman', [...words, 'rmi', '-a', '-f'], { timeoutMs: 120_000 });
  });

  test('GNU tar unpacks the root file system that umoci unpacks', { skip: !isRoot }, async () => {
    for (const [at, image] of images.entries()) {
      const path = await exported(image, 'rootfs');
      const ours = join(directory, `ours-${at}`);
      const theirs = join(directory, `theirs-${at}`);
      mkdirSync(ours);
      await mustRun('tar', ['-xf', path, '-C', ours, '--numeric-owner', '--same-owner', '--xattrs', '-p'], {
        timeoutMs: 300_000,
      });
      // umoci reads no index: the image of the platform goes into a layout of its own.
      await skopeoCopy(`oci:${image}`, `oci:${theirs}-layout:x`, {
        extra: ['--override-arch', 'amd64', '--override-os', 'linux'],
      });
      await mustRun('umoci', ['unpack', '--image', `${theirs}-layout:x`, theirs], { timeoutMs: 300_000 });
      const listing = (folder: string) =>
        mustRun('find', [folder, '-mindepth', '1', '(', '-type', 'd', '-printf', '%P %y %m %U %G %T@\n', ')', '-o', '-printf', '%P %y %m %U %G %s %T@ %l\n'], { timeoutMs: 120_000 }); // prettier-ignore
      const sorted = ({ stdout }: { stdout: string }) => stdout.split('\n').sort();
      assert.deepEqual(sorted(await listing(ours)), sorted(await listing(join(theirs, 'rootfs'))));
      const different = await run('diff', ['-r', '--no-dereference', ours, join(theirs, 'rootfs')]);
      // diff calls every two devices different; their numbers are no part of the listing of either tool.
      const lines = different.stdout.split('\n').filter((line) => !/ special file while file /.test(line));
      assert.equal(lines.join('\n'), '');
    }
  });

  test('a stream to stdout is the same as the file', async () => {
    const [image = ''] = images;
    const path = await exported(image, 'rootfs');
    const words = ['export', `oci:${image}`, '--format', 'rootfs', '--platform', 'linux/amd64'];
    const piped = join(directory, 'piped.tar');
    const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const quoted = [process.execPath, main, ...words].map((word) => `'${word}'`).join(' ');
    const env = { ...process.env, ...imgfs.environment };
    const { code, stderr } = await run('sh', ['-c', `${quoted} > '${piped}'`], { env });
    assert.equal(code, 0, stderr);
    assert.equal((await run('cmp', [path, piped])).code, 0);
  });
});
