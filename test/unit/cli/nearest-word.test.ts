/** Words that are nearly right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestWord } from '../../../src/cli/nearest-word.js';
import { verbs } from '../../../src/cli/verbs.js';

test('the nearest word, and none where nothing is near', () => {
  const names = verbs.map(({ name }) => name);
  for (const [typed, meant] of [
    ['inspcet', 'inspect'],
    ['mont', 'mount'],
    ['MOUNT', 'mount'],
    ['unmount', 'umount'],
    ['sl', 'ls'],
    ['completions', 'completion'],
    ['frobnicate', undefined],
    ['x', undefined],
    ['', undefined],
    ['a'.repeat(1_000_000), undefined],
  ] as const)
    assert.equal(nearestWord(typed, names), meant, typed.slice(0, 20));
});
