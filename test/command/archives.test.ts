/** Archives that `imgfs cp` writes: whole images, several of them, and what other tools say about them. */
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, readFile, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mustRun, skipWithout } from '../support/child.js';
import {
  buildArtifact,
  buildIndex,
  sampleImage,
  type BuiltImage,
  type BuiltSingleImage,
} from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('cp into archives', { timeout: 300_000 }, () => {
  let directory: string;
  let imgfs: ImgfsCommand;
  let image: BuiltSingleImage;
  let other: BuiltSingleImage;
  let index: BuiltImage;

  before(async () => {
    directory = await makeTempDir('archives');
    imgfs = imgfsIn(directory);
    [image, other] = [await sampleImage(), await sampleImage({ seed: 3 })];
    index = await buildIndex([
      image,
      await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } }),
    ]);
    const artifact = buildArtifact({
      artifactType: 'application/vnd.test.sbom',
      subject: image.descriptor,
      files: [{ title: 'sbom.json', content: '{}' }],
    });
    await writeLayout(join(directory, 'layout'), [
      { image, name: 'v1' },
      { image: other, name: 'other' },
      { image: index, name: 'multi' },
      { image: artifact, name: 'sbom' },
    ]);
  });

  after(() => removeTempDir(directory));

  const ok = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await imgfs(words);
    assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const layout = (tag: string): string => `oci:${join(directory, 'layout')}:${tag}`;
  const archive = (name: string): string => join(directory, `${name}.tar`);
  const skopeo = (...words: string[]): Promise<{ stdout: string }> =>
    mustRun('skopeo', ['--insecure-policy', ...words]);
  /** As an ordinary user, who may give no file away. */
  const asNobody = async (command: string, ...words: string[]): Promise<void> => {
    const isRoot = process.getuid?.() === 0;
    if (isRoot) await chmod(directory, 0o755);
    const user = isRoot ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
    const [first = command, ...rest] = [...user, command, ...words];
    await mustRun(first, rest);
  };

  test(
    'an OCI archive: digests stay, for us, skopeo, tar and umoci',
    { skip: skipWithout('skopeo', 'umoci', 'tar', 'setpriv') },
    async () => {
      const path = archive('oci');
      assert.equal(await ok('cp', layout('v1'), `oci-archive:${path}:v1`), image.descriptor.digest);
      assert.equal(await ok('cp', layout('multi'), `oci-archive:${path}:multi`), index.descriptor.digest);
      assert.equal(await ok('resolve', `oci-archive:${path}:v1`), image.descriptor.digest);
      assert.equal(await ok('resolve', `oci-archive:${path}:multi`), index.descriptor.digest);
      const { stdout } = await skopeo('inspect', '--raw', `oci-archive:${path}:v1`);
      assert.deepEqual(Buffer.from(stdout), Buffer.from(image.manifests[0]?.bytes ?? []));
      await skopeo('copy', '--all', '-q', `oci-archive:${path}:multi`, `dir:${join(directory, 'dir')}`);
      await asNobody('skopeo', 'inspect', '--raw', `oci-archive:${path}:v1`);
      const unpacked = join(directory, 'unpacked');
      await mkdir(unpacked);
      assert.equal((await mustRun('tar', ['-C', unpacked, '-xf', path])).stderr, '');
      assert.equal((await mustRun('umoci', ['ls', '--layout', unpacked])).stdout.trim(), 'v1\nmulti');
    },
  );

  test(
    'a docker archive: several images, their own digests for us, a copy for skopeo',
    { skip: skipWithout('skopeo') },
    async () => {
      const path = archive('docker');
      await ok('cp', layout('v1'), `docker-archive:${path}:example.org/app:v1`);
      await ok('cp', layout('multi'), `docker-archive:${path}:example.org/app:multi`, '--tag', 'again');
      assert.equal(await ok('resolve', `docker-archive:${path}:example.org/app:v1`), image.descriptor.digest);
      assert.equal(
        await ok('resolve', `docker-archive:${path}:example.org/app:again`),
        index.descriptor.digest,
      );
      for (const tag of ['v1', 'multi']) {
        await skopeo(
          'copy',
          '-q',
          `docker-archive:${path}:example.org/app:${tag}`,
          `oci:${join(directory, 'theirs')}:${tag}`,
        );
        const inspected = await skopeo('inspect', '--config', `oci:${join(directory, 'theirs')}:${tag}`);
        assert.deepEqual(
          JSON.parse(inspected.stdout).rootfs.diff_ids,
          image.layers.map(({ diffId }) => diffId),
        );
      }
    },
  );

  test(
    'podman load takes it',
    { skip: skipWithout('podman') || (process.getuid?.() !== 0 && 'needs root') },
    async () => {
      const path = archive('podman');
      await ok('cp', layout('v1'), `docker-archive:${path}:example.org/app:v1`);
      const storage = [
        '--root',
        join(directory, 'storage'),
        '--runroot',
        join(directory, 'runroot'),
        '--storage-driver',
        'vfs',
      ];
      assert.match(
        (await mustRun('podman', [...storage, 'load', '-i', path])).stdout,
        /example\.org\/app:v1/,
      );
      await ok('cp', layout('v1'), `oci-archive:${path}.oci:v1`);
      await mustRun('podman', [...storage, 'load', '-i', `${path}.oci`]);
      await mustRun('podman', [...storage, 'rmi', '--all', '--force']);
    },
  );

  test('a name moves to the newer image; nothing else changes, and what nobody names goes', async () => {
    const path = archive('moving');
    await ok('cp', layout('v1'), `oci-archive:${path}:a`);
    await ok('cp', layout('v1'), `oci-archive:${path}:b`);
    const { size } = await stat(path);
    await ok('cp', layout('other'), `oci-archive:${path}:a`);
    assert.equal(await ok('resolve', `oci-archive:${path}:a`), other.descriptor.digest);
    assert.equal(await ok('resolve', `oci-archive:${path}:b`), image.descriptor.digest);
    await ok('cp', layout('other'), `oci-archive:${path}:b`);
    assert.ok((await stat(path)).size < size + 10_000);
    assert.equal(await ok('tags', `oci-archive:${path}`), 'a\nb');
    assert.deepEqual(
      (await readdir(directory)).filter((name) => name.startsWith('.')),
      [],
    );
  });

  test('two writers at once: both images are there', async () => {
    const path = archive('race');
    await Promise.all([
      ok('cp', layout('v1'), `oci-archive:${path}:a`),
      ok('cp', layout('other'), `oci-archive:${path}:b`),
    ]);
    assert.equal(await ok('resolve', `oci-archive:${path}:a`), image.descriptor.digest);
    assert.equal(await ok('resolve', `oci-archive:${path}:b`), other.descriptor.digest);
  });

  test(
    'to standard output, and a compressed one is gone on from',
    { skip: skipWithout('sh', 'gzip') },
    async () => {
      const path = archive('stream');
      const main = join(import.meta.dirname, '../../src/cli/main.js');
      const line = `"${process.execPath}" "${main}" cp "${layout('v1')}" oci-archive:/dev/stdout:v1 | gzip > "${path}"`;
      await mustRun('sh', ['-c', line], { env: imgfs.environment });
      assert.equal(await ok('resolve', `oci-archive:${path}:v1`), image.descriptor.digest);
      await ok('cp', layout('other'), `oci-archive:${path}:other`);
      assert.equal(await ok('tags', `oci-archive:${path}`), 'other\nv1');
    },
  );

  test('referrers go into an OCI archive; an artifact is no image for docker', async () => {
    const path = archive('referrers');
    const copied = JSON.parse(
      await ok('cp', '--json', '--referrers', layout('v1'), `oci-archive:${path}:v1`),
    );
    assert.equal(copied.manifests, 2);
    const refused = await imgfs(['cp', layout('sbom'), `docker-archive:${path}.docker:a:b`]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /oci-archive:/);
  });

  test('a file that is no archive, or one cut short, is left as it is', async () => {
    const path = archive('foreign');
    await writeFile(path, 'a letter to my aunt');
    const refused = await imgfs(['cp', layout('v1'), `oci-archive:${path}:v1`]);
    assert.notEqual(refused.code, 0);
    assert.equal(await readFile(path, 'utf8'), 'a letter to my aunt');
    await ok('cp', layout('v1'), `oci-archive:${archive('whole')}:v1`);
    await copyFile(archive('whole'), path);
    await truncate(path, 100_000);
    const cut = await imgfs(['cp', layout('other'), `oci-archive:${path}:other`]);
    assert.match(cut.stderr, /cut short/);
    assert.equal((await stat(path)).size, 100_000);
    const folder = await imgfs(['cp', layout('v1'), `oci-archive:${directory}:v1`]);
    assert.match(folder.stderr, /is a directory/);
    const nowhere = await imgfs(['cp', layout('v1'), `oci-archive:${directory}/no/such/a.tar:v1`]);
    assert.notEqual(nowhere.code, 0);
  });
});
