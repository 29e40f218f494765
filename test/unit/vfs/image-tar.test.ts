/** docs/SEMANTICS.md, "Writing": archives written as `image.tar` (W30, W31). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isWritable } from '../../../src/vfs/file-system.js';
import { buildSaved } from '../../support/archive-writer.js';
import { sampleImage } from '../../support/image-builder.js';
import { setUp, timeout } from '../../support/writing-ground.js';

test('W30 an archive written as image.tar becomes the tag', { timeout }, async (t) => {
  const { cp, mkdir, base, content, tree, fileSystem } = await setUp(t);
  const saved = await sampleImage({ seed: 3 });
  const archive = Buffer.from(await buildSaved([{ image: saved, tags: ['example.org/app:x'] }]));
  await mkdir(`${base}/v2`);
  await assert.rejects(cp('no archive', `${base}/v2/image.tar`), { code: 'invalid' });
  assert.ok(!content()?.tags.has('v2'));
  assert.deepEqual(await tree.list(`${base}/@uploads`), ['v2:image.tar']);
  await cp(archive, `${base}/v2/image.tar`);
  assert.ok(content()?.tags.has('v2'));
  assert.deepEqual(await tree.list(`${base}/@uploads`), []);
  const config = JSON.parse(await tree.text(`${base}/v2/config.json`));
  assert.deepEqual(
    config.rootfs.diff_ids,
    saved.layers.map(({ diffId }) => diffId),
  );
  const several = await buildSaved([
    { image: saved, tags: ['a:v3'] },
    { image: await sampleImage({ seed: 4 }), tags: ['b:v3'] },
  ]);
  await mkdir(`${base}/v3`);
  await assert.rejects(cp(several, `${base}/v3/image.tar`), { code: 'invalid' });
  assert.ok(!content()?.tags.has('v3'));
  assert.ok(isWritable(fileSystem));
});

test('W32 an archive written as image.tar into a tag replaces it', { timeout }, async (t) => {
  const saved = await sampleImage({ seed: 3 });
  const archive = await buildSaved([{ image: saved, tags: [] }]);
  {
    const { cp, base, content, tree } = await setUp(t);
    const before = content()?.tags.get('v1');
    await assert.rejects(cp(archive, `${base}/v1/image.tar`), { code: 'forbidden' });
    assert.equal(content()?.tags.get('v1'), before);
    assert.deepEqual(await tree.list(`${base}/@uploads`), []);
  }
  const { cp, base, content, tree } = await setUp(t, { rules: { allowOverwrite: true } });
  const before = content()?.tags.get('v1');
  assert.ok(before);
  await assert.rejects(cp('no archive', `${base}/v1/image.tar`), { code: 'invalid' });
  assert.equal(content()?.tags.get('v1'), before, 'what cannot be loaded replaces nothing');
  assert.deepEqual(await tree.list(`${base}/@uploads`), ['v1:image.tar']);
  await cp(archive, `${base}/v1/image.tar`);
  assert.deepEqual(await tree.list(`${base}/@uploads`), []);
  assert.notEqual(content()?.tags.get('v1'), before);
  const config = JSON.parse(await tree.text(`${base}/v1/config.json`));
  assert.deepEqual(
    config.rootfs.diff_ids,
    saved.layers.map(({ diffId }) => diffId),
  );
  for (const path of [`${base}/v1/notes`, `${base}/@digests/${before.replace(':', '/')}/image.tar`])
    await assert.rejects(cp(archive, path), { code: 'forbidden' });
});

test(
  'W31 an archive that could not be loaded is tried again, also after a restart',
  { timeout },
  async (t) => {
    const { cp, mkdir, base, content, registry, fileSystem, open } = await setUp(t);
    const archive = await buildSaved([{ image: await sampleImage({ seed: 3 }), tags: [] }]);
    await mkdir(`${base}/v2`);
    registry.fault({ match: { method: ['PUT', 'PATCH'] }, fault: { kind: 'status', status: 503 } });
    await assert.rejects(cp(archive, `${base}/v2/image.tar`), { code: 'unavailable' });
    await fileSystem.close();
    registry.clearFaults();
    const next = open();
    for (let tries = 0; tries < 200 && content()?.tags.has('v2') !== true; tries += 1)
      await new Promise((wake) => setTimeout(wake, 20));
    assert.ok(content()?.tags.has('v2'));
    await next.close();
  },
);
