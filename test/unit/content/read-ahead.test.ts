/** Which reads count as going on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longWindowBytes, maxWindowBytes, ReadAhead } from '../../../src/content/read-ahead.js';

const mebibyte = 1 << 20;

test('reads that a kernel sends in another order do not end a streak', () => {
  const readAhead = new ReadAhead();
  for (let at = 0; at < 64; at += 4) {
    for (const part of [1, 0, 3, 2]) {
      const position = (at + part) * mebibyte;
      if (at + part > 1) assert.equal(readAhead.note(position, position + mebibyte), true);
      else readAhead.note(position, position + mebibyte);
      readAhead.issued((at + 8) * mebibyte);
    }
  }
  assert.equal(readAhead.nextWindow(), longWindowBytes);
});

test('a jump ends it, forwards and backwards', () => {
  for (const target of [60 * mebibyte, 2 * mebibyte]) {
    const readAhead = new ReadAhead();
    for (let at = 0; at < 40; at += 1) readAhead.note(at * mebibyte, (at + 1) * mebibyte);
    assert.equal(readAhead.note(target, target + 4096), false);
    assert.equal(readAhead.nextWindow(), 256 << 10);
    assert.equal(readAhead.aheadUntil, readAhead.position);
  }
});

test('who says that reading goes on begins with long windows, and is fetched ahead at once', () => {
  const readAhead = new ReadAhead();
  readAhead.note(0, 4096, true);
  assert.equal(readAhead.nextWindow(), maxWindowBytes);
  assert.equal(readAhead.aheadUntil, 4096 + maxWindowBytes);
  readAhead.note(64 * mebibyte, 65 * mebibyte);
  assert.equal(readAhead.nextWindow(), 256 << 10);
});
