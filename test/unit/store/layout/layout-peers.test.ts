// Layouts that other tools wrote, and what other tools make of ours.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import { openLayoutStore } from '../../../../src/store/layout/open-layout.js';
import { mustRun, skipWithout } from '../../../support/child.js';
import { sampleImage } from '../../../support/image-builder.js';
import { writeLayout } from '../../../support/layout-writer.js';
import { tempDir } from '../../../support/temp.js';

const insecure = '--insecure-policy';

it(
  'skopeo reads what we push and we read what skopeo writes',
  { skip: skipWithout('skopeo'), timeout: 60_000 },
  async (t) => {
    const directory = await tempDir(t, 'peers');
    const image = await sampleImage({ payloadBytes: 1000 });
    const ours = await openLayoutStore(join(directory, 'ours'), { create: true });
    for (const { bytes, descriptor } of image.blobs) {
      const upload = await ours.startUpload('');
      await upload.write(bytes);
      await upload.finish(descriptor.digest);
    }
    const [manifest] = image.manifests;
    assert.ok(manifest);
    const { mediaType } = manifest.descriptor;
    await ours.putManifest('', manifest.bytes, mediaType, { tags: ['v1'] });
    await ours.putManifest('docker.io/library/app', manifest.bytes, mediaType, { tags: ['v2'] });
    const theirs = join(directory, 'theirs');
    await mustRun('skopeo', [insecure, 'copy', `oci:${ours.path}:v1`, `oci:${theirs}:one`]);
    await mustRun('skopeo', [
      insecure,
      'copy',
      `oci:${ours.path}:docker.io/library/app:v2`,
      `oci:${theirs}:docker.io/library/app:v2`,
    ]);
    const store = await openLayoutStore(theirs);
    for (const target of [
      { repository: '', tag: 'one' },
      { repository: 'app', tag: 'v2' },
    ]) {
      const { descriptor } = await store.resolve(target);
      assert.equal(descriptor.digest, image.descriptor.digest);
    }
  },
);

it(
  'umoci reads what we push and we read what umoci writes',
  { skip: skipWithout('umoci'), timeout: 60_000 },
  async (t) => {
    const directory = await tempDir(t, 'peers');
    const ours = join(directory, 'ours');
    await writeLayout(ours, [{ image: await sampleImage({ payloadBytes: 1000 }), name: 'v1' }]);
    const store = await openLayoutStore(ours);
    await mustRun('umoci', ['tag', '--image', `${ours}:v1`, 'v2']);
    await mustRun('umoci', ['config', '--image', `${ours}:v2`, '--tag', 'v3', '--config.user', '1000']);
    const tags: string[] = [];
    for await (const tag of store.tags('')) tags.push(tag);
    assert.deepEqual(tags, ['v1', 'v2', 'v3']);
    const { descriptor } = await store.resolve({ repository: '', tag: 'v3' });
    const { bytes } = await store.resolve({ repository: '', digest: descriptor.digest });
    assert.equal(bytes, undefined);
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await store.fetch('', descriptor)).chunks) chunks.push(chunk);
    assert.equal(parseManifest(Buffer.concat(chunks), descriptor.mediaType).kind, 'image');
    await store.deleteTag('', 'v2');
    const { stdout } = await mustRun('umoci', ['ls', '--layout', ours]);
    assert.deepEqual(stdout.trim().split('\n').sort(), ['v1', 'v3']);
  },
);
