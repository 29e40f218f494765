/**
 * What every content cache does. Run with a factory; each test has a cache and a store of its own.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import type { BlobSource, ContentCache } from '../../src/content/content.js';
import { ImgfsError, isImgfsError } from '../../src/errors/imgfs-error.js';
import { digestOf } from '../../src/oci/digest.js';
import { createPrng } from '../support/prng.js';
import { ScriptedStore } from '../support/scripted-store.js';

export interface ContentCacheFactory {
  /** A cache in a directory of its own, closed and removed with the test. */
  open(t: TestContext, options?: { readonly verify?: 'default' | 'strict' }): Promise<ContentCache>;
}

const timeout = 20_000;
const mebi = 1 << 20;

export const patterned = (length: number, seed = 1): Uint8Array => createPrng(seed).bytes(length);

/** Read a range in one call. */
export async function readRange(
  cache: ContentCache,
  source: BlobSource,
  start: number,
  length: number,
): Promise<Uint8Array> {
  const reader = await cache.open(source);
  try {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, await reader.read(bytes, 0, length, start));
  } finally {
    await reader.close();
  }
}

/** Read as `cp` does: from the beginning to the end, in steps. */
export async function copyBlob(
  cache: ContentCache,
  source: BlobSource,
  step = 128 << 10,
): Promise<Uint8Array> {
  const reader = await cache.open(source);
  try {
    const bytes = new Uint8Array(reader.size);
    let at = 0;
    while (at < bytes.length) {
      const count = await reader.read(bytes, at, Math.min(step, bytes.length - at), at);
      assert.ok(count > 0, 'only the end of the blob gives nothing');
      at += count;
    }
    return bytes;
  } finally {
    await reader.close();
  }
}

/** `AbortSignal.timeout` does not keep the process alive; a test that waits for nothing else needs that. */
function deadline(ms: number): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new DOMException('too late', 'TimeoutError')), ms);
  return controller.signal;
}

const rejectsWith = (code: string) => (error: unknown) => isImgfsError(error) && error.code === code;

