import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as undici from 'undici';
import * as dispatchers from '../../../../../src/store/registry/http/dispatchers.js';

test('the agent taken from its own file is that of the main file of undici', () => {
  assert.equal(dispatchers.Agent, undici.Agent);
  assert.equal(dispatchers.errors.ConnectTimeoutError, undici.errors.ConnectTimeoutError);
});
