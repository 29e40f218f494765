import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

/** Where such tests are: without a mount, and what only a mount shows. */
const folders = [new URL('.', import.meta.url), new URL('../../mount/', import.meta.url)];
const document = new URL('../../../../docs/SEMANTICS.md', import.meta.url);

const unique = (found: IterableIterator<RegExpMatchArray>): string[] =>
  [...new Set([...found].map((match) => match[1] ?? ''))].toSorted((a, b) => a.localeCompare(b));

test('every sentence of docs/SEMANTICS.md is a test, and every such test a sentence', () => {
  const sentences = unique(readFileSync(document, 'utf8').matchAll(/^- \*\*([A-Z]\d+)\*\* /gm));
  const sources = folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith('.test.js'))
      .map((name) => readFileSync(new URL(name, folder), 'utf8')),
  );
  const tests = unique(sources.join('\n').matchAll(/\btest\(\s*['"`]([A-Z]\d+) /g));
  assert.ok(sentences.length > 50);
  assert.deepEqual(tests, sentences);
});
