/** The library's handles against docker-registry, with skopeo as the judge. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openContentCache, type DiskCache } from '../../src/content/disk.js';
import { Registry } from '../../src/image/library/registry.js';
import { mustRun, skipWithout } from '../support/child.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { buildArtifact, sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { pushImage } from '../support/push-image.js';
import { openTestStore } from '../support/registry-client.js';
import { skopeoCopy, skopeoInspect } from '../support/skopeo.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe(
  'the library and docker-registry',
  { timeout: 300_000, skip: skipWithout('docker-registry', 'skopeo') },
  () => {
    let directory: string;
    let docker: DockerRegistry;
    let content: DiskCache;
    let registry: Registry;
    let image: BuiltSingleImage;

    before(async () => {
      directory = await makeTempDir('library-wire');
      docker = await startDockerRegistry();
      image = await sampleImage();
      for (const tag of ['v1', 'v2', 'v10']) await pushImage(docker.url, 'group/app', image, tag);
      content = await openContentCache({ directory: join(directory, 'cache') });
      registry = new Registry(openTestStore({ host: docker.host, url: docker.url }), {
        content,
        platform: { os: 'linux', architecture: 'amd64' },
      });
    });

    after(async () => {
      await registry.close();
      await content.close();
      await docker.close();
      await removeTempDir(directory);
    });

    const reference = (name: string): string => `docker://${docker.host}/${name}`;

    async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
      const list: Item[] = [];
      for await (const item of items) list.push(item);
      return list;
    }

    test('tags are those that skopeo lists, also page by page', async () => {
      const { stdout } = await mustRun('skopeo', ['list-tags', '--tls-verify=false', reference('group/app')]);
      const { Tags } = JSON.parse(stdout) as { Tags: string[] };
      const { tags } = registry.repository('group/app');
      assert.deepEqual((await all(tags.list())).sort(), Tags.sort());
      const reader = tags.reader();
      const pages = [await reader.read(2), await tags.reader(reader.cursor).read(2)];
      assert.deepEqual(pages.flat().sort(), Tags.sort());
      await registry.ping();
      assert.deepEqual(await all(registry.lookup('app')), [{ name: 'group/app' }]);
    });

    test('inspection and history are what skopeo shows', async () => {
      const seen = await skopeoInspect(reference('group/app:v1'));
      const source = await registry.repository('group/app').source('v1');
      const inspection = await source.inspect();
      for (const key of ['Digest', 'Created', 'Architecture', 'Os', 'Layers', 'Labels', 'Env'] as const)
        assert.deepEqual(inspection[key], seen[key], key);
      const digests = (await source.history()).flatMap(({ layer }) =>
        layer === undefined ? [] : [layer.digest],
      );
      assert.deepEqual(digests, seen['Layers']);
    });

    test('what a destination was given skopeo copies, and what it tagged skopeo finds', async () => {
      const target = registry.repository('pushed/app').destination('v1');
      for (const { bytes, descriptor } of image.blobs)
        await target.putBlob(bytes, { digest: descriptor.digest });
      await target.putManifest(image.manifests[0]?.bytes ?? new Uint8Array());
      await registry.repository('pushed/app').tags.tag(image.descriptor.digest, 'again');
      await skopeoCopy(reference('pushed/app:again'), `dir:${join(directory, 'copied')}`);
      assert.equal((await skopeoInspect(reference('pushed/app:again')))['Digest'], image.descriptor.digest);
    });

    test('an upload is finished, and a referrer is found and filtered', async () => {
      const repository = registry.repository('group/app');
      const upload = await repository.blobs.upload();
      await upload.write(Buffer.from('first half, '));
      await upload.write(Buffer.from('second half'));
      const { digest } = await upload.finish();
      assert.equal(await repository.blobs.exists(digest), true);
      const file = { title: 'a.json', mediaType: 'application/json', content: Buffer.from('{}') };
      const put = await repository.attach('v1', { artifactType: 'application/x.report', files: [file] });
      const found = await all(repository.referrers('v1', { artifactType: 'application/x.report' }));
      assert.deepEqual(
        found.map((one) => one.digest),
        [put.digest],
      );
      assert.deepEqual(await all(repository.referrers('v1', { artifactType: 'x/y' })), []);
      const artifact = buildArtifact({ artifactType: 'x/y', subject: image.descriptor, files: [] });
      await pushImage(docker.url, 'group/app', artifact);
      const everything = await all(repository.manifests.all());
      assert.ok(
        everything.some(({ descriptor, via }) => via === 'referrer' && descriptor.digest === put.digest),
      );
    });

    test('what skopeo deleted is gone, and a tag that cannot be deleted alone says why', async () => {
      const repository = registry.repository('pushed/app');
      await assert.rejects(repository.tags.untag('again'), { code: 'unsupported' });
      await repository.tags.untag('again', { fallback: true });
      assert.deepEqual(await all(repository.tags.list()), ['v1']);
      await mustRun('skopeo', ['delete', '--tls-verify=false', reference('pushed/app:v1')]);
      assert.equal(await repository.tags.exists('v1'), false);
      assert.equal(await repository.manifests.exists(image.descriptor.digest), false);
    });
  },
);
