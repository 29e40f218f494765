import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFileMemo } from '../../../../../src/store/registry/config/file-memo.js';
import type { FileStamp } from '../../../../../src/store/registry/config/read-file.js';

const timeout = 5_000;

/** A file whose time stamps stand still at `changedMs`, whatever is written to it. */
function frozenFile(changedMs: number) {
  const changedNs = BigInt(changedMs) * 1_000_000n;
  const stamp: FileStamp = { device: 1n, inode: 1n, size: 3n, modifiedNs: changedNs, changedNs };
  const file = { text: 'one', reads: 0, stats: 0, gone: false };
  const access = {
    readConfigFile: async () => {
      file.reads += 1;
      return await Promise.resolve(file.gone ? undefined : { bytes: Buffer.from(file.text), stamp });
    },
    stampFile: async () => {
      file.stats += 1;
      return await Promise.resolve(file.gone ? undefined : stamp);
    },
  };
  const memo = createFileMemo((bytes) => ({ text: bytes.toString() }), access);
  return { file, memo };
}

test('a file changed a moment ago is read again, although its stamp is the same', { timeout }, async () => {
  const { file, memo } = frozenFile(Date.now());
  const before = await memo.read('x');
  assert.equal(await memo.read('x'), before, 'the same content gives the same object');
  file.text = 'two';
  assert.equal((await memo.read('x'))?.text, 'two');
});

test('a file that settled long ago is only looked at', { timeout }, async () => {
  const { file, memo } = frozenFile(Date.now() - 60_000);
  const before = await memo.read('x');
  assert.equal(await memo.read('x'), before);
  assert.deepEqual([file.reads, file.stats], [1, 1]);
  file.gone = true;
  assert.equal(await memo.read('x'), undefined);
});
