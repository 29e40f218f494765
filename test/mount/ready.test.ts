/** What a mount has done before it says that it is ready. */
import assert from 'node:assert/strict';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mustRun } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const watch = pathToFileURL(fileURLToPath(new URL('../support/loaded-modules.js', import.meta.url))).href;

test(
  'who reads from a registry or a store for the first time waits for no code to be loaded',
  { skip: skipWithoutMount('native'), timeout: 60_000 },
  async () => {
    const directory = await makeTempDir('ready');
    const registry = await startFaultRegistry();
    const imgfs = imgfsIn(directory);
    const mountPoint = join(directory, 'mnt');
    await mkdir(mountPoint);
    try {
      const image = await sampleImage();
      registry.addImage('group/app', image, 'v1');
      await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
      const prefix = join(directory, 'loaded');
      const env = { NODE_OPTIONS: `--import ${watch}`, IMGFS_LOADED_FILE: prefix };
      const store = `local=oci:${join(directory, 'layout')}`;
      const { code, stderr } = await imgfs(['mount', mountPoint, '--store', store], { env });
      assert.equal(code, 0, stderr);
      const status = JSON.parse(await readFile(join(mountPoint, '.imgfs/status.json'), 'utf8')) as {
        pid: number;
      };
      const loaded = async (): Promise<string[]> =>
        (await readFile(`${prefix}.${status.pid}`, 'utf8')).trim().split('\n');
      const before = await loaded();
      assert.ok(
        before.some((path) => path.includes('/undici/')),
        'the watch sees what is required',
      );
      assert.ok(
        before.some((path) => path.endsWith('/serve.js')),
        'the watch sees what is imported',
      );
      for (const tag of [join(mountPoint, registry.host, 'group/app/v1'), join(mountPoint, 'local/v1')]) {
        assert.ok((await readdir(tag)).includes('rootfs'));
        await mustRun('sh', ['-c', 'cat "$0/config.json" && find "$0/rootfs" && cat "$0"/layers/0.tar', tag]);
      }
      assert.deepEqual((await loaded()).slice(before.length), []);
    } finally {
      await imgfs(['umount', '--force', mountPoint]);
      await registry.close();
      await removeTempDir(directory);
    }
  },
);
