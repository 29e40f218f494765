import assert from 'node:assert/strict';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import {
  isAlive,
  processStartTime,
  readRecords,
  removeRecord,
  writeRecord,
  type DaemonRecord,
} from '../../../src/cli/mount/state-directory.js';
import { tempDir } from '../../support/temp.js';

async function record(mountPoint: string, pid: number): Promise<DaemonRecord> {
  const startTime = (await processStartTime(pid)) ?? 'gone';
  return {
    mountPoint,
    pid,
    startTime,
    driver: 'native',
    logFile: '/nowhere/log',
    cacheDirectory: '/nowhere',
  };
}

test('records of living daemons are found, those of dead ones removed', async (t) => {
  const before = process.env['XDG_RUNTIME_DIR'];
  process.env['XDG_RUNTIME_DIR'] = await tempDir(t);
  t.after(() => {
    if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = before;
  });
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  const living = await record('/mnt/living', process.pid);
  const dying = await record('/mnt/dying', child.pid ?? -1);
  await writeRecord(living);
  await writeRecord(dying);
  assert.equal((await readRecords()).length, 2);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.deepEqual(await readRecords(), [living]);
  await removeRecord('/mnt/living');
  assert.deepEqual(await readRecords(), []);
});

test('a pid that was given to another process does not count as alive', async () => {
  const mine = await record('/mnt/x', process.pid);
  assert.equal(await isAlive(mine), true);
  if (process.platform === 'linux') assert.equal(await isAlive({ ...mine, startTime: '1' }), false);
});
