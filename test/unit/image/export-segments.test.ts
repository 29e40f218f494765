/** What archives made while they are read are made of: blobs where they lie in the cache, and bytes between them. */
import assert from 'node:assert/strict';
import { readSync } from 'node:fs';
import { test } from 'node:test';
import type { BlobSource } from '../../../src/content/content.js';
import type { FileSegment } from '../../../src/content/file-segment.js';
import { openImageArchive } from '../../../src/image/export/image-archive.js';
import type { Image } from '../../../src/image/image.js';
import { planTar, type MemberBlob } from '../../../src/store/archive/write/tar-plan.js';
import { copyBlob, patterned } from '../../conformance/content-suite.js';
import { ScriptedStore } from '../../support/scripted-store.js';
import { cacheIn } from '../content/cache-in-test.js';

const timeout = 20_000;

/** The bytes of segments, read while their descriptors are open. */
function bytesOf(segments: readonly FileSegment[]): Buffer {
  return Buffer.concat(
    segments.map((segment) => {
      if ('bytes' in segment) return segment.bytes;
      const buffer = Buffer.alloc(segment.end - segment.start);
      assert.equal(readSync(segment.fd, buffer, 0, buffer.length, segment.offset), buffer.length);
      return buffer;
    }),
  );
}

test('segments of an archive are its bytes; what is not cached has none', { timeout }, async (t) => {
  const cache = await cacheIn(t);
  const store = new ScriptedStore();
  // More than are kept open for one reader.
  const sources = [1, 2, 3, 4, 5, 6, 7].map((seed) => store.add(patterned(100_001, seed)));
  const blobs = sources.map(({ descriptor: { digest, size } }): MemberBlob => ({
    digest,
    size,
    open: () => assert.fail('blobs are had through the cache'),
  }));
  const byDigest = new Map<string, BlobSource>(sources.map((source) => [source.descriptor.digest, source]));
  const image = { source: ({ digest }) => byDigest.get(digest) } as Pick<Image, 'source'> as Image;
  const plan = await planTar(blobs.map((content, at) => ({ name: `blobs/${at}`, content })));
  const archive = openImageArchive(plan, image, cache);
  t.after(() => archive.close());
  const taken: { segments: readonly FileSegment[]; bytes: Buffer }[] = [];
  const cover = async (start: number, end: number): Promise<number> => {
    await archive.cover?.({ start, end }, (segments) => taken.push({ segments, bytes: bytesOf(segments) }));
    return taken.length;
  };

  assert.equal(await cover(0, 512), 1, 'a header is at hand');
  assert.equal(await cover(0, 513), 1, 'a blob that nobody has read is not');
  for (const source of sources.slice(0, -1)) await copyBlob(cache, source);
  const cached = plan.size - 1024 - 512 - 100_001 - 100_000;
  assert.equal(await cover(0, cached), 2);
  assert.equal(await cover(0, plan.size), 2, 'the last one is not there');
  const expected = Buffer.alloc(plan.size);
  assert.equal(await archive.read(expected, 0), plan.size);
  assert.equal(await cover(0, plan.size), 3, 'it was read');
  for (const { segments, bytes } of taken) {
    const [first, last] = [segments[0], segments.at(-1)];
    assert.ok(bytes.equals(expected.subarray(first?.start, last?.end)));
    for (const [at, { start }] of segments.entries())
      assert.equal(start, at === 0 ? 0 : segments[at - 1]?.end);
  }
  // From the middle of a blob: all of that blob, so that a reader who goes on has it told once.
  assert.equal(await cover(50_000, 50_001), 4);
  assert.deepEqual(
    taken[3]?.segments.map(({ start, end }) => [start, end]),
    [[512, 100_513]],
  );
});
