import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Layer } from '../../../src/layer/layer.js';
import type { ByteRange } from '../../../src/store/store.js';
import { WholeWalk } from '../../../src/vfs/inside/whole-walk.js';

const mebibyte = 1 << 20;

interface Ground {
  readonly walk: WholeWalk;
  readonly asked: string[];
}

/** Two layers of 16 files each, whose table says that a file has 4 MiB, and whose blobs have 20 MiB. */
function ground({ isKnown = true, failure }: { isKnown?: boolean; failure?: Error } = {}): Ground {
  const asked: string[] = [];
  const layers = ['low', 'high'].map((name) => ({
    descriptor: { mediaType: 'x', digest: `sha256:${name}`, size: 20 * mebibyte },
    decodedSize: isKnown ? 64 * mebibyte : undefined,
    table: { count: 16, size: () => 4 * mebibyte },
    fetchAhead: async ({ start, end }: ByteRange) => {
      asked.push(`${name} ${start / mebibyte}-${end / mebibyte}`);
      await sleep(1);
      if (failure !== undefined) throw failure;
    },
  }));
  return { walk: new WholeWalk(layers as unknown as Layer[]), asked };
}

const all = ['low 0-8', 'low 8-16', 'low 16-20', 'high 0-8', 'high 8-16', 'high 16-20'];

test('who opens an eighth of a tree gets all of it, once', async () => {
  const { walk, asked } = ground();
  for (let row = 0; row < 3; row += 1) walk.note(0, row);
  await sleep(30);
  assert.deepEqual(asked, []);
  walk.note(1, 0);
  await sleep(200);
  assert.deepEqual(asked, all);
  for (let row = 0; row < 16; row += 1) walk.note(1, row);
  await sleep(30);
  assert.deepEqual(asked, all);
});

test('the same file again and again is no walk', async () => {
  const { walk, asked } = ground();
  for (let round = 0; round < 1000; round += 1) walk.note(0, 3);
  await sleep(30);
  assert.deepEqual(asked, []);
});

test('a layer whose length is not known, and a store that fails, end it quietly', async () => {
  const unknown = ground({ isKnown: false });
  for (let row = 0; row < 16; row += 1) unknown.walk.note(0, row);
  await sleep(30);
  assert.deepEqual(unknown.asked, []);
  const failing = ground({ failure: new Error('no line') });
  for (let row = 0; row < 16; row += 1) failing.walk.note(0, row);
  await sleep(30);
  assert.deepEqual(failing.asked, ['low 0-8']);
});
