/** What the tree costs a registry: round trips and bytes, counted by the registry itself. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { openContentCache } from '../../src/content/disk.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../support/fault-registry/index.js';
import { walk } from '../support/file-system-walker.js';
import { openTestStore } from '../support/registry-client.js';
import { tempDir } from '../support/temp.js';
import { treeImages } from './tree-images.js';

const images = await treeImages();
const limit = { timeout: 30_000 };

async function setup(t: TestContext, options: FaultRegistryOptions = {}) {
  const registry = await startFaultRegistry(options);
  registry.addImage('group/app', images.single, 'single');
  registry.addImage('group/app', images.multi, 'multi');
  const directory = await tempDir(t, 'tree-requests');
  const mount = async () => {
    const content = await openContentCache({ directory });
    const stores = createStoreDirectory({
      openRegistry: async () =>
        openTestStore(registry, { login: { username: 'me', password: 'secret' }, options: { retries: 0 } }),
    });
    const fileSystem = createFileSystem({
      stores,
      content,
      platform: { os: 'linux', architecture: 'amd64' },
    });
    const close = async (): Promise<void> => {
      await fileSystem.close();
      await stores.close();
      await content.close();
    };
    return { ...walk(fileSystem, 20_000), close };
  };
  t.after(() => registry.close());
  const asked = (): string[] => {
    const lines = registry.requestsTo({ role: 'registry' }).map(({ method, path }) => `${method} ${path}`);
    registry.forgetRequests();
    return lines;
  };
  return { registry, mount, asked, repository: `${registry.host}/group/app` };
}

test('ls of a tag costs two requests', limit, async (t) => {
  const { mount, asked, repository } = await setup(t);
  const { entry, list, close } = await mount();
  await entry(repository);
  asked();
  await list(`${repository}/single`);
  assert.deepEqual(asked(), [
    'HEAD /v2/group/app/manifests/single',
    `GET /v2/group/app/manifests/${images.single.descriptor.digest}`,
  ]);
  await list(`${repository}/multi`);
  assert.equal(asked().length, 2, 'of an index too');
  await close();
});

test('ls -l of layers transfers no byte of a blob', limit, async (t) => {
  const { mount, registry, repository } = await setup(t);
  const { entries, stat, close } = await mount();
  await entries(`${repository}/single/layers`, true);
  await stat(`${repository}/single/layers/1.tar.gz`);
  assert.equal(registry.bytesSent({ path: /\/blobs\// }), 0);
  await close();
});

test('with tokens, the first lookup logs in and the second need not', limit, async (t) => {
  const { mount, asked, registry, repository } = await setup(t, {
    auth: { kind: 'bearer', users: { me: 'secret' } },
  });
  const { entry, list, close } = await mount();
  await entry(repository);
  registry.forgetRequests();
  await list(`${repository}/single`);
  const requests = asked();
  assert.equal(requests.filter((line) => line.includes('/v2/')).length, 2, requests.join('\n'));
  await close();
});

test(
  'after a restart without the registry, what was cached reads and what was not says why',
  limit,
  async (t) => {
    const { mount, registry, repository } = await setup(t);
    const first = await mount();
    await first.text(`${repository}/single/manifest.json`);
    await first.read(`${repository}/single/layers/0.tar.gz`);
    await first.text(`${repository}/single/inspect.json`);
    await first.close();
    // Not `suspend`: another process may listen on the port meanwhile, and answer.
    registry.fault({ match: {}, fault: { kind: 'reset', when: 'request' } });
    const second = await mount();
    assert.deepEqual(
      await second.read(`${repository}/single/layers/0.tar.gz`),
      Buffer.from(images.single.layers[0]?.bytes ?? []),
    );
    assert.ok(
      (await second.text(`${repository}/single/inspect.json`)).includes(images.single.descriptor.digest),
    );
    assert.deepEqual(await second.list(`${repository}/@tags`), ['single']);
    await assert.rejects(second.read(`${repository}/single/layers/1.tar.gz`), { code: 'unavailable' });
    await assert.rejects(second.entry(`${repository}/multi`), { code: 'unavailable' });
    assert.match(
      (await second.xattr(`${repository}/single/layers/1.tar.gz`, 'user.imgfs.error')) ?? '',
      /unavailable/,
    );
    await second.close();
  },
);
