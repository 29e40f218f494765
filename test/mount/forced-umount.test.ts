/** `imgfs umount --force` while an upload hangs: the daemon ends at once, and the next mount finishes from the spool. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestOf } from '../../src/oci/digest.js';
import { run } from '../support/child.js';
import { startFaultRegistry } from '../support/fault-registry/index.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { createPrng } from '../support/prng.js';
import { until } from '../support/push-fixture.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip = skipWithoutMount(driver);
  test(`umount --force ends an upload through ${driver} at once`, { skip, timeout: 120_000 }, async (t) => {
    const registry = await startFaultRegistry();
    const directory = await makeTempDir('forced-umount');
    const mountPoint = join(directory, 'mnt');
    const imgfs = imgfsIn(directory);
    t.after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });
    await mkdir(mountPoint);
    const mount = async (): Promise<number> => {
      const { code, stderr } = await imgfs(['mount', mountPoint, '--driver', driver]);
      assert.equal(code, 0, stderr);
      return JSON.parse(await readFile(join(mountPoint, '.imgfs', 'status.json'), 'utf8')).pid;
    };
    const pid = await mount();
    const bytes = createPrng(5).bytes(3_000_000);
    await writeFile(join(directory, 'blob'), bytes);
    registry.fault({ match: { method: ['PUT', 'PATCH'] }, fault: { kind: 'hang' } });
    const uploads = join(mountPoint, registry.host, 'app', '@uploads');
    await run('mkdir', [join(mountPoint, registry.host, 'app')]);
    const copying = run('cp', [join(directory, 'blob'), uploads]);
    await until('the upload hangs', () =>
      registry.requests.some(({ method }) => method === 'PUT' || method === 'PATCH'),
    );

    const startedAt = Date.now();
    const { code, stdout, stderr } = await imgfs(['umount', '--force', mountPoint]);
    // A polite end waits 25 s for the upload.
    assert.ok(Date.now() - startedAt < 15_000, `it took ${Date.now() - startedAt} ms`);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /unmounted/, stderr);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    assert.notEqual((await copying).code, 0, 'nobody is told that the registry has it');
    const listed = await imgfs(['upload', 'ls', '--json']);
    assert.match(listed.stdout, /"name":\s*"blob"/, listed.stderr);

    registry.clearFaults();
    const digest = digestOf(bytes);
    const has = (): boolean => registry.content.repositories.get('app')?.blobs.has(digest) === true;
    assert.ok(!has());
    await mount();
    await until('the next mount finishes it', has, 20_000);
    assert.equal((await imgfs(['umount', mountPoint])).code, 0);
  });
}