export function contentSuite(name: string, factory: ContentCacheFactory): void {
  const check = (title: string, run: (t: TestContext) => Promise<void>): void => {
    test(`${name}: ${title}`, { timeout }, run);
  };

  check('a blob is read whole, and the second time without a request', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const blob = patterned(3 * mebi + 123);
    const source = store.add(blob);
    assert.deepEqual(await copyBlob(cache, source), blob);
    const requests = store.requests.length;
    assert.ok(store.sent >= blob.length);
    assert.deepEqual(await copyBlob(cache, source), blob);
    assert.equal(store.requests.length, requests);
    const { digest } = source.descriptor;
    assert.deepEqual(await cache.status(digest), {
      state: 'complete',
      presentBytes: blob.length,
      size: blob.length,
      verified: true,
    });
  });

  check('opening costs no request', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const reader = await cache.open(store.add(patterned(mebi)));
    assert.equal(reader.size, mebi);
    assert.equal(store.requests.length, 0);
    await reader.close();
  });

  check('4 KiB from the middle of a large blob move at most 1 MiB', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const blob = patterned(16 * mebi);
    const source = store.add(blob);
    const at = 8 * mebi + 4096;
    assert.deepEqual(await readRange(cache, source, at, 4096), blob.subarray(at, at + 4096));
    assert.ok(store.sent <= mebi, `${store.sent} bytes sent`);
    assert.equal(store.requests.length, 1);
    const status = await cache.status(source.descriptor.digest);
    assert.equal(status.state, 'partial');
    assert.equal(status.verified, false);
  });

  check('any reads agree with the bytes, and no byte is fetched twice', async (t) => {
    const cache = await factory.open(t);
    const size = 600_000;
    const reads = fc.array(fc.tuple(fc.nat(size + 10), fc.integer({ min: 1, max: 200_000 })), {
      minLength: 1,
      maxLength: 12,
    });
    let seed = 100;
    await fc.assert(
      fc.asyncProperty(reads, fc.boolean(), async (list, parallel) => {
        const store = new ScriptedStore({ chunkBytes: 10_000 });
        seed += 1;
        const blob = patterned(size, seed);
        const source = store.add(blob);
        const reader = await cache.open(source);
        const one = async ([start, length]: readonly [number, number]): Promise<void> => {
          const buffer = new Uint8Array(length + 2).fill(7);
          const count = await reader.read(buffer, 1, length, start);
          const expected = blob.subarray(start, start + length);
          assert.equal(count, expected.length);
          assert.deepEqual(buffer.subarray(1, 1 + count), expected);
          assert.ok(buffer[0] === 7 && buffer.subarray(1 + count).every((byte) => byte === 7));
        };
        if (parallel) await Promise.all(list.map(one));
        else for (const each of list) await one(each);
        await reader.close();
        assert.ok(store.sent <= size, `${store.sent} bytes sent of ${size}`);
      }),
      { numRuns: 25 },
    );
  });

  check('many readers of one range share one request', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const source = store.add(patterned(64 << 10));
    await Promise.all(Array.from({ length: 20 }, () => readRange(cache, source, 1000, 5000)));
    assert.equal(store.requests.length, 1);
  });

  check('a reader that gives up does not stop the others', async (t) => {
    const cache = await factory.open(t);
    let go: (() => void) | undefined;
    const waitFor = new Promise<void>((resolve) => (go = resolve));
    const store = new ScriptedStore({ fault: () => ({ waitFor }) });
    const blob = patterned(200_000);
    const reader = await cache.open(store.add(blob));
    const impatient = new AbortController();
    const first = reader.read(new Uint8Array(10), 0, 10, 0, { signal: impatient.signal });
    const bytes = new Uint8Array(1000);
    const second = reader.read(bytes, 0, 1000, 0);
    setTimeout(() => impatient.abort(), 5);
    await assert.rejects(first, rejectsWith('interrupted'));
    go?.();
    assert.equal(await second, 1000);
    assert.deepEqual(bytes, blob.subarray(0, 1000));
    assert.equal(store.requests.length, 1);
    await reader.close();
  });

  check('a reader that gives up alone stops its transfer', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({ fault: () => ({ hang: true }) });
    const reader = await cache.open(store.add(patterned(200_000)));
    const signal = deadline(20);
    await assert.rejects(reader.read(new Uint8Array(10), 0, 10, 0, { signal }), rejectsWith('timeout'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(store.requests[0]?.cancelled, true);
    await reader.close();
  });

  check('a body that breaks is gone on with from where it broke', async (t) => {
    const cache = await factory.open(t);
    const cutError = new ImgfsError('unavailable', 'connection reset');
    const store = new ScriptedStore({
      chunkBytes: 10_000,
      fault: (_request, number) => (number === 0 ? { cutAfter: 70_000, cutError } : undefined),
    });
    const blob = patterned(200_000);
    assert.deepEqual(await copyBlob(cache, store.add(blob)), blob);
    assert.equal(store.requests[1]?.start, 70_000);
    assert.ok(store.sent <= blob.length);
  });

  check('a server that ignores ranges sends once, and what came is kept', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({ fault: () => ({ whole: true }) });
    const blob = patterned(2 * mebi);
    const source = store.add(blob);
    const reader = await cache.open(source);
    const bytes = new Uint8Array(4096);
    await reader.read(bytes, 0, 4096, mebi);
    assert.deepEqual(bytes, blob.subarray(mebi, mebi + 4096));
    await reader.read(bytes, 0, 4096, 0);
    assert.deepEqual(bytes, blob.subarray(0, 4096));
    await reader.close();
    assert.equal(store.requests.length, 1);
  });

  check('what is there is never overwritten, whatever a later answer says', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({
      fault: (_request, number) => (number === 0 ? undefined : { whole: true, flipAt: 100 }),
    });
    const blob = patterned(3 * mebi);
    const source = store.add(blob);
    const reader = await cache.open(source);
    const bytes = new Uint8Array(4096);
    await reader.read(bytes, 0, 4096, 0);
    await reader.read(bytes, 0, 4096, 2 * mebi);
    await reader.read(bytes, 0, 4096, 0);
    assert.deepEqual(bytes, blob.subarray(0, 4096));
    await reader.close();
    assert.deepEqual(await copyBlob(cache, source), blob);
  });

  for (const [title, fault, code] of [
    ['short', { cutAfter: 100 }, 'protocol'],
    ['starting elsewhere', { claimStart: 4096 }, 'protocol'],
    ['of another size', { claimTotal: 12 }, 'integrity'],
    ['missing', { error: new ImgfsError('not-found', 'no such blob') }, 'not-found'],
    ['refused', { error: new ImgfsError('denied', 'no') }, 'denied'],
  ] as const) {
    check(`an answer that is ${title} is the error ${code}, and not for ever`, async (t) => {
      const cache = await factory.open(t);
      let broken = true;
      const store = new ScriptedStore({ fault: () => (broken ? fault : undefined) });
      const blob = patterned(300_000);
      const source = store.add(blob);
      await assert.rejects(readRange(cache, source, 0, 300_000), rejectsWith(code));
      broken = false;
      assert.deepEqual(await copyBlob(cache, source), blob);
    });
  }

  check('a body that is longer than the blob does not hurt', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({ fault: () => ({ extra: 5000 }) });
    const blob = patterned(300_000);
    const source = store.add(blob);
    const copied = await copyBlob(cache, source).catch((error: unknown) => error);
    if (copied instanceof Uint8Array) assert.deepEqual(copied, blob);
    else assert.ok(rejectsWith('integrity')(copied) || rejectsWith('protocol')(copied));
  });

  check('a copy of a damaged blob never ends well, and the blob is fetched anew', async (t) => {
    for (const size of [300_000, 2 * mebi + 5]) {
      const cache = await factory.open(t);
      const store = new ScriptedStore({
        fault: (_request, number) => (number === 0 ? { flipAt: 150_000 } : undefined),
      });
      const blob = patterned(size, size);
      const source = store.add(blob);
      await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
      assert.deepEqual(await copyBlob(cache, source), blob);
    }
  });

  check('a damaged blob of which nothing was given out yet is fetched anew unseen', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({
      fault: (_request, number) => (number === 0 ? { flipAt: 500 } : undefined),
    });
    const blob = patterned(1000);
    assert.deepEqual(await copyBlob(cache, store.add(blob)), blob);
    assert.equal(store.requests.length, 2);
  });

  check('a reader that was given bytes of a blob that failed stays failed', async (t) => {
    const cache = await factory.open(t);
    let broken = true;
    const size = mebi;
    const store = new ScriptedStore({ fault: () => (broken ? { flipAt: 10 } : undefined) });
    const source = store.add(patterned(size));
    const told: string[] = [];
    cache.onIntegrityFailure((digest) => told.push(digest));
    const early = await cache.open(source);
    const bytes = new Uint8Array(size);
    assert.equal(await early.read(bytes, 0, 1000, 0), 1000);
    await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
    assert.deepEqual(told, [source.descriptor.digest]);
    broken = false;
    await assert.rejects(early.read(bytes, 0, 1000, 2000), rejectsWith('integrity'));
    await early.close();
    assert.equal((await copyBlob(cache, source)).length, size);
  });

  check('a reader that checks its ranges goes on with the blob that is fetched anew', async (t) => {
    const cache = await factory.open(t);
    let broken = true;
    const size = mebi;
    const blob = patterned(size);
    const source = new ScriptedStore({ fault: () => (broken ? { flipAt: 10 } : undefined) }).add(blob);
    const reader = await cache.open(source, { verify: 'ranges' });
    const bytes = new Uint8Array(1000);
    assert.equal(await reader.read(bytes, 0, 1000, 0), 1000);
    assert.notDeepEqual(bytes, blob.subarray(0, 1000));
    // Somebody else reads the whole.
    await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
    broken = false;
    for (const at of [0, 2000, size - 1000]) {
      assert.equal(await reader.read(bytes, 0, 1000, at), 1000);
      assert.deepEqual(bytes, blob.subarray(at, at + 1000));
    }
    await reader.fill({ start: 0, end: size });
    assert.equal(reader.status().state, 'complete');
    await reader.close();
  });

  check('a store that gives wrong bytes twice is not asked again at once', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore({ fault: () => ({ flipAt: 0 }) });
    const source = store.add(patterned(100_000));
    await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
    await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
    const requests = store.requests.length;
    await assert.rejects(copyBlob(cache, source), rejectsWith('integrity'));
    assert.equal(store.requests.length, requests);
  });

  check(
    'strict: no byte before the whole has matched, and a bad blob is fetched anew by itself',
    async (t) => {
      const cache = await factory.open(t, { verify: 'strict' });
      const store = new ScriptedStore({
        fault: (_request, number) => (number === 0 ? { flipAt: 200_000 } : undefined),
      });
      const blob = patterned(300_000);
      const source = store.add(blob);
      const reader = await cache.open(source);
      assert.equal(reader.backing(), undefined);
      const bytes = new Uint8Array(10);
      await reader.read(bytes, 0, 10, 100);
      assert.deepEqual(bytes, blob.subarray(100, 110));
      assert.equal(reader.status().state, 'complete');
      assert.equal(store.requests.length, 2);
      await reader.close();
      const always = new ScriptedStore({ fault: () => ({ flipAt: 0 }) });
      await assert.rejects(
        readRange(cache, always.add(patterned(5000, 9)), 4000, 10),
        rejectsWith('integrity'),
      );
    },
  );

  check('fill makes a range present for a driver that reads the file itself', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const blob = patterned(4 * mebi);
    const reader = await cache.open(store.add(blob));
    await reader.fill({ start: mebi, end: mebi + 1000 });
    const backing = reader.backing();
    assert.ok(backing !== undefined);
    assert.ok(backing.present().some(({ start, end }) => start <= mebi && end >= mebi + 1000));
    assert.equal(backing.complete, false);
    await reader.fill({ start: 0, end: blob.length });
    assert.equal(backing.complete, true);
    assert.deepEqual(backing.present(), [{ start: 0, end: blob.length }]);
    assert.ok(store.sent <= blob.length);
    await reader.close();
  });

  check('readAll is verified, capped and shared', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const blob = patterned(10_000);
    const source = store.add(blob);
    await assert.rejects(cache.readAll(source, { maxBytes: 9999 }), rejectsWith('too-large'));
    assert.equal(store.requests.length, 0);
    const all = await Promise.all([1, 2, 3].map(() => cache.readAll(source, { maxBytes: 10_000 })));
    for (const bytes of all) assert.deepEqual(Buffer.from(bytes), Buffer.from(blob));
    assert.equal(store.requests.length, 1);
    const bad = new ScriptedStore({ fault: () => ({ flipAt: 1 }) });
    await assert.rejects(
      cache.readAll(bad.add(patterned(50, 3)), { maxBytes: 50 }),
      rejectsWith('integrity'),
    );
    assert.equal(bad.requests.length, 2);
    const large = patterned(5 * mebi, 4);
    const bytes = await cache.readAll(store.add(large), { maxBytes: large.length });
    assert.deepEqual(Buffer.from(bytes), Buffer.from(large));
  });

  check('readAll: one that gives up does not stop the others', async (t) => {
    const cache = await factory.open(t);
    let go: (() => void) | undefined;
    const waitFor = new Promise<void>((resolve) => (go = resolve));
    const store = new ScriptedStore({ fault: () => ({ waitFor }) });
    const source = store.add(patterned(100));
    const signal = deadline(5);
    const first = cache.readAll(source, { maxBytes: 100, signal });
    const second = cache.readAll(source, { maxBytes: 100 });
    await assert.rejects(first, rejectsWith('timeout'));
    go?.();
    assert.equal((await second).length, 100);
    assert.equal(store.requests.length, 1);
  });

  check('bytes at hand are verified and make requests needless', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const blob = patterned(5000);
    const { descriptor } = store.add(blob);
    await assert.rejects(cache.put(descriptor, patterned(5000, 2)), rejectsWith('integrity'));
    await cache.put(descriptor, blob);
    assert.deepEqual(await copyBlob(cache, store.source(descriptor)), blob);
    const embedded = patterned(300, 3);
    const data = { ...store.add(embedded).descriptor, data: embedded };
    assert.deepEqual(await copyBlob(cache, store.source(data)), embedded);
    assert.deepEqual(
      Buffer.from(await cache.readAll(store.source(data), { maxBytes: 300 })),
      Buffer.from(embedded),
    );
    assert.equal(store.requests.length, 0);
    const lying = { ...store.add(patterned(300, 4)).descriptor, data: embedded };
    assert.deepEqual(await copyBlob(cache, store.source(lying)), patterned(300, 4));
  });

  check('an empty blob, and one that lies about being empty', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const source = store.add(new Uint8Array(0));
    assert.equal((await copyBlob(cache, source)).length, 0);
    assert.equal((await cache.readAll(source, { maxBytes: 0 })).length, 0);
    const digest = digestOf(patterned(5));
    await assert.rejects(
      copyBlob(cache, store.source({ mediaType: 'a/b', digest, size: 0 })),
      rejectsWith('integrity'),
    );
  });

  check('every digest algorithm', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    for (const algorithm of ['sha512', 'blake3'] as const) {
      const blob = patterned(400_000);
      assert.deepEqual(await copyBlob(cache, store.add(blob, algorithm)), blob);
    }
  });

  check('blobs are listed, partial ones too', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const whole = store.add(patterned(400_000, 1));
    const part = store.add(patterned(2 * mebi, 2));
    await copyBlob(cache, whole);
    await readRange(cache, part, 0, 100);
    const found = new Map<string, string>();
    for await (const { digest, status } of cache.list()) found.set(digest, status.state);
    assert.equal(found.get(part.descriptor.digest), 'partial');
    assert.equal((await cache.status(whole.descriptor.digest)).state, 'complete');
  });

  check('wrong calls are refused, and a closed reader stays closed', async (t) => {
    const cache = await factory.open(t);
    const store = new ScriptedStore();
    const reader = await cache.open(store.add(patterned(1000)));
    await assert.rejects(reader.read(new Uint8Array(10), 5, 10, 0), rejectsWith('invalid'));
    await assert.rejects(reader.read(new Uint8Array(10), 0, 10, -1), rejectsWith('invalid'));
    assert.equal(await reader.read(new Uint8Array(10), 0, 10, 1000), 0);
    assert.equal(await reader.read(new Uint8Array(10), 0, 10, 5000), 0);
    await reader.close();
    await reader.close();
    await assert.rejects(reader.read(new Uint8Array(10), 0, 10, 0), rejectsWith('bad-handle'));
  });

  check('tags are remembered', async (t) => {
    const { refs } = await factory.open(t);
    const descriptor = new ScriptedStore().add(patterned(10)).descriptor;
    assert.equal(await refs.get('docker://a', 'r', 't'), undefined);
    for (const repository of ['library/alpine', 'a'.repeat(250), '', '..']) {
      await refs.set('docker://a.test:5000', repository, 'v1', descriptor);
      await refs.set('docker://a.test:5000', repository, '..', descriptor);
      const known = await refs.get('docker://a.test:5000', repository, 'v1');
      assert.deepEqual(known?.descriptor, descriptor);
      assert.ok(Math.abs((known?.at ?? 0) - Date.now()) < 10_000);
      assert.deepEqual(await refs.tags('docker://a.test:5000', repository), ['..', 'v1']);
    }
    assert.deepEqual(await refs.repositories('docker://a.test:5000'), [
      '',
      '..',
      'a'.repeat(250),
      'library/alpine',
    ]);
    assert.deepEqual(await refs.stores(), ['docker://a.test:5000']);
    await refs.delete('docker://a.test:5000', 'library/alpine', 'v1');
    assert.equal(await refs.get('docker://a.test:5000', 'library/alpine', 'v1'), undefined);
    assert.deepEqual(await refs.tags('docker://a.test:5000', 'library/alpine'), ['..']);
  });
}
