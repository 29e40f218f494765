import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseToken } from '../../../../../src/store/registry/auth/token.js';

const parse = (value: unknown, date?: string): { value: string; expiresAt: number } =>
  parseToken(Buffer.from(JSON.stringify(value)), 1_000_000, date, 'r.example');

test('token or access_token, and a lifetime of at least a minute', () => {
  assert.equal(parse({ token: 'a', access_token: 'b' }).value, 'a');
  assert.equal(parse({ access_token: 'b' }).value, 'b');
  assert.equal(parse({ token: '', access_token: 'b' }).value, 'b');
  assert.equal(parse({ token: 'a' }).expiresAt, 1_000_000 + 54_000);
  assert.equal(parse({ token: 'a', expires_in: 1 }).expiresAt, 1_000_000 + 54_000);
  assert.equal(parse({ token: 'a', expires_in: 300 }).expiresAt, 1_000_000 + 270_000);
  assert.equal(parse({ token: 'a', expires_in: 1e300 }).expiresAt, 1_000_000 + 86_400_000 - 30_000);
  assert.equal(parse({ token: 'a', expires_in: 'soon' }).expiresAt, 1_000_000 + 54_000);
});

test('the age of a token is taken from the server’s own clock', () => {
  const issued = { token: 'a', expires_in: 300, issued_at: '2030-01-01T00:00:00Z' };
  assert.equal(parse(issued, 'Tue, 01 Jan 2030 00:01:00 GMT').expiresAt, 1_000_000 + 270_000 - 60_000);
  assert.equal(parse(issued).expiresAt, 1_000_000 + 270_000);
  assert.equal(parse({ ...issued, issued_at: 'nonsense' }, 'nonsense').expiresAt, 1_000_000 + 270_000);
});

test('a token that cannot stand in a header is none', () => {
  for (const token of ['a b', 'a\r\nX: y', 'ü', 'x'.repeat(40_000), 7, null]) {
    assert.throws(() => parse({ token }), /no usable token/);
  }
  assert.throws(() => parse('just text'), /no usable token/);
  assert.throws(() => parseToken(Buffer.from('<html>'), 0, undefined, 'r'), /not JSON/);
});
