import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { TagResolver, type MovedTag } from '../../../src/image/tag-resolver.js';
import { CountingStore } from '../../support/counting-store.js';
import { sampleImage } from '../../support/image-builder.js';
import { createMemoryContent } from '../../support/memory-content.js';

const image = await sampleImage({ payloadBytes: 100 });
const other = await sampleImage({ seed: 2, payloadBytes: 100 });
const target = { repository: 'app', tag: 'v1' };

function setup() {
  const store = new CountingStore();
  store.add('app', image, 'v1');
  const content = createMemoryContent();
  let time = 1_000_000;
  const tags = new TagResolver({ content, tagTtlMs: 60_000, negativeTtlMs: 5000, now: () => time });
  const moved: MovedTag[] = [];
  tags.onMoved((event) => moved.push(event));
  return { store, content, tags, moved, advance: (by: number) => (time += by) };
}

const outage = (): never => {
  throw new ImgfsError('unavailable', 'scripted');
};

test('a tag is asked once in its time to live, by any number of callers', async () => {
  const { store, tags, advance } = setup();
  await Promise.all(Array.from({ length: 50 }, () => tags.resolve(store, target)));
  assert.deepEqual(store.taken(), ['resolve app:v1']);
  assert.equal(tags.peek(store, target)?.descriptor.digest, image.descriptor.digest);
  advance(60_000);
  assert.equal(tags.peek(store, target), undefined);
  await tags.resolve(store, target);
  assert.deepEqual(store.taken(), ['resolve app:v1']);
});

test('a digest whose bytes came along is asked once for ever', async () => {
  const { store, tags, advance } = setup();
  const byDigest = { repository: 'app', digest: image.descriptor.digest };
  const bytes = image.manifests.at(-1)?.bytes ?? new Uint8Array(0);
  const resolve = store.resolve.bind(store);
  store.resolve = async (...words) => ({ ...(await resolve(...words)), bytes });
  await tags.resolve(store, byDigest);
  advance(1e12);
  await tags.resolve(store, byDigest);
  assert.equal(store.taken().length, 1);
});

test('the mere word of a store about a digest is believed as long as a tag', async () => {
  const { store, tags, advance } = setup();
  const byDigest = { repository: 'app', digest: image.descriptor.digest };
  await tags.resolve(store, byDigest);
  await tags.resolve(store, byDigest);
  assert.equal(store.taken().length, 1);
  advance(60_000);
  await tags.resolve(store, byDigest);
  assert.equal(store.taken().length, 1);
});

test('a moved tag and a tag that went are told', async () => {
  const { store, tags, moved, advance } = setup();
  await tags.resolve(store, target);
  store.add('app', other, 'v1');
  advance(60_000);
  await tags.resolve(store, target);
  store.repository('app').tags.delete('v1');
  advance(60_000);
  await assert.rejects(tags.resolve(store, target), { code: 'not-found' });
  assert.deepEqual(
    moved.map(({ from, to }) => [from, to]),
    [
      [image.descriptor.digest, other.descriptor.digest],
      [other.descriptor.digest, undefined],
    ],
  );
});

test('the last known answer serves when the store cannot be reached, and is tried again soon', async () => {
  const { store, tags, advance } = setup();
  const first = await tags.resolve(store, target);
  advance(60_000);
  store.before = outage;
  const stale = await tags.resolve(store, target);
  assert.deepEqual([stale.stale, stale.descriptor], [true, first.descriptor]);
  store.before = () => undefined;
  advance(15_000);
  assert.equal((await tags.resolve(store, target)).stale, false);
});

for (const code of ['not-found', 'unauthorized', 'denied', 'rate-limited', 'protocol'] as const) {
  test(`no last known answer after ${code}`, async () => {
    const { store, tags, advance } = setup();
    await tags.resolve(store, target);
    advance(60_000);
    store.before = () => {
      throw new ImgfsError(code, 'scripted');
    };
    await assert.rejects(tags.resolve(store, target), { code });
  });
}

test('an outage is not remembered, a true "not found" is', async () => {
  const { store, tags, advance } = setup();
  const missing = { repository: 'app', tag: 'v9' };
  store.before = outage;
  await assert.rejects(tags.resolve(store, missing), { code: 'unavailable' });
  store.before = () => undefined;
  await assert.rejects(tags.resolve(store, missing), { code: 'not-found' });
  store.taken();
  await assert.rejects(tags.resolve(store, missing), { code: 'not-found' });
  assert.deepEqual(store.taken(), []);
  advance(5000);
  await assert.rejects(tags.resolve(store, missing), { code: 'not-found' });
  assert.equal(store.taken().length, 1);
});

test('offline, a cached manifest is found by its digest', async () => {
  const { store, content, tags } = setup();
  store.before = outage;
  const byDigest = { repository: 'app', digest: image.descriptor.digest };
  await assert.rejects(tags.resolve(store, byDigest), { code: 'unavailable' });
  await content.put(image.descriptor, image.manifests[0]?.bytes ?? Buffer.alloc(0));
  const { descriptor, stale } = await tags.resolve(store, byDigest);
  assert.deepEqual([descriptor, stale], [image.descriptor, true]);
});

test('bytes that came along and are not what the digest says are an error', async () => {
  const { store, tags } = setup();
  const resolve = store.resolve.bind(store);
  store.resolve = async (...words) => ({ ...(await resolve(...words)), bytes: Buffer.from('{}') });
  await assert.rejects(tags.resolve(store, target), { code: 'integrity' });
});

test('work that nobody waits for is cancelled, and begins anew for the next', async () => {
  const { store, tags } = setup();
  let cancelled = false;
  store.before = (_, signal) =>
    new Promise<void>((_resolve, reject) => {
      signal?.addEventListener('abort', () => {
        cancelled = true;
        reject(new ImgfsError('interrupted', 'scripted'));
      });
    });
  const controller = new AbortController();
  const waiting = tags.resolve(store, target, { signal: controller.signal });
  await new Promise(setImmediate);
  controller.abort();
  await assert.rejects(waiting, { code: 'interrupted' });
  await new Promise(setImmediate);
  assert.equal(cancelled, true);
  store.before = () => undefined;
  await tags.resolve(store, target);
});
