/** The store suite is red over every broken store. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../support/child.js';
import { breaks } from './broken-stores.js';

const program = fileURLToPath(new URL('broken-stores.js', import.meta.url));

describe('teeth of the store suite', { concurrency: 3 }, () => {
  for (const name of Object.keys(breaks)) {
    void test(`the suite finds a store that ${name}`, { timeout: 60_000 }, async () => {
      const env = { BROKEN_STORE: name, NODE_TEST_CONTEXT: undefined };
      const result = await run(process.execPath, [program], { env });
      assert.equal(result.code, 1, result.stdout);
      assert.match(result.stdout, /^# fail [1-9]/m);
    });
  }
});

void test('and nothing in a store that is whole', { timeout: 60_000 }, async () => {
  const whole = fileURLToPath(new URL('memory-store.test.js', import.meta.url));
  const result = await run(process.execPath, [whole], { env: { NODE_TEST_CONTEXT: undefined } });
  assert.equal(result.code, 0, result.stdout);
});
