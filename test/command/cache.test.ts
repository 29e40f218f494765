/** `cache`, `completion` and `doctor`. */
import assert from 'node:assert/strict';
import { readdir, writeFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../support/child.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('imgfs cache', { timeout: 120_000 }, () => {
  let registry: FaultRegistry;
  let directory: string;
  let imgfs: ImgfsCommand;
  let image: BuiltSingleImage;
  let reference: string;

  before(async () => {
    registry = await startFaultRegistry();
    directory = await makeTempDir('cache-command');
    imgfs = imgfsIn(directory);
    image = await sampleImage();
    registry.addImage('group/app', image, 'v1');
    reference = `${registry.host}/group/app:v1`;
  });

  after(async () => {
    await registry.close();
    await removeTempDir(directory);
  });

  test('pin fetches the whole image, which prune then keeps, and reading needs no network', async () => {
    const pinned = await imgfs(['cache', 'pin', reference]);
    assert.equal(pinned.code, 0, pinned.stderr);
    assert.equal((await imgfs(['cache', 'prune'])).code, 0);
    const usage = JSON.parse((await imgfs(['cache', 'ls', '--json'])).stdout);
    assert.equal(usage.pins[0].descriptor.digest, image.descriptor.digest);
    const requests = registry.requests.length;
    const layer = await imgfs(['cat', '--offline', `${reference}/layers/0.tar.gz`]);
    assert.equal(layer.code, 0, layer.stderr);
    assert.equal(registry.requests.length, requests);
  });

  test('verify finds a damaged blob with exit code 6, and --repair drops it', async () => {
    const folder = join(imgfs.home, '.cache', 'imgfs', 'blobs', 'sha256');
    const [victim = ''] = await readdir(folder);
    await chmod(join(folder, victim), 0o644);
    await writeFile(join(folder, victim), 'damaged');
    const found = await imgfs(['cache', 'verify']);
    assert.equal(found.code, 6, found.stdout + found.stderr);
    assert.match(found.stdout, new RegExp(`damaged sha256:${victim}`));
    assert.equal((await imgfs(['cache', 'verify', '--repair'])).code, 0);
    assert.equal((await imgfs(['cache', 'verify'])).code, 0);
  });

  test('unpin lets go, and says so when there is nothing to let go of', async () => {
    assert.equal((await imgfs(['cache', 'unpin', reference])).code, 0);
    assert.equal((await imgfs(['cache', 'unpin', reference])).code, 3);
    assert.equal((await imgfs(['cache', 'prune'])).code, 0);
    const usage = JSON.parse((await imgfs(['cache', 'ls', '--json'])).stdout);
    assert.equal(usage.kinds['blobs/sha256'].entries, 0);
  });

  test('wrong words are usage errors', async () => {
    assert.equal((await imgfs(['cache', 'polish'])).code, 2);
    assert.equal((await imgfs(['cache', 'pin'])).code, 2);
    assert.equal((await imgfs(['cache', 'prune', '--to', 'little'])).code, 2);
  });

  test('completion scripts are valid in the shells that are here', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await imgfs(['completion', shell]);
      assert.equal(code, 0);
      for (const verb of ['mount', 'inspect', 'cache']) assert.match(stdout, new RegExp(`\\b${verb}\\b`));
      assert.match(stdout, /cache-size/);
      if (shell === 'bash') assert.equal((await run('bash', ['-n'], { input: stdout })).code, 0);
    }
    assert.equal((await imgfs(['completion', 'tcsh'])).code, 2);
  });

  test('doctor tells about a broken credential file and goes on', async () => {
    const file = join(directory, 'broken.json');
    await writeFile(file, '{ not json');
    const { stdout } = await imgfs(['doctor', '--authfile', file, '--json']);
    const { findings } = JSON.parse(stdout) as {
      findings: { subject: string; state: string; detail: string }[];
    };
    assert.ok(findings.some(({ state, detail }) => state === 'warning' && detail.includes('broken.json')));
    assert.ok(findings.some(({ subject }) => subject === 'mounts'));
  });
});
