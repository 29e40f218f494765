/** A tag that moves while it is looked at: what is read is the one image or the other, whole, over each driver. */
import assert from 'node:assert/strict';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestOf } from '../../src/oci/digest.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  test(`a moved tag through ${driver}`, { skip: skipWithoutMount(driver), timeout: 60_000 }, async (t) => {
    const registry = await startFaultRegistry();
    const directory = await makeTempDir('moved-tag');
    const mountPoint = join(directory, 'mnt');
    t.after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });
    const before = await sampleImage({ payloadBytes: 10_000 });
    const after = await sampleImage({ payloadBytes: 123_456 });
    assert.notEqual(before.descriptor.digest, after.descriptor.digest);
    registry.addImage('group/app', before, 'v1');
    await mkdir(mountPoint);
    const imgfs = imgfsIn(directory);
    const words = ['mount', mountPoint, '--driver', driver, '--tag-ttl', '1s', '-o', 'ro'];
    const mounted = await imgfs(words);
    assert.equal(mounted.code, 0, mounted.stderr);
    const repository = join(mountPoint, registry.host, 'group/app');
    const look = async (folder: string): Promise<string> => {
      const path = join(repository, folder, 'manifest.json');
      const { size } = await stat(path);
      const bytes = await readFile(path);
      const digest = digestOf(bytes);
      // Between the two calls the tag may have moved once.
      if (digest === before.descriptor.digest) assert.equal(bytes.length, before.descriptor.size);
      else assert.equal(digest, after.descriptor.digest);
      if (bytes.length !== size) assert.equal((await stat(path)).size, bytes.length);
      return digest;
    };
    for (const folder of ['v1', '@tags/v1']) assert.equal(await look(folder), before.descriptor.digest);
    registry.addImage('group/app', after, 'v1');
    for (const folder of ['v1', '@tags/v1']) {
      const end = Date.now() + 10_000;
      while ((await look(folder)) !== after.descriptor.digest) {
        assert.ok(Date.now() < end, `${folder} is what it was, ten seconds after it moved`);
        await sleep(50);
      }
      assert.equal(
        await readFile(join(repository, folder, 'digest'), 'utf8'),
        `${after.descriptor.digest}\n`,
      );
    }
    assert.equal((await imgfs(['umount', mountPoint])).code, 0);
  });
}
