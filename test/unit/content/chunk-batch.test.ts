import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkBatch } from '../../../src/content/chunk-batch.js';

const timeout = 5000;

test('chunks arrive in order, gathered', { timeout }, async () => {
  const batches: [number, number][] = [];
  const seen: number[] = [];
  const batch = new ChunkBatch(1000, async (position, chunks, bytes) => {
    batches.push([position, bytes]);
    for (const chunk of chunks) seen.push(chunk[0] ?? -1);
    await new Promise((resolve) => setTimeout(resolve, 1));
  });
  for (let n = 0; n < 100; n += 1) await batch.add(Uint8Array.of(n, 0));
  await batch.end();
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, n) => n),
  );
  assert.ok(batches.length < 10, `${batches.length} batches`);
  let position = 1000;
  for (const [start, bytes] of batches) {
    assert.equal(start, position);
    position += bytes;
  }
  assert.equal(position, 1200);
});

test('a stream that is faster than the disk waits', { timeout }, async () => {
  let release: (() => void) | undefined;
  let written = 0;
  const batch = new ChunkBatch(0, async (_position, _chunks, bytes) => {
    await new Promise<void>((resolve) => (release = resolve));
    written += bytes;
  });
  let added = 0;
  let waiting = false;
  const feeding = (async () => {
    for (; added < 256; added += 1) {
      waiting = true;
      await batch.add(new Uint8Array(64 << 10));
      waiting = false;
    }
    await batch.end();
  })();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(waiting);
  assert.ok(added <= 33, `${added} chunks of 64 KiB in memory`);
  const timer = setInterval(() => release?.(), 1);
  await feeding;
  clearInterval(timer);
  assert.equal(written, 256 * (64 << 10));
});

test('a failed write ends the stream', { timeout }, async () => {
  const batch = new ChunkBatch(0, () => Promise.reject(new Error('no')));
  void batch.add(new Uint8Array(1));
  await assert.rejects(batch.end(), /no/u);
  assert.throws(() => batch.add(new Uint8Array(1)), /no/u);
});
