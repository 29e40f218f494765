/** However the daemon ends, its mount point is usable again. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findMount } from '../../src/fuse/mount-table.js';
import { run, skipWithout } from '../support/child.js';
import { mountSample, skipWithoutMount, type Mounted } from '../support/mounted.js';

const timeout = 60_000;

/** More of them on demand: a run of 200 takes some minutes. */
const kills = Number(process.env['IMGFS_TEST_KILLS'] ?? 5);

/** State and command line of every process that names `path`. */
async function processesWith(path: string): Promise<string[]> {
  const { stdout } = await run('ps', ['-eo', 'stat=,args=']);
  return stdout.split('\n').filter((line) => line.includes(path));
}

async function mustBeUsable(mounted: Mounted, sinceMs: number): Promise<void> {
  for (;;) {
    if ((await findMount(mounted.path)) === undefined) {
      assert.deepEqual(await readdir(mounted.path), []);
      return;
    }
    assert.ok(Date.now() - sinceMs < 2_000, 'still mounted after 2 s');
    await sleep(20);
  }
}

describe('native driver: the daemon dies', { skip: skipWithoutMount('native') }, () => {
  test(
    `kill -9 under load, ${kills} times at random moments`,
    { timeout: timeout + kills * 4_000 },
    async (t) => {
      for (let round = 0; round < kills; round += 1) {
        const mounted = await mountSample('native');
        t.after(() => mounted.dispose());
        const readers = ['sparse', 'stuck', 'slow', 'big', 'plain', 'many'].map((name) =>
          spawn(
            'sh',
            ['-c', 'while cat "$0" || ls -l "$0"; do :; done >/dev/null 2>&1', join(mounted.path, name)],
            {
              stdio: 'ignore',
            },
          ),
        );
        await sleep(50 + Math.random() * 400);
        const since = Date.now();
        mounted.child.kill('SIGKILL');
        await mounted.exited;
        await mustBeUsable(mounted, since);
        for (const reader of readers) {
          reader.kill('SIGKILL');
          if (reader.exitCode === null && reader.signalCode === null)
            await once(reader, 'exit', { signal: AbortSignal.timeout(3_000) });
        }
        // The watchdog may still be inside umount(2), which waits for a grace period of the kernel.
        for (
          let left = await processesWith(mounted.path);
          left.length > 0;
          left = await processesWith(mounted.path)
        ) {
          assert.ok(Date.now() - since < 5_000, `left behind: ${left.join('\n')}`);
          await sleep(50);
        }
        await mounted.dispose();
      }
    },
  );

  test('process.exit without unmounting', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    await readFile(join(mounted.path, 'hello'));
    await mounted.command('exit');
    assert.equal(await mounted.exited, 0);
    await mustBeUsable(mounted, Date.now());
  });

  test('after an orderly unmount no watchdog is left', { timeout }, async (t) => {
    const mounted = await mountSample('native');
    t.after(() => mounted.dispose());
    assert.equal((await mounted.statistics())['watchdog'], 1);
    await mounted.command('unmount');
    await sleep(100);
    const { stdout } = await run('ps', ['-eo', 'args=']);
    const watchdogs = stdout
      .split('\n')
      .filter((line) => line.includes('imgfs-watchdog') && line.includes(mounted.path));
    assert.deepEqual(watchdogs, []);
  });

  test('10,000 open files with a limit of 1024', { timeout, skip: skipWithout('sh') }, async (t) => {
    const mounted = await mountSample('native', {}, ['sh', '-c', 'ulimit -n 1024; exec "$@"', 'sh']);
    t.after(() => mounted.dispose());
    const program = `
      const { openSync, readSync } = require('node:fs');
      const fds = [];
      for (let i = 0; i < 5000; i += 1) fds.push(openSync(process.argv[1] + '/many/file-' + i, 'r'));
      for (let i = 0; i < 5000; i += 1) fds.push(openSync(process.argv[1] + '/' + ['big', 'part', 'hello'][i % 3], 'r'));
      const buffer = Buffer.alloc(10);
      for (const fd of fds) readSync(fd, buffer, 0, 10, 0);
      console.log(fds.length);`;
    const { stdout, stderr } = await run('sh', [
      '-c',
      'ulimit -n 20000; exec "$@"',
      'sh',
      process.execPath,
      '-e',
      program,
      mounted.path,
    ]);
    assert.equal(stdout.trim(), '10000', stderr);
  });
});
