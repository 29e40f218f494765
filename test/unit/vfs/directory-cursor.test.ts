import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { nameFromText, nameToText } from '../../../src/oci/name.js';
import { DirectoryCursor } from '../../../src/vfs/directory-cursor.js';
import type { ListedChild, StreamStart } from '../../../src/vfs/node.js';

const child = (text: string): ListedChild => ({ name: nameFromText(text), type: 'directory' });
const streamed = (at: number): string => `s${String(at).padStart(6, '0')}`;
const signal = new AbortController().signal;

/** A stream of `total` names that can be entered anywhere, and counts how often it was started. */
function source(total: number, faults: Set<number> = new Set()) {
  const starts: (string | undefined)[] = [];
  const stream = async function* ({ last }: StreamStart) {
    const name = last === undefined ? undefined : nameToText(last);
    starts.push(name);
    for (let at = name === undefined ? 0 : Number(name.slice(1)) + 1; at < total; at += 1) {
      if (faults.delete(at)) throw new ImgfsError('unavailable', 'scripted');
      yield child(streamed(at));
    }
  };
  return { stream, starts };
}

test('any cookie at any time gives what a list would', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 12_000 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 13_000 }), fc.integer({ min: 1, max: 3000 })), {
        maxLength: 6,
      }),
      async (held, total, reads) => {
        const names = [...Array(held).keys()].map((at) => `h${at}`);
        const all = [...names, ...[...Array(total).keys()].map(streamed)];
        const cursor = new DirectoryCursor({
          children: names.map(child),
          ...source(total),
          immutable: false,
        });
        for (const [offset, limit] of reads) {
          const page = await cursor.page(offset, limit, signal);
          assert.deepEqual(
            page.children.map(({ name }) => nameToText(name)),
            all.slice(offset, offset + limit),
          );
          if (page.end) assert.ok(offset + page.children.length >= all.length);
          else assert.ok(offset + page.children.length <= all.length);
        }
      },
    ),
    { numRuns: 8 },
  );
});

test('a stream that breaks goes on behind the last name that came', async () => {
  const { stream, starts } = source(10_000, new Set([5000, 5001]));
  const cursor = new DirectoryCursor({ children: [], stream, immutable: false });
  await assert.rejects(cursor.page(4990, 100, signal), { code: 'unavailable' });
  await assert.rejects(cursor.page(4990, 100, signal), { code: 'unavailable' });
  const page = await cursor.page(4990, 100, signal);
  assert.deepEqual(
    page.children.map(({ name }) => nameToText(name)),
    [...Array(100).keys()].map((at) => streamed(4990 + at)),
  );
  assert.deepEqual(starts, [undefined, streamed(4999), streamed(5000)]);
});

test('going back far starts again in the middle, not at the beginning', async () => {
  const { stream, starts } = source(20_000);
  const cursor = new DirectoryCursor({ children: [], stream, immutable: false });
  await cursor.page(18_000, 10, signal);
  await cursor.page(9000, 10, signal);
  assert.equal(starts.length, 2);
  assert.ok(Number(starts[1]?.slice(1)) > 4000);
});

test('who gives up waiting loses nothing', async () => {
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const stream = async function* () {
    yield child('a');
    await gate;
    yield child('b');
  };
  const cursor = new DirectoryCursor({ children: [], stream, immutable: false });
  const controller = new AbortController();
  const waiting = cursor.page(0, 10, controller.signal);
  await new Promise(setImmediate);
  controller.abort();
  await assert.rejects(waiting, { code: 'interrupted' });
  go();
  const page = await cursor.page(0, 10, signal);
  assert.deepEqual(
    page.children.map(({ name }) => name),
    ['a', 'b'],
  );
  assert.equal(page.end, true);
});

test('a closed cursor stops its stream', async () => {
  let stopped: AbortSignal | undefined;
  const stream = async function* (start: StreamStart) {
    stopped = start.signal;
    for (let at = 0; ; at += 1) yield child(streamed(at));
  };
  const cursor = new DirectoryCursor({ children: [], stream, immutable: false });
  await cursor.page(0, 10, signal);
  cursor.close();
  assert.equal(stopped?.aborted, true);
});
