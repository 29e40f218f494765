import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { NameStream } from '../../../../src/store/registry/name-stream.js';

function read(
  text: string,
  pieceBytes: number,
  key = 'tags',
): { names: string[]; done: boolean; found: boolean } {
  const stream = new NameStream(key);
  const bytes = Buffer.from(text);
  const names: string[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes)
    names.push(...stream.push(bytes.subarray(at, at + pieceBytes)));
  return { names, done: stream.done, found: stream.found };
}

test('agrees with JSON.parse, however the page is cut', () => {
  const page = fc.record({
    before: fc.jsonValue({ maxDepth: 3 }),
    tags: fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.constant(null), fc.jsonValue({ maxDepth: 2 }))),
    after: fc.jsonValue({ maxDepth: 3 }),
  });
  fc.assert(
    fc.property(page, fc.integer({ min: 1, max: 50 }), fc.boolean(), (value, pieceBytes, pretty) => {
      const text = JSON.stringify(value, null, pretty ? 2 : 0);
      const wanted = (JSON.parse(text) as { tags: unknown[] }).tags.filter(
        (name) => typeof name === 'string',
      );
      assert.deepEqual(read(text, pieceBytes), { names: wanted, done: true, found: true });
    }),
    { numRuns: 120 },
  );
});

test('other keys, and the same key deeper down, are stepped over', () => {
  assert.deepEqual(read('{"x":{"tags":["no"]},"tags":["yes"],"y":[{"tags":["no"]}]}', 3).names, ['yes']);
  assert.deepEqual(read('{"tags":null}', 3), { names: [], done: true, found: true });
  assert.deepEqual(read('{"name":"tags"}', 3), { names: [], done: true, found: false });
  assert.deepEqual(read('{"name":"tags","other":["no"]}', 1).names, []);
});

test('what is no page is refused or left undone', () => {
  for (const text of [
    '[]',
    'null',
    '"tags"',
    '{}}',
    '{]',
    `{"a":${'['.repeat(40)}`,
    `{"tags":["${'x'.repeat(5000)}`,
  ]) {
    assert.throws(() => read(text, 7), SyntaxError, text.slice(0, 20));
  }
  assert.equal(read('{"tags":["a"', 4).done, false);
});

test('a million names take no long step', () => {
  const chunk = Buffer.from(`${Array.from({ length: 4000 }, (_, at) => `"release-${at}"`).join(',')},`);
  const stream = new NameStream('tags');
  stream.push(Buffer.from('{"tags":['));
  let count = 0;
  for (let at = 0; at < 250; at += 1) count += stream.push(chunk).length;
  assert.equal(count, 1_000_000);
});
