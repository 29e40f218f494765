import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isOwned, own, tryOwn } from '../../../src/content/owner-lock.js';
import { ownIdentity } from '../../../src/content/process-identity.js';
import { tempDir } from '../../support/temp.js';

const random = '0123456789ab';
const lockName = (pid: number, ticks: string, boot = ownIdentity().boot): string =>
  `lock-${boot}-${ownIdentity().namespace}-${pid}-${ticks}-${random}`;

test('a folder has one owner, and after release the next', async (t) => {
  const folder = join(await tempDir(t, 'lock'), 'made/on/demand');
  assert.equal(await isOwned(folder), false);
  const first = await tryOwn(folder);
  assert.ok(first !== undefined);
  assert.equal(await isOwned(folder), true);
  assert.equal(await tryOwn(folder), undefined);
  await first.release();
  await first.release();
  const second = await tryOwn(folder);
  assert.ok(second !== undefined);
  await second.release();
  assert.deepEqual(await fs.readdir(folder), []);
});

test('of many candidates at once at most one becomes the owner, and waiting gets everyone there', async (t) => {
  const folder = await tempDir(t, 'lock');
  for (let round = 0; round < 20; round += 1) {
    const locks = await Promise.all([1, 2, 3, 4].map(() => tryOwn(folder)));
    assert.ok(locks.filter((lock) => lock !== undefined).length <= 1);
    for (const lock of locks) await lock?.release();
  }
  let inside = 0;
  const work = async (): Promise<void> => {
    const lock = await own(folder, 5000);
    assert.ok(lock !== undefined);
    inside += 1;
    assert.equal(inside, 1);
    await new Promise((resolve) => setTimeout(resolve, 2));
    inside -= 1;
    await lock.release();
  };
  await Promise.all(Array.from({ length: 5 }, work));
});

test(
  'the lock of a dead process does not count, nor does a pid that was used again',
  { skip: ownIdentity().startTicks === '0' },
  async (t) => {
    const folder = await tempDir(t, 'lock');
    const dead = Number(execFileSync(process.execPath, ['-e', 'console.log(process.pid)']).toString());
    for (const name of [lockName(dead, '1'), lockName(process.pid, '1')]) {
      await fs.writeFile(join(folder, name), '');
      assert.equal(await isOwned(folder), false);
      await fs.writeFile(join(folder, name), '');
      const lock = await tryOwn(folder);
      assert.ok(lock !== undefined);
      await lock.release();
      assert.deepEqual(await fs.readdir(folder), []);
    }
  },
);

test('an owner that cannot be seen counts while it refreshes its file', async (t) => {
  const folder = await tempDir(t, 'lock');
  const path = join(folder, lockName(1, '1', 'elsewhere'));
  await fs.writeFile(path, '');
  assert.equal(await isOwned(folder), true);
  assert.equal(await tryOwn(folder), undefined);
  const old = new Date(Date.now() - 200_000);
  await fs.utimes(path, old, old);
  assert.equal(await isOwned(folder), false);
});
