/** `ls`, `cat`, `tags`, `repos`, `inspect`, `resolve` without a mount, on a registry and on a layout. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildIndex, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('imgfs without a mount', { timeout: 120_000 }, () => {
  let registry: FaultRegistry;
  let directory: string;
  let imgfs: ImgfsCommand;
  let image: BuiltSingleImage;

  before(async () => {
    registry = await startFaultRegistry();
    directory = await makeTempDir('command');
    imgfs = imgfsIn(directory);
    image = await sampleImage();
    registry.addImage('group/app', image, 'v1');
    registry.addImage('group/multi', await buildIndex([image]), 'v1');
    await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
  });

  after(async () => {
    await registry.close();
    await removeTempDir(directory);
  });

  test('--version says the version and nothing else', async () => {
    const { code, stdout } = await imgfs(['--version']);
    assert.equal(code, 0);
    assert.match(stdout, /^imgfs \d+\.\d+\.\d+\n$/);
  });

  test('cat prints the exact bytes of a manifest, by path, by reference and from a layout', async () => {
    const expected = Buffer.from(image.manifests.at(-1)?.bytes ?? []).toString();
    for (const path of [
      `${registry.host}/group/app/v1/manifest.json`,
      `${registry.host}/group/app/@tags/v1/manifest.json`,
      `${registry.host}/group/app:v1/manifest.json`,
    ]) {
      const { code, stdout, stderr } = await imgfs(['cat', path]);
      assert.equal(code, 0, stderr);
      assert.equal(stdout, expected, path);
    }
  });

  test('ls of a reference shows its image directory; -l shows sizes without reading a blob', async () => {
    const { stdout } = await imgfs(['ls', `${registry.host}/group/app:v1`]);
    assert.deepEqual(new Set(stdout.trim().split('\n')).has('manifest.json'), true);
    const blobReads = registry.requests.filter(
      ({ method, path }) => method === 'GET' && path.includes('/blobs/'),
    );
    const { stdout: long } = await imgfs(['ls', '-l', `${registry.host}/group/app/v1/layers`]);
    assert.match(long, new RegExp(` ${image.layers[0]?.descriptor.size ?? -1} .* 0\\.tar\\.gz`));
    const after = registry.requests.filter(
      ({ method, path }) => method === 'GET' && path.includes('/blobs/'),
    );
    const layers = new Set(image.layers.map(({ descriptor }) => descriptor.digest));
    assert.equal(
      after.slice(blobReads.length).some(({ path }) => [...layers].some((digest) => path.includes(digest))),
      false,
    );
  });

  test('tags and repos list names, --json one object a line', async () => {
    assert.equal((await imgfs(['tags', `${registry.host}/group/app`])).stdout, 'v1\n');
    const { stdout } = await imgfs(['repos', registry.host, '--json']);
    assert.deepEqual(stdout.trim().split('\n').map((line) => JSON.parse(line)), [
      { repository: 'group/app' },
      { repository: 'group/multi' },
    ]); // prettier-ignore
  });

  test('resolve gives the digest of the index, with --platform that of the child', async () => {
    const index = (await imgfs(['resolve', `${registry.host}/group/multi:v1`])).stdout.trim();
    const child = (
      await imgfs(['resolve', '--platform', 'linux/amd64', `${registry.host}/group/multi:v1`])
    ).stdout.trim();
    assert.notEqual(index, child);
    assert.equal(child, image.descriptor.digest);
  });

  test('inspect --raw is the manifest, --config the config', async () => {
    const { stdout } = await imgfs(['inspect', '--raw', `oci:${join(directory, 'layout')}:v1`]);
    assert.equal(`sha256:${createHash('sha256').update(stdout).digest('hex')}`, image.descriptor.digest);
    const { stdout: config } = await imgfs(['inspect', '--config', `oci:${join(directory, 'layout')}`]);
    assert.equal(JSON.parse(config).os, 'linux');
  });

  test('exit codes: 3 for what is not there, 2 for wrong words, 5 for an outage', async () => {
    const missing = await imgfs(['cat', `${registry.host}/group/app/v2/manifest.json`]);
    assert.equal(missing.code, 3);
    assert.match(missing.stderr, /not-found/);
    assert.equal((await imgfs(['frobnicate'])).code, 2);
    assert.equal((await imgfs(['ls', '--no-such-option'])).code, 2);
    assert.equal((await imgfs(['cat'])).code, 2);
    assert.equal((await imgfs(['ls', '--cache-size', 'lots', '/'])).code, 2);
    // Nothing listens on port 9 of the loopback here.
    const down = await imgfs(['cat', '127.0.0.1:9/app/v1/manifest.json', '--retry-times', '0']);
    assert.equal(down.code, 5, down.stderr);
    assert.match(down.stderr, /next step|unavailable/);
  });

  test('--offline answers from the cache and says what it lacks', async () => {
    const path = `${registry.host}/group/app/v1/manifest.json`;
    assert.equal((await imgfs(['cat', path])).code, 0);
    const requests = registry.requests.length;
    assert.equal((await imgfs(['cat', path, '--offline'])).code, 0);
    const lacking = await imgfs(['cat', `${registry.host}/group/other/v1/manifest.json`, '--offline']);
    assert.notEqual(lacking.code, 0);
    assert.match(lacking.stderr, /offline/);
    assert.equal(registry.requests.length, requests);
  });

  test('--json prints errors as JSON on stderr', async () => {
    const { code, stderr } = await imgfs(['resolve', `${registry.host}/group/none:v1`, '--json']);
    assert.equal(code, 3);
    assert.equal(JSON.parse(stderr).error.code, 'not-found');
  });

  test('a reader that closes its end early is no failure', async () => {
    const { run } = await import('../support/child.js');
    const command = `"${process.execPath}" "$MAIN" cat "$PATH_IN_TREE" | head -c 10; exit "\${PIPESTATUS[0]}"`;
    const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const PATH_IN_TREE = `${registry.host}/group/app/v1/manifest.json`;
    const { code, stdout } = await run('bash', ['-c', command], {
      env: { ...imgfs.environment, MAIN: main, PATH_IN_TREE },
    });
    assert.equal(code, 0);
    assert.equal(stdout.length, 10);
  });
});
