import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KindList } from '../../../src/content/kind-list.js';

const kibi = 1024;

function listOf(onGrow?: () => void): KindList {
  return new KindList(
    { name: 'test', folder: 'folder', accepts: () => true, evict: () => Promise.resolve(true) },
    onGrow,
  );
}

/** Longer than the clock's grain: what follows is later than what was. */
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 3));

async function compared(
  list: KindList,
  seen: readonly { readonly name: string; readonly bytes: number }[],
  meanwhile: () => void = () => undefined,
): Promise<void> {
  const comparison = list.compare();
  meanwhile();
  comparison.take(seen.map((entry) => ({ ...entry, usedMs: 0 })));
  await comparison.end();
}

test('a listing corrects what others changed', async () => {
  const list = listOf();
  list.set('grown', 4 * kibi);
  list.set('gone', 4 * kibi);
  await tick();
  await compared(list, [
    { name: 'grown', bytes: 12 * kibi },
    { name: 'new', bytes: 8 * kibi },
  ]);
  assert.deepEqual(list.usage(), { entries: 2, bytes: 20 * kibi });
});

test('what this process writes is counted as it says, whatever a listing saw', async () => {
  const list = listOf();
  // A folder without blocks of its own, and a file that is about to get its name.
  list.own('writing', 8 * kibi);
  list.own('naming', 200 * kibi);
  await tick();
  await compared(list, [{ name: 'writing', bytes: 0 }]);
  assert.deepEqual(list.usage(), { entries: 2, bytes: 208 * kibi });
  list.set('naming', 200 * kibi);
  list.delete('writing');
  await tick();
  await compared(list, [{ name: 'naming', bytes: 204 * kibi }]);
  assert.deepEqual(list.usage(), { entries: 1, bytes: 204 * kibi });
});

test('a listing does not bring back what went while it was taken', async () => {
  const list = listOf();
  list.own('moved', 200 * kibi);
  await tick();
  await compared(list, [{ name: 'moved', bytes: 200 * kibi }], () => list.delete('moved'));
  assert.deepEqual(list.usage(), { entries: 0, bytes: 0 });
});

test('what is made anew while a long list is gone through is not forgotten', async () => {
  const list = listOf();
  for (let n = 0; n < 1500; n += 1) list.set(`${n}`, kibi);
  list.set('again', kibi);
  await tick();
  const comparing = compared(list, [], () => undefined);
  // Gone by the listing; the sweep gives way after a thousand, the newest first.
  await Promise.resolve();
  list.set('again', 2 * kibi);
  await comparing;
  assert.deepEqual(list.usage(), { entries: 1, bytes: 2 * kibi });
});

test('what has its room reserved lets nothing be evicted', () => {
  let grown = 0;
  const list = listOf(() => (grown += 1));
  list.own('writing', 200 * kibi);
  assert.equal(grown, 0);
  list.set('decoded', 4 * kibi);
  list.grow('decoded', 4 * kibi);
  list.set('decoded', 4 * kibi);
  assert.equal(grown, 2);
});
