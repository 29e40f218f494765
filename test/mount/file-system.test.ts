/**
 * The file-system suite over a real mount, by each driver: plain system calls by path, in a process that does not
 * serve them.
 */
import { constants, promises as fs } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { fileSystemSuite, type TreeFixture, type TreeUnderTest } from '../conformance/file-system-suite.js';
import { treeImages } from '../conformance/tree-images.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** A tree at a mount point. Asynchronous calls only: the registry behind it answers in this process. */
function mountedTree(mountPoint: string): TreeUnderTest {
  const at = (path: string): string => join(mountPoint, path);
  return {
    list: (path) => fs.readdir(at(path)),
    read: (path) => fs.readFile(at(path)),
    readAt: async (path, position, length) => {
      const file = await fs.open(at(path));
      try {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position);
        return buffer.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    },
    stat: async (path) => {
      const stat = await fs.lstat(at(path));
      const type = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'file';
      return { type, size: stat.size, mode: stat.mode & 0o7777, inode: stat.ino };
    },
    xattr: async (path, name) => {
      const result = await run('getfattr', ['--only-values', '--absolute-names', '-n', name, at(path)]);
      return result.code === 0 ? result.stdout : undefined;
    },
    openForWriting: async (path) => {
      const file = await fs.open(at(path), constants.O_WRONLY);
      await file.close();
    },
    errnoOf: (error) => (error as NodeJS.ErrnoException).code ?? String(error),
  };
}

/** One registry and one mount for all tests of a driver. */
async function mountOnce(driver: DriverName): Promise<{ fixture: TreeFixture; close(): Promise<void> }> {
  const images = await treeImages();
  const registry = await startFaultRegistry({ redirectBlobs: true });
  const directory = await makeTempDir('mounted-suite');
  const mountPoint = join(directory, 'mnt');
  const close = async (): Promise<void> => {
    if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
    await registry.close();
    await removeTempDir(directory);
  };
  try {
    await mkdir(mountPoint);
    registry.addImage('group/app', images.single, 'single');
    registry.addImage('group/app', images.multi, 'multi');
    registry.addImage('group/app', images.artifact, 'files');
    const { environment } = imgfsIn(directory);
    const main = new URL('../../src/cli/main.js', import.meta.url).pathname;
    const words = ['mount', mountPoint, '--driver', driver, '--platform', 'linux/amd64', '-o', 'ro'];
    await mustRun(process.execPath, [main, ...words], { env: environment });
    const repository = `${registry.host}/group/app`;
    return { fixture: { ...images, tree: mountedTree(mountPoint), repository }, close };
  } catch (error) {
    await close();
    throw error;
  }
}

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip = skipWithoutMount(driver) || skipWithout('getfattr', 'fusermount3');
  describe(`mounted by ${driver}`, { skip, timeout: 240_000 }, () => {
    let mounted: ReturnType<typeof mountOnce> | undefined;
    after(async () => (await mounted)?.close());
    fileSystemSuite(`mounted by ${driver}`, async () => (await (mounted ??= mountOnce(driver))).fixture);
  });
}
