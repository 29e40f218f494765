import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TurnGate } from '../../../src/fuse/native/turn-gate.js';

test('a turn gate lets so many pass in each turn, in order', async () => {
  const gate = new TurnGate(3);
  const passed: number[] = [];
  const all = Promise.all(
    Array.from({ length: 8 }, async (_, number) => {
      await gate.pass();
      passed.push(number);
    }),
  );
  const after: number[] = [];
  for (let turn = 0; turn < 4; turn += 1) {
    await nextTurn();
    after.push(passed.length);
  }
  await all;
  assert.deepEqual(passed, [0, 1, 2, 3, 4, 5, 6, 7]);
  // The first three pass before any turn ends.
  assert.ok(after[0] === 3 || after[0] === 6, `${after[0]}`);
  assert.ok(
    after.every((count, turn) => count <= 3 * (turn + 2)),
    after.join(' '),
  );
});

test('who comes alone does not wait for a turn', async () => {
  const gate = new TurnGate(1);
  let turns = 0;
  const count = (): void => {
    turns += 1;
  };
  setImmediate(count);
  await gate.pass();
  assert.equal(turns, 0);
  await nextTurn();
  await gate.pass();
  assert.equal(turns, 1);
});
