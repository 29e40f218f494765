/** Images of the cache by name, as a builder uses them; pushes into tags that are there. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { buildIndex, sampleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithout } from '../support/child.js';
import { skopeoCopy, skopeoInspect, skopeoRawManifest } from '../support/skopeo.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const image = (architecture: string, seed: number) =>
  sampleImage({ seed, payloadBytes: 5_000, platform: { os: 'linux', architecture } });

describe('images of the cache', { timeout: 300_000, skip: skipWithout('docker-registry', 'skopeo') }, () => {
  let directory: string;
  let docker: DockerRegistry;
  let imgfs: ImgfsCommand;

  before(async () => {
    directory = await makeTempDir('cache-images');
    docker = await startDockerRegistry();
    imgfs = imgfsIn(directory);
    const index = await buildIndex([await image('amd64', 1), await image('arm64', 2)]);
    await writeLayout(join(directory, 'layout'), [
      { image: index, name: 'multi' },
      { image: await buildIndex([await image('s390x', 3)]), name: 'more' },
    ]);
    await ok('push', layout('multi'), `${docker.host}/app:v1`, '--arch-tags');
  });

  after(async () => {
    await docker.close();
    await removeTempDir(directory);
  });

  const ok = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await imgfs(words);
    assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const layout = (tag: string): string => `oci:${join(directory, 'layout')}:${tag}`;

  test('push gave each platform a tag that skopeo sees', async () => {
    const tags = (await ok('tags', `${docker.host}/app`)).split('\n').sort();
    assert.deepEqual(tags, ['v1', 'v1-amd64', 'v1-arm64']);
    const seen = await skopeoInspect(`docker://${docker.host}/app:v1-arm64`);
    assert.equal(seen['Architecture'], 'arm64');
  });

  test('pull, check, find, get: without the registry once it is there', async () => {
    const name = `${docker.host}/app:v1`;
    assert.equal((await imgfs(['cache', 'check', name])).code, 3);
    assert.match(await ok('pull', name), /^pinned /);
    assert.match(await ok('pull', name), /^there already/);
    assert.match(await ok('cache', 'check', name, '--offline'), /^complete sha256:/);
    const [digest = ''] = (await ok('cache', 'find', name)).split(' ');
    assert.equal(await ok('cache', 'get', digest), (await skopeoRawManifest(`docker://${name}`)).trim());
  });

  test('pull takes every way to write a name, and images of local stores', async () => {
    assert.match(await ok('pull', `docker://${docker.host}/app:v1`), /^there already/);
    assert.match(await ok('pull', layout('multi')), /^pinned oci:/);
    const refused = await imgfs(['cache', 'check', layout('multi')]);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /names of registries/);
  });

  test('exists says by its exit code', async () => {
    assert.match(await ok('exists', `${docker.host}/app:v1`), /^sha256:/);
    assert.equal((await imgfs(['exists', `${docker.host}/app:none`])).code, 3);
    assert.equal((await imgfs(['exists', '--platform', 'linux/s390x', `${docker.host}/app:v1`])).code, 3);
  });

  test('load, tag, index, push: several platforms under one name', async () => {
    const archive = join(directory, 'more.tar');
    await skopeoCopy(layout('more'), `oci-archive:${archive}:local.test/more:v1`, { all: true });
    assert.match(await ok('cache', 'load', archive), /^local\.test\/more:v1 sha256:/);
    await ok('cache', 'tag', `${docker.host}/app:v1`, 'local.test/app:mine');
    await ok('cache', 'push', 'local.test/more:v1', `${docker.host}/app:v1`);
    const raw = JSON.parse(await skopeoRawManifest(`docker://${docker.host}/app:v1`)) as {
      manifests: { platform: { architecture: string } }[];
    };
    assert.deepEqual(
      raw.manifests.map(({ platform }) => platform.architecture),
      ['amd64', 'arm64', 's390x'],
    );
    await ok('pull', `${docker.host}/app:v1-amd64`);
    await ok('pull', `${docker.host}/app:v1-arm64`);
    const names = [`${docker.host}/app:v1-amd64`, `${docker.host}/app:v1-arm64`];
    const digest = await ok('cache', 'index', 'local.test/both:v1', ...names);
    await ok('cache', 'push', 'local.test/both:v1', `${docker.host}/both:v1`, '--override');
    assert.equal(await ok('resolve', `${docker.host}/both:v1`), digest);
    await skopeoCopy(`docker://${docker.host}/both:v1`, `dir:${join(directory, 'both')}`, { all: true });
  });

  test('push --override replaces, and without it platforms stay', async () => {
    await ok('push', layout('more'), `${docker.host}/over:v1`);
    const merged = JSON.parse(await ok('push', '--json', layout('multi'), `${docker.host}/over:v1`));
    assert.equal(merged.outcome, 'merged');
    const replaced = JSON.parse(
      await ok('push', '--json', '--override', layout('multi'), `${docker.host}/over:v1`),
    );
    assert.deepEqual([replaced.outcome, replaced.digest], ['pushed', await ok('resolve', layout('multi'))]);
    const again = JSON.parse(await ok('push', '--json', layout('multi'), `${docker.host}/over:v1`));
    assert.deepEqual([again.outcome, again.sentBytes], ['present', 0]);
  });
});
