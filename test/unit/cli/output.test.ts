import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMode } from '../../../src/cli/commands/ls.js';
import { formatBytes, formatTable, parseBytes, parseDuration } from '../../../src/cli/output.js';

test('sizes are read in powers of 1024', () => {
  assert.equal(parseBytes('10GiB'), 10 * 2 ** 30);
  assert.equal(parseBytes('500M'), 500 * 2 ** 20);
  assert.equal(parseBytes('1.5k'), 1536);
  assert.equal(parseBytes('4096'), 4096);
  for (const text of ['', 'much', '-1', '1X', '1e9', '99999999999999T'])
    assert.equal(parseBytes(text), undefined, text);
});

test('durations have units, and a bare number is seconds', () => {
  assert.equal(parseDuration('250ms'), 250);
  assert.equal(parseDuration('60'), 60_000);
  assert.equal(parseDuration('5m'), 300_000);
  assert.equal(parseDuration('0'), 0);
  for (const text of ['', 'soon', '-1s', '1w']) assert.equal(parseDuration(text), undefined, text);
});

test('bytes are shown with one digit behind the point', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(1536), '1.5 KiB');
  assert.equal(formatBytes(10 * 2 ** 30), '10.0 GiB');
});

test('columns are as wide as their widest cell', () => {
  assert.deepEqual(formatTable([['a', 'bb'], ['ccc', 'd']]), ['a    bb', 'ccc  d']); // prettier-ignore
});

test('modes look as in ls(1)', () => {
  assert.equal(formatMode({ type: 'file', mode: 0o644 }), '-rw-r--r--');
  assert.equal(formatMode({ type: 'directory', mode: 0o1777 }), 'drwxrwxrwt');
  assert.equal(formatMode({ type: 'file', mode: 0o4755 }), '-rwsr-xr-x');
  assert.equal(formatMode({ type: 'file', mode: 0o2644 }), '-rw-r-Sr--');
  assert.equal(formatMode({ type: 'symlink', mode: 0o777 }), 'lrwxrwxrwx');
});
