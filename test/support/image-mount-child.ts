/**
 * Program: mounts the tree of one registry, over a cache of its own, until its standard input ends. Like a daemon, but it
 * uses the indexes that come with small images as well, and reads no file of configuration.
 *
 *   node image-mount-child.js <plan as JSON>
 *
 * Says `ready` in a line, and at the end the counters of the driver as JSON.
 */
import { openContentCache } from '../../src/content/disk.js';
import { nativeDriver } from '../../src/fuse/native/driver.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { createLogger, setLogLevels } from '../../src/observe/log.js';
import { openRegistryStore } from '../../src/store/registry/registry-store.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import { registryDeps } from './registry-deps.js';

const log = createLogger('fuse');

export interface ImageMountPlan {
  readonly mountPoint: string;
  readonly cache: string;
  readonly host: string;
  readonly url: string;
  /** From which length on layers are read by the index that comes with them. */
  readonly foreignFromBytes: number;
}

export const imageMountProgram = new URL(import.meta.url).pathname;

async function serve({ mountPoint, cache, host, url, foreignFromBytes }: ImageMountPlan): Promise<void> {
  setLogLevels(process.env['IMGFS_LOG'] ?? 'off');
  const content = await openContentCache({ directory: cache, maxBytes: 2 ** 33 });
  const store = openRegistryStore(host, registryDeps(url));
  const stores = createStoreDirectory({ openRegistry: async () => store });
  const layers = new LayerStore({ cache: content, foreignFromBytes });
  const fileSystem = createFileSystem({
    stores,
    content,
    extensions: [new ImageInside({ content, layers })],
  });
  const session = await nativeDriver.mount(mountPoint, fileSystem, {
    readOnly: true,
    allowOther: false,
    fsName: 'imgfs-test',
    operationTimeoutMs: 20_000,
    onError: (operation, error) => log.debug(`${operation} failed`, { error: String(error) }),
  });
  log.debug('mounted', { mountPoint });
  process.stdout.write('ready\n');
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.once('end', resolve));
  process.stdout.write(`${JSON.stringify(session.statistics())}\n`);
  await session.unmount();
  await session.closed;
  await fileSystem.close();
  await stores.close();
  await content.close();
}

if (process.argv[1] === imageMountProgram) await serve(JSON.parse(process.argv[2] ?? '{}') as ImageMountPlan);
