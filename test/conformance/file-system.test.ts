/** The file-system suite, called directly: over registries and a layout, through the cache on disk. */
import { constants } from 'node:fs';
import { constants as system } from 'node:os';
import { errnoOf } from '../../src/errors/errno.js';
import { openContentCache } from '../../src/content/disk.js';
import { createStoreDirectory, type StoreDirectoryOptions } from '../../src/image/stores.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { startFaultRegistry, type FaultRegistryOptions } from '../support/fault-registry/index.js';
import { walk } from '../support/file-system-walker.js';
import { writeLayout } from '../support/layout-writer.js';
import { openTestStore } from '../support/registry-client.js';
import { tempDir } from '../support/temp.js';
import { fileSystemSuite, type TreeFactory, type TreeUnderTest } from './file-system-suite.js';
import { treeImages } from './tree-images.js';
import type { TestContext } from 'node:test';
import type { FileSystem } from '../../src/vfs/file-system.js';

const images = await treeImages();
const names = new Map(Object.entries(system.errno).map(([name, value]) => [value, name]));

function treeOf(fileSystem: FileSystem): TreeUnderTest {
  const walker = walk(fileSystem, 20_000);
  const { caller } = walker;
  return {
    list: (path) => walker.list(path),
    read: (path) => walker.read(path),
    readAt: async (path, position, length) => {
      const { handle } = await fileSystem.open(caller, await walker.inode(path), 0);
      const buffer = Buffer.alloc(length);
      const count = await fileSystem.read(caller, handle, buffer, position);
      await fileSystem.release(handle);
      return buffer.subarray(0, count);
    },
    stat: async (path) => {
      const { type, size, mode, inode } = await walker.stat(path);
      return { type, size, mode, inode };
    },
    xattr: walker.xattr,
    openForWriting: async (path) =>
      void (await fileSystem.open(caller, await walker.inode(path), constants.O_WRONLY)),
    errnoOf: (error) => names.get(errnoOf(error)) ?? String(error),
  };
}

async function mountless(
  t: TestContext,
  stores: StoreDirectoryOptions,
  verify?: 'strict',
): Promise<TreeUnderTest> {
  const content = await openContentCache({
    directory: await tempDir(t, 'tree-cache'),
    ...(verify === undefined ? {} : { verify }),
  });
  const directory = createStoreDirectory(stores);
  const fileSystem = createFileSystem({
    stores: directory,
    content,
    platform: { os: 'linux', architecture: 'amd64' },
  });
  t.after(async () => {
    await fileSystem.close();
    await directory.close();
    await content.close();
  });
  return treeOf(fileSystem);
}

function overRegistry(options: FaultRegistryOptions, verify?: 'strict'): TreeFactory {
  return async (t) => {
    const registry = await startFaultRegistry(options);
    t.after(() => registry.close());
    const login = options.auth === undefined ? {} : { login: { username: 'me', password: 'secret' } };
    registry.addImage('group/app', images.single, 'single');
    registry.addImage('group/app', images.multi, 'multi');
    registry.addImage('group/app', images.artifact, 'files');
    const tree = await mountless(t, { openRegistry: async () => openTestStore(registry, login) }, verify);
    return { ...images, tree, repository: `${registry.host}/group/app` };
  };
}

fileSystemSuite('tree over a registry', overRegistry({}));

fileSystemSuite(
  'tree over a registry with tokens, storage elsewhere, no catalog, verified strictly',
  overRegistry(
    {
      auth: { kind: 'bearer', users: { me: 'secret' } },
      redirectBlobs: true,
      catalog: false,
      referrers: false,
      pageSize: 2,
    },
    'strict',
  ),
);

fileSystemSuite(
  'tree over a registry with the habits of docker-registry 2.8',
  overRegistry({ dialect: 'docker-2.8', ranges: 'ignored' }),
);

fileSystemSuite('tree over a layout', async (t) => {
  const path = await tempDir(t, 'tree-layout');
  await writeLayout(path, [
    { image: images.single, name: 'single' },
    { image: images.multi, name: 'multi' },
    { image: images.artifact, name: 'files' },
  ]);
  const tree = await mountless(t, {
    openRegistry: () => Promise.reject(new Error('no registry is meant')),
    locals: new Map([['local', () => openLayoutStore(path)]]),
  });
  return { ...images, tree, repository: 'local' };
});
