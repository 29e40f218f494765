/** What one wants to know of an image, as a user asks: history, SBOMs, referrers, search, stores. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { buildSaved } from '../support/archive-writer.js';
import { skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { buildIndex, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { pushImage } from '../support/push-image.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('services', { timeout: 300_000, skip: skipWithout('docker-registry') }, () => {
  let directory: string;
  let docker: DockerRegistry;
  let imgfs: ImgfsCommand;
  let image: BuiltSingleImage;
  let name: string;

  before(async () => {
    directory = await makeTempDir('services');
    docker = await startDockerRegistry();
    imgfs = imgfsIn(directory);
    image = await sampleImage({ payloadBytes: 5_000 });
    await pushImage(docker.url, 'group/app', image, 'v1');
    name = `${docker.host}/group/app:v1`;
    await writeFile(join(directory, 'sbom.json'), '{"spdxVersion":"SPDX-2.3"}');
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

  test('history shows each step with the size of its layer', async () => {
    const lines = (await ok('history', name)).split('\n');
    assert.equal(lines.length, 3);
    assert.match(lines[1] ?? '', /test layer 1$/);
    const steps = (await ok('history', '--json', name)).split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(
      steps.map(({ layer }) => layer.size),
      image.layers.map(({ descriptor }) => descriptor.size),
    );
  });

  test('search finds names of the catalog', async () => {
    assert.equal(await ok('search', `${docker.host}/app`), `${docker.host}/group/app`);
    assert.equal(await ok('search', `${docker.host}/none`), '');
  });

  test('attach, referrers by type, sbom', async () => {
    assert.equal((await imgfs(['sbom', name])).code, 3);
    const digest = await ok(
      'attach',
      name,
      join(directory, 'sbom.json'),
      '--artifact-type',
      'application/spdx+json',
    );
    assert.match(await ok('referrers', name), new RegExp(`^${digest} \\d+ application/spdx`));
    assert.match(await ok('referrers', name, '--artifact-type', 'application/spdx+json'), new RegExp(digest));
    assert.equal(await ok('referrers', name, '--artifact-type', 'x/y'), '');
    assert.equal(await ok('referrers', name, '--annotation', 'none=x'), '');
    assert.match(await ok('referrers', name, '--sort-by', 'none', '--descending'), new RegExp(digest));
    const kept = await imgfs(['manifest', 'rm', name, '--check-referrers']);
    assert.match(kept.stderr, new RegExp(`invalid: manifest rm .* ${digest} refers to it`));
    assert.equal(await ok('sbom', name), '{"spdxVersion":"SPDX-2.3"}');
  });

  test('the SBOM in an attestation of BuildKit is its predicate', async () => {
    const predicate = { spdxVersion: 'SPDX-2.3', name: 'inside' };
    const statement = { _type: 'x', predicateType: 'https://spdx.dev/Document', predicate };
    await pushImage(
      docker.url,
      'group/built',
      await buildIndex([image], { attestation: () => statement }),
      'v1',
    );
    const built = `${docker.host}/group/built:v1`;
    assert.deepEqual(JSON.parse(await ok('sbom', built, '--platform', 'linux/amd64')), predicate);
    assert.deepEqual(
      JSON.parse(await ok('sbom', built, '--attestations', '--platform', 'linux/amd64')),
      statement,
    );
  });

  test('manifest all, and a manifest of an accepted type', async () => {
    const built = `${docker.host}/group/built`;
    const vias = (await ok('manifest', 'all', built)).split('\n').map((line) => line.split(' ')[1]);
    assert.deepEqual(vias, ['tag', 'index', 'index']);
    const accept = ['--accept', 'application/vnd.oci.image.manifest.v1+json', '--platform', 'linux/amd64'];
    const bytes = await ok('manifest', 'get', `${built}:v1`, ...accept);
    assert.equal(bytes, Buffer.from(image.manifests[0]?.bytes ?? []).toString());
    await ok('manifest', 'get', `${built}:v1`);
    await writeFile(join(directory, 'manifest.json'), bytes);
    await ok('manifest', 'put', `${built}:a`, join(directory, 'manifest.json'), '--tag', 'b');
    assert.equal(await ok('resolve', `${built}:b`), image.descriptor.digest);
    const child = await ok('manifest', 'put', built, join(directory, 'manifest.json'), '--child');
    assert.equal(child, image.descriptor.digest);
    assert.equal((await imgfs(['exists', `${built}:b`, '--platform', 'plan9/mips'])).code, 3);
    assert.equal(await ok('exists', `${built}:b`, '--platform', 'linux/amd64'), image.descriptor.digest);
  });

  test('store says what it can do, and whether it answers', async () => {
    const info = JSON.parse(await ok('store', 'info', '--json', docker.host));
    assert.deepEqual([info.transport, info.push, info.manifestPushFirst], ['docker', true, false]);
    assert.match(await ok('store', 'ping', docker.host), /answers$/);
    assert.notEqual((await imgfs(['store', 'ping', '127.0.0.1:1', '--retry-times', '0'])).code, 0);
  });

  test('a lone dash is what comes through stdin', async () => {
    const blob = await imgfs(['blob', 'put', `${docker.host}/group/dash`, '-'], { input: 'piped' });
    assert.equal(blob.stdout.trim(), digestOf(Buffer.from('piped')), blob.stderr);
    const digest = digestOf(Buffer.from('piped'));
    const repository = `${docker.host}/group/dash`;
    const again = await imgfs(['blob', 'put', repository, '/no/such/file', '--digest', digest]);
    assert.equal(again.stdout.trim(), digest, again.stderr);
    const wrong = await imgfs(['blob', 'put', repository, '-', '--digest', image.descriptor.digest], {
      input: 'other',
    });
    assert.match(wrong.stderr, /digest-mismatch/);
    const bytes = image.manifests[0]?.bytes ?? '';
    const put = await imgfs(['manifest', 'put', `${docker.host}/group/app:dash`, '-'], { input: bytes });
    assert.equal(put.stdout.trim(), image.descriptor.digest, put.stderr);
    const saved = await buildSaved([{ image, tags: ['dash:v1'] }]);
    const loaded = await imgfs(['cache', 'load', '-', 'me/dash:v2'], { input: saved });
    assert.match(loaded.stdout, /^docker\.io\/me\/dash:v2 sha256:/, loaded.stderr);
    const unknown = await imgfs(['cache', 'ls', '--none', '-']);
    assert.match(unknown.stderr, /^imgfs: usage: Unknown argument/);
  });

  test('a file that is not there is an error with its name', async () => {
    for (const words of [
      ['cache', 'load'],
      ['blob', 'put', `${docker.host}/group/dash`],
      ['manifest', 'put', `${docker.host}/group/dash:v1`],
    ]) {
      const { code, stderr } = await imgfs([...words, '/no/such/file']);
      assert.equal(code, 3, stderr);
      assert.match(stderr, /^imgfs: not-found: read \/no\/such\/file: no such file/);
    }
  });
});
