import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseChallenges } from '../../../../../src/store/registry/auth/challenge.js';

function plain(values: readonly string[]): [string, Record<string, string>][] {
  return parseChallenges(values).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

test('challenges in all their forms', () => {
  assert.deepEqual(plain(['Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"']), [
    ['bearer', { realm: 'https://a/t', service: 's', scope: 'repository:x:pull,push' }],
  ]);
  assert.deepEqual(plain(['Basic realm="a", Bearer realm="b" , service=s']), [
    ['basic', { realm: 'a' }],
    ['bearer', { realm: 'b', service: 's' }],
  ]);
  assert.deepEqual(plain(['Negotiate', 'Basic realm="x"']), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
  ]);
  assert.deepEqual(plain(['Negotiate, Basic realm="x"']), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
  ]);
  assert.deepEqual(plain(['Negotiate YIIabc/+==, Basic realm="x"']).at(-1), ['basic', { realm: 'x' }]);
  assert.deepEqual(plain(['BEARER REALM = "q\\"uo\\\\te"']), [['bearer', { realm: 'q"uo\\te' }]]);
  assert.deepEqual(plain(['Bearer realm=https://a:5000/t?x=1,service=s']), [
    ['bearer', { realm: 'https://a:5000/t?x=1', service: 's' }],
  ]);
  assert.deepEqual(plain(['Bearer realm="a",error=,scope=""']), [
    ['bearer', { realm: 'a', error: '', scope: '' }],
  ]);
  assert.deepEqual(plain(['Bearer realm="first",realm="second"']), [['bearer', { realm: 'first' }]]);
  assert.deepEqual(plain(['Bearer realm="open']), [['bearer', { realm: 'open' }]]);
  assert.deepEqual(plain(['', ',,,', '"']), []);
});

test('nothing makes the parser throw, hang or grow', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 200 }), { maxLength: 5 }), (values) => {
      const found = parseChallenges(values);
      assert.ok(found.length <= 16 * 5);
      for (const { parameters } of found) assert.ok(parameters.size <= 32);
    }),
  );
  const startedAt = Date.now();
  parseChallenges([`Bearer ${'a="'.repeat(8000)}`, `Bearer ${'a=b,'.repeat(8000)}`, 'x '.repeat(16_000)]);
  assert.ok(Date.now() - startedAt < 1000);
});

test('what is written can be read', () => {
  const value = fc.string({ maxLength: 40 }).filter((text) => !/[\r\n]/.test(text));
  fc.assert(
    fc.property(value, value, (realm, scope) => {
      const quote = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
      const header = `Basic realm="x", Bearer realm=${quote(realm)},scope=${quote(scope)}`;
      assert.deepEqual(plain([header])[1], ['bearer', { realm, scope }]);
    }),
  );
});
