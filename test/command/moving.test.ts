/** The verbs that change stores, as a user runs them. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Uploads } from '../../src/image/upload/uploads.js';
import { run, skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildIndex, sampleImage, type BuiltImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe(
  'verbs that change stores',
  { timeout: 300_000, skip: skipWithout('docker-registry', 'skopeo') },
  () => {
    let directory: string;
    let docker: DockerRegistry;
    let other: FaultRegistry;
    let imgfs: ImgfsCommand;
    let image: BuiltSingleImage;
    let index: BuiltImage;

    before(async () => {
      directory = await makeTempDir('moving');
      docker = await startDockerRegistry();
      other = await startFaultRegistry();
      imgfs = imgfsIn(directory);
      image = await sampleImage();
      index = await buildIndex([
        image,
        await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } }),
      ]);
      await writeLayout(join(directory, 'layout'), [
        { image, name: 'v1' },
        { image: index, name: 'multi' },
      ]);
    });

    after(async () => {
      await docker.close();
      await other.close();
      await removeTempDir(directory);
    });

    const ok = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await imgfs(words);
      assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
      return stdout.trim();
    };
    const layout = (tag: string): string => `oci:${join(directory, 'layout')}:${tag}`;

    test('cp to docker-registry: skopeo inspects and copies what arrived, with all platforms', async () => {
      assert.equal(
        await ok('cp', layout('multi'), `${docker.host}/group/app:v1`, '--tag', 'v2'),
        index.descriptor.digest,
      );
      const inspected = await run('skopeo', [
        'inspect',
        '--tls-verify=false',
        `docker://${docker.host}/group/app:v2`,
      ]);
      assert.equal(inspected.code, 0, inspected.stderr);
      assert.equal(JSON.parse(inspected.stdout).Digest, index.descriptor.digest);
      const copied = await run('skopeo', [
      'copy', '--all', '--src-tls-verify=false', `docker://${docker.host}/group/app:v1`, `dir:${join(directory, 'skopeo')}`,
    ]); // prettier-ignore
      assert.equal(copied.code, 0, copied.stderr);
    });

    test('a second cp sends nothing, and one platform is one manifest', async () => {
      const again = JSON.parse(await ok('cp', '--json', layout('multi'), `${docker.host}/group/app:v1`));
      assert.equal(again.sentBytes, 0);
      const digest = await ok('cp', '--platform', 'linux/arm64', layout('multi'), `${docker.host}/arm:v1`);
      assert.equal(digest, index.manifests[1]?.descriptor.digest);
    });

    test('load takes what skopeo writes for docker and for OCI', async () => {
      for (const format of ['docker-archive', 'oci-archive']) {
        const path = join(directory, `${format}.tar`);
        const written = await run('skopeo', [
          'copy',
          '-q',
          layout('v1'),
          `${format}:${path}:example.org/app:v1`,
        ]);
        assert.equal(written.code, 0, written.stderr);
        const digest = await ok('load', path, `${docker.host}/loaded:${format}`);
        assert.equal(await ok('resolve', `${docker.host}/loaded:${format}`), digest);
        if (format === 'oci-archive') assert.equal(digest, image.descriptor.digest);
      }
      const bad = await imgfs(['load', join(directory, 'layout', 'index.json'), `${docker.host}/loaded:bad`]);
      assert.notEqual(bad.code, 0);
      assert.match(bad.stderr, /neither an OCI nor a docker archive/);
    });

    test('cp --all-tags copies every tag of a repository', async () => {
      await ok('cp', layout('v1'), `${docker.host}/many:a`, '--tag', 'b');
      await ok('cp', layout('multi'), `${docker.host}/many:c`);
      await ok('cp', '--all-tags', `${docker.host}/many`, `${other.host}/many`);
      assert.deepEqual(
        new Map(other.content.repositories.get('many')?.tags),
        new Map([
          ['a', image.descriptor.digest],
          ['b', image.descriptor.digest],
          ['c', index.descriptor.digest],
        ]),
      );
      const tagged = await imgfs(['cp', '--all-tags', `${docker.host}/many:a`, `${other.host}/many`]);
      assert.match(tagged.stderr, /names one image/);
    });

    test('cp between two registries and back into a layout that is not there yet', async () => {
      await ok('push', `${docker.host}/group/app:v1`, `${other.host}/copy/app:v1`);
      const target = `oci:${join(directory, 'new')}:v1`;
      assert.equal(await ok('cp', `${other.host}/copy/app:v1`, target), index.descriptor.digest);
      assert.equal(await ok('resolve', target), index.descriptor.digest);
    });

    test('tag, rm, gc: the tag comes and goes, and what nobody needs is removed', async () => {
      await ok('tag', layout('v1'), 'stable');
      assert.match(await ok('tags', `oci:${join(directory, 'layout')}`), /stable/);
      await ok('rm', layout('stable'));
      assert.doesNotMatch(await ok('tags', `oci:${join(directory, 'layout')}`), /stable/);
      await ok('rm', layout('multi'));
      const plan = JSON.parse(
        await ok('gc', '--json', '--dry-run', '--min-age', '0', `oci:${join(directory, 'layout')}`),
      );
      assert.ok(plan.removed.length > 0);
      await ok('gc', '--min-age', '0', `oci:${join(directory, 'layout')}`);
      await ok('inspect', layout('v1'));
    });

    test('deleting a tag of a registry that cannot: the reason, and the fallback', async () => {
      const { code, stderr } = await imgfs(['rm', `${docker.host}/group/app:v2`]);
      assert.equal(code, 1);
      assert.match(stderr, /tag-delete-fallback/);
      await ok('rm', '--tag-delete-fallback', `${docker.host}/group/app:v2`);
      assert.equal(await ok('tags', `${docker.host}/group/app`), 'v1');
    });

    test('blob put, head, mount, get, rm', async () => {
      await writeFile(join(directory, 'file'), 'some bytes');
      const digest = await ok('blob', 'put', `${docker.host}/a`, join(directory, 'file'));
      assert.match(await ok('blob', 'head', `${docker.host}/a`, digest), / 10$/);
      await ok('blob', 'mount', `${docker.host}/b`, digest, '--from', 'a');
      assert.equal(await ok('blob', 'get', `${docker.host}/b`, digest), 'some bytes');
      await ok('blob', 'rm', `${docker.host}/b`, digest);
      assert.equal((await imgfs(['blob', 'head', `${docker.host}/b`, digest])).code, 3);
    });

    test('manifest get, put, head, rm; one that names what is missing is refused', async () => {
      const bytes = await ok('manifest', 'get', layout('v1'));
      await writeFile(join(directory, 'manifest.json'), Buffer.from(image.manifests[0]?.bytes ?? []));
      assert.deepEqual(
        JSON.parse(bytes),
        JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')),
      );
      const refused = await imgfs([
        'manifest',
        'put',
        `${other.host}/empty:v1`,
        join(directory, 'manifest.json'),
      ]);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /lacks blob/);
      const put = await ok(
        'manifest',
        'put',
        `${other.host}/copy/app:again`,
        join(directory, 'manifest.json'),
      );
      assert.equal(put, image.descriptor.digest);
      assert.match(await ok('manifest', 'head', `${other.host}/copy/app:again`), new RegExp(put));
    });

    test('an upload that the registry refuses stays, is listed, and is resumed', async () => {
      other.fault({ match: { method: ['POST', 'PUT', 'PATCH'] }, fault: { kind: 'status', status: 503 } });
      const { code } = await imgfs([
        'blob',
        'put',
        `${other.host}/late`,
        join(directory, 'file'),
        '--retry-times',
        '0',
      ]);
      assert.equal(code, 5);
      const listed = JSON.parse(await ok('upload', 'ls', '--json'));
      assert.equal(listed.phase, 'failed');
      other.clearFaults();
      await ok('upload', 'resume', listed.id);
      assert.equal(await ok('upload', 'ls'), '');
      assert.equal(other.content.repositories.get('late')?.blobs.size, 1);
    });

    test('a manifest that waits in the spool is listed, resumed when it is whole, and cancelled', async () => {
      const uploads = new Uploads({ cacheDirectory: join(directory, 'home', '.cache', 'imgfs') });
      const bytes = image.manifests[0]?.bytes ?? Buffer.alloc(0);
      const leave = async (repository: string): Promise<string> => {
        const kept = await uploads.keepManifest(
          {
            storeId: `docker://${docker.host}`,
            repository,
            document: 'manifest.json',
            tag: 'kept',
            path: 'x',
          },
          bytes,
        );
        await kept.release();
        return kept.state.id;
      };
      const whole = await leave('group/app');
      assert.match(await ok('upload', 'ls'), /waiting .*kept:manifest\.json/);
      assert.equal(await ok('upload', 'resume', whole), image.descriptor.digest);
      assert.equal(await ok('resolve', `${docker.host}/group/app:kept`), image.descriptor.digest);
      const lacking = await leave('nothing/here');
      const { code, stderr } = await imgfs(['upload', 'resume', lacking]);
      assert.notEqual(code, 0);
      assert.match(stderr, /lacks blob/);
      await ok('upload', 'cancel', lacking);
      assert.equal(await ok('upload', 'ls'), '');
    });
  },
);
