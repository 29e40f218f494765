/** The documentation of the library builds, and every export of src/index.ts and every method has a docstring. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../scripts/api-docs.mjs', import.meta.url));

test('no export of the library and no method lacks a docstring', { timeout: 30_000 }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.ok(Number(stdout.split(' ')[0]) > 500, 'it looked at something');
});
