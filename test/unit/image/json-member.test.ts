import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { findJsonMember } from '../../../src/image/json-member.js';

const member = async (text: string, key = 'predicate'): Promise<string | undefined> => {
  const bytes = Buffer.from(text);
  const range = await findJsonMember(bytes, key);
  return range === undefined ? undefined : bytes.subarray(range.start, range.end).toString();
};

test('the member found is the one that parsing finds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.constantFrom('predicate', 'subject', 'a"b', 'predicate ', ''), fc.jsonValue()),
      fc.constantFrom(undefined, 1, '\t'),
      async (document, indent) => {
        const found = await member(JSON.stringify(document, undefined, indent));
        if (!Object.hasOwn(document, 'predicate')) assert.equal(found, undefined);
        else assert.deepEqual(JSON.parse(found ?? 'null'), JSON.parse(JSON.stringify(document['predicate'])));
      },
    ),
  );
});

test('a member inside, a value of that text and two of them are not it', async () => {
  assert.equal(await member('{"a":{"predicate":1},"b":["predicate",2],"c":"predicate"}'), undefined);
  assert.equal(await member('{"predicate":1,"predicate":2}'), undefined);
  assert.equal(await member('{"predicate" : [1, 2] }'), '[1, 2]');
  assert.equal(await member('[{"predicate":1}]'), undefined);
  assert.equal(await member('{"predicate":1'), undefined);
  assert.equal(await member(''), undefined);
});

test('a large document is passed in turns, and can be given up', async () => {
  const filler = 'x'.repeat(3_000_000);
  assert.equal(await member(JSON.stringify({ filler, predicate: [filler.length] })), '[3000000]');
  const controller = new AbortController();
  const search = findJsonMember(Buffer.from(JSON.stringify({ filler })), 'predicate', {
    signal: controller.signal,
  });
  controller.abort();
  await assert.rejects(search, { code: 'interrupted' });
});
