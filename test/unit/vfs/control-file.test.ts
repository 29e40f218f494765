import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveFile } from '../../../src/vfs/nodes/bytes-file.js';

test('an open control file has the size of what was opened, whatever a rendering would say now', async () => {
  let text = 'a long rendering';
  const file = new LiveFile(
    () => Promise.resolve(Buffer.from(text)),
    () => 0n,
  );
  const opened = await file.open({});
  text = 'short';
  // Read as programs do that trust fstat.
  const { size } = await file.stat({});
  const buffer = new Uint8Array(size);
  assert.equal(await opened.read(buffer, 0, {}), 16);
  assert.equal(Buffer.from(buffer).toString(), 'a long rendering');
  const second = await file.open({});
  assert.equal((await file.stat({})).size, 16, 'the longest of two');
  await opened.close();
  assert.equal((await file.stat({})).size, 5);
  await second.close();
  text = 'and anew';
  assert.equal((await file.stat({})).size, 8);
});
