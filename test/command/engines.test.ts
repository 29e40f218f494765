/** Verbs on an engine's images, over a socket that answers as Docker's does. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildSaved } from '../support/archive-writer.js';
import { startFakeEngine } from '../support/fake-engine.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { tempDir } from '../support/temp.js';

test('repos, tags, cat, tag, rm and cp of a docker-daemon', { timeout: 120_000 }, async (t) => {
  const directory = await tempDir(t, 'engine');
  const engine = await startFakeEngine(t);
  const image = await sampleImage();
  const archive = await buildSaved([{ image, tags: [] }]);
  engine.images.push({ id: image.config.descriptor.digest, names: ['example.org/app:v1'], archive });
  await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
  const imgfs = imgfsIn(directory);
  const store = `docker-daemon:[${engine.socket}]`;
  const ok = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await imgfs(words);
    assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  assert.equal(await ok('repos', store), 'example.org/app');
  assert.match(await ok('cat', `${store}example.org/app:v1:/etc/os-release`), /imgfs-test/);
  await ok('tag', `${store}example.org/app:v1`, 'v2', 'v3');
  assert.equal(await ok('tags', `${store}example.org/app`), 'v1\nv2\nv3');
  await ok('rm', `${store}example.org/app:v2`);
  assert.equal(await ok('tags', `${store}example.org/app`), 'v1\nv3');
  await ok('cp', `oci:${join(directory, 'layout')}:v1`, `${store}example.org/new:v1`);
  assert.match(engine.loaded[0]?.toString('latin1') ?? '', /example\.org\/new:v1/);
  const exported = engine.requests.filter((line) => line.endsWith('/get'));
  assert.equal(exported.length, 1, 'one export for all of these processes');
  engine.loadAnswer = '{"errorDetail":{"message":"no"},"error":"no space left"}\n';
  const refused = await imgfs(['cp', `oci:${join(directory, 'layout')}:v1`, `${store}example.org/new:v1`]);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /no space left/);
});
