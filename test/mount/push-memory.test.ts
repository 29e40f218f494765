/**
 * What pushing holds in memory at most, whatever is pushed: below 120 MiB, by `imgfs cp` and by `cp -r` through a mount.
 * IMGFS_TEST_PUSH_MIB chooses the size; chunks that were kept in memory would show with the default.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { run, skipWithout } from '../support/child.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { skipWithoutMount } from '../support/mounted.js';
import { writePatternedImage } from '../support/patterned-image.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const mebibyte = 2 ** 20;
const totalBytes = Number(process.env['IMGFS_TEST_PUSH_MIB'] ?? 192) * mebibyte;
const boundMebibytes = 120;

/** Prints the peak of a process at its end. */
const peakAtExit = `data:text/javascript,${encodeURIComponent(
  'process.on("exit", () => process.stderr.write(`peak ${process.resourceUsage().maxRSS}`))',
)}`;

const skip = skipWithoutMount('native') || skipWithout('docker-registry');

for (const layers of [1, 6]) {
  const limits = { skip, timeout: 60_000 + Math.ceil(totalBytes / 2_000) };
  test(`pushing ${layers} layers of ${totalBytes} bytes together`, limits, async (t) => {
    const directory = await makeTempDir('push-memory');
    const docker = await startDockerRegistry();
    const imgfs = imgfsIn(directory);
    const mountPoint = join(directory, 'mnt');
    t.after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await docker.close();
      await removeTempDir(directory);
    });
    await writePatternedImage(directory, layers, Math.floor(totalBytes / layers));
    const timeoutMs = limits.timeout;
    const copied = await imgfs(
      ['cp', `oci:${join(directory, 'layout')}:v1`, `docker://${docker.host}/by-cp:v1`],
      { timeoutMs, env: { NODE_OPTIONS: `--import=${peakAtExit}` } },
    );
    assert.equal(copied.code, 0, copied.stderr);
    const peak = Number(/peak (\d+)/.exec(copied.stderr)?.[1]) / 1024;
    assert.ok(peak < boundMebibytes, `imgfs cp held ${peak} MiB`);

    await mkdir(mountPoint);
    const mounted = await imgfs(['mount', mountPoint, '--driver', 'native']);
    assert.equal(mounted.code, 0, mounted.stderr);
    const { pid } = JSON.parse(await readFile(join(mountPoint, '.imgfs', 'status.json'), 'utf8'));
    const script = 'mkdir "$1"; cp -r "$2" "$1/v1"';
    const words = [join(mountPoint, docker.host, 'by-mount'), join(directory, 'image')];
    const { code, stderr } = await run('bash', ['-ec', script, '-', ...words], { timeoutMs });
    assert.equal(code, 0, stderr);
    const status = await readFile(`/proc/${pid}/status`, 'latin1');
    const held = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
    assert.ok(held < boundMebibytes, `the daemon held ${held} MiB`);
    t.diagnostic(`at most, MiB: imgfs cp ${peak.toFixed(0)}, cp -r through the mount ${held.toFixed(0)}`);
    assert.equal((await imgfs(['umount', mountPoint])).code, 0);
  });
}
