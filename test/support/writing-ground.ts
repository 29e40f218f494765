/** The ground for tests of writing through the tree. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { digestHex, type Digest } from '../../src/oci/digest.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { isWritable } from '../../src/vfs/file-system.js';
import type { WritingRules } from '../../src/vfs/writing/writing.js';
import { startFaultRegistry, type FaultRegistryOptions } from './fault-registry/index.js';
import { verbs } from './file-system-verbs.js';
import { walk } from './file-system-walker.js';
import { sampleImage } from './image-builder.js';
import { createMemoryContent } from './memory-content.js';
import { hastyOptions, openTestStore } from './registry-client.js';
import { tempDir } from './temp.js';

/** Milliseconds for one test. */
export const timeout = 20_000;
export const repository = 'group/app';

export interface SetUp {
  readonly rules?: Partial<WritingRules>;
  readonly registry?: FaultRegistryOptions;
  readonly empty?: boolean;
  readonly retryAfterMs?: readonly number[];
}

/** A mount's tree over a fault registry and a real spool; closed when the test ends. */
export async function setUp(t: TestContext, options: SetUp = {}) {
  const registry = await startFaultRegistry(options.registry);
  t.after(() => registry.close());
  const image = await sampleImage();
  if (options.empty !== true) registry.addImage(repository, image, 'v1');
  const store = openTestStore(registry, { options: hastyOptions });
  const stores = createStoreDirectory({ openRegistry: async () => store });
  const directory = await tempDir(t, 'writing');
  const open = () =>
    createFileSystem({
      stores,
      content: createMemoryContent(directory),
      platform: { os: 'linux', architecture: 'amd64' },
      writing: {
        allowOverwrite: false,
        allowDelete: false,
        ...options.rules,
        ...(options.retryAfterMs === undefined ? {} : { retryAfterMs: options.retryAfterMs }),
      },
    });
  const fileSystem = open();
  assert.ok(isWritable(fileSystem));
  t.after(async () => {
    await fileSystem.close();
    await stores.close();
  });
  const root = registry.host;
  const base = `${root}/${repository}`;
  const tree = walk(fileSystem);
  const content = () => registry.content.repositories.get(repository);
  return { registry, image, fileSystem, tree, base, root, content, open, ...verbs(fileSystem, tree) };
}

/** Path of a blob below `@blobs/`. */
export const blobPath = (digest: Digest): string => `sha256/${digestHex(digest)}`;
