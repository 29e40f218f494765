/** A disk that is full under the spool: an errno at the write, nothing wrong in the registry, and room again later. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { mustRun, run } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { createPrng } from '../support/prng.js';
import { pushMount } from '../support/push-fixture.js';
import { tempDir } from '../support/temp.js';

const skip = process.getuid?.() === 0 ? false : 'needs root, to mount a small tmpfs';

test(
  'a full disk in the spool is ENOSPC, and nothing of it is taken for content',
  { skip, timeout: 30_000 },
  async (t) => {
    const registry = await startFaultRegistry();
    t.after(() => registry.close());
    const directory = `${await tempDir(t, 'spool-full')}/small`;
    await mkdir(directory);
    const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', directory]);
    if (mounted.code !== 0) {
      t.skip(mounted.stderr);
      return;
    }
    try {
      const mount = pushMount(registry, directory);
      const uploads = `${registry.host}/app/@uploads`;
      await mount.mkdir(`${registry.host}/app`);
      await assert.rejects(mount.cp(createPrng(1).bytes(4_000_000), `${uploads}/large`), {
        code: 'cache-full',
      });
      assert.equal(registry.content.repositories.get('app')?.blobs.size ?? 0, 0);
      await mount.rm(`${uploads}/large`);
      const small = createPrng(2).bytes(500_000);
      await mount.cp(small, `${uploads}/small`);
      assert.ok(registry.content.repositories.get('app')?.blobs.has(digestOf(small)));
      await mount.close();
    } finally {
      await mustRun('umount', [directory]);
    }
  },
);
