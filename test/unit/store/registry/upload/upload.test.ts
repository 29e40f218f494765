import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { digestOf } from '../../../../../src/oci/digest.js';
import { openRegistryStore, type RegistryStore } from '../../../../../src/store/registry/registry-store.js';
import type { BlobUpload } from '../../../../../src/store/store.js';
import {
  startFaultRegistry,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../../support/fault-registry/index.js';
import { createPrng } from '../../../../support/prng.js';
import { registryDeps, type DepsSketch } from '../../../../support/registry-deps.js';

const timeout = 20_000;
const chunkBytes = 1024 * 1024;
const payload = createPrng(3).bytes(5 * chunkBytes + 12_345);
const digest = digestOf(payload);

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions = {},
  sketch: DepsSketch = {},
): Promise<{ registry: FaultRegistry; store: RegistryStore }> {
  const registry = await startFaultRegistry(options);
  const deps = registryDeps(registry.url, { ...sketch, options: { chunkBytes, ...sketch.options } });
  const store = openRegistryStore(registry.host, deps);
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  return { registry, store };
}

/** Write in pieces of an odd size, through one buffer that is used again and again. */
async function feed(upload: BlobUpload, bytes: Uint8Array, from = 0): Promise<void> {
  const piece = Buffer.alloc(100_003);
  for (let at = from; at < bytes.length; at += piece.length) {
    const part = bytes.subarray(at, at + piece.length);
    piece.set(part);
    await upload.write(piece.subarray(0, part.length));
    piece.fill(0xee);
  }
}

function stored(registry: FaultRegistry, name = 'a/b'): Buffer | undefined {
  if (registry.content.repositories.get(name)?.blobs.has(digest) !== true) return undefined;
  const content = registry.content.blobs.get(digest);
  return content === undefined ? undefined : Buffer.from(content.slice(0, content.size));
}

const methods = (registry: FaultRegistry): string => registry.requests.map(({ method }) => method).join(' ');

test('a large blob goes up in chunks', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const upload = await store.startUpload('a/b');
  assert.notEqual(upload.id, '');
  await feed(upload, payload);
  const descriptor = await upload.finish(digest);
  assert.deepEqual([descriptor.digest, descriptor.size], [digest, payload.length]);
  assert.deepEqual(stored(registry), Buffer.from(payload));
  assert.equal(methods(registry), 'POST PATCH PATCH PATCH PATCH PATCH PATCH PUT');
  assert.equal(registry.requests[1]?.headers['content-range'], `0-${chunkBytes - 1}`);
  assert.equal(registry.requests[0]?.headers['content-length'], '0');
  assert.equal(registry.uploads.size, 0);
  await assert.rejects(upload.write(payload), (error) => isImgfsError(error, 'bad-handle'));
});

test('a small blob goes up in one PUT, an empty one too', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  for (const bytes of [payload.subarray(0, 5000), new Uint8Array(0)]) {
    registry.forgetRequests();
    const upload = await store.startUpload('a/b', { size: bytes.length });
    await upload.write(bytes);
    assert.equal((await upload.finish(digestOf(bytes))).size, bytes.length);
    assert.equal(methods(registry), 'POST PUT');
  }
});

test(
  'a blob at hand goes up in one POST, or two requests where that is not taken',
  { timeout },
  async (t) => {
    const bytes = payload.subarray(0, 5000);
    const put = async (store: RegistryStore, content: Uint8Array) =>
      (await store.putBlob('a/b', digestOf(content), content)).size;
    {
      const { registry, store } = await setUp(t, { singlePost: true });
      assert.equal(await put(store, bytes), 5000);
      assert.equal(methods(registry), 'POST');
      assert.ok(registry.content.repositories.get('a/b')?.blobs.has(digestOf(bytes)));
      await assert.rejects(store.putBlob('a/b', digestOf(payload), bytes), (error) =>
        isImgfsError(error, 'digest-mismatch'),
      );
    }
    {
      const { registry, store } = await setUp(t, { singlePost: false });
      assert.equal(await put(store, bytes), 5000);
      assert.equal(await put(store, bytes.subarray(1)), 4999);
      assert.equal(methods(registry), 'POST PUT POST PUT');
      const lengths = registry.requests.map(({ headers }) => headers['content-length']);
      assert.deepEqual(lengths, ['5000', '5000', '0', '4999'], 'asked that way once');
      assert.equal(registry.uploads.size, 0);
    }
    for (const status of [400, 404, 405, 415]) {
      const { registry, store } = await setUp(t);
      registry.fault({ match: { method: 'POST', nth: 1 }, fault: { kind: 'status', status } });
      assert.equal(await put(store, bytes), 5000);
      assert.equal(methods(registry), 'POST POST PUT');
    }
    const { store } = await setUp(t, { auth: { kind: 'basic', users: { me: 'pw' } } });
    await assert.rejects(put(store, bytes), (error) => isImgfsError(error, 'unauthorized'));
  },
);

test('other algorithms', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  for (const algorithm of ['sha512', 'blake3'] as const) {
    const upload = await store.startUpload('a/b', { algorithm });
    await upload.write(payload.subarray(0, 5000));
    await upload.finish(digestOf(payload.subarray(0, 5000), algorithm));
    const [post] = registry.requestsTo({ method: 'POST' }).slice(-1);
    assert.equal(post?.query.get('digest-algorithm'), algorithm);
  }
});

test('a wrong digest is a mismatch, and the session lives on', { timeout }, async (t) => {
  for (const dialect of ['spec', 'docker-2.8'] as const) {
    for (const bytes of [payload, payload.subarray(0, 5000)]) {
      const { store } = await setUp(t, { dialect });
      const upload = await store.startUpload('a/b');
      await feed(upload, bytes);
      const wrong = digestOf(Buffer.from('else'));
      await assert.rejects(upload.finish(wrong), (error) => isImgfsError(error, 'digest-mismatch'), dialect);
      await upload.finish(digestOf(bytes));
    }
  }
});

test('failed requests are repaired, each kind at each place', { timeout: 60_000 }, async (t) => {
  const faults = [
    { kind: 'status', status: 503 },
    { kind: 'status', status: 500 },
    { kind: 'reset', when: 'request' },
    { kind: 'reset', when: 'handled' },
    { kind: 'status', status: 429, retryAfter: 0 },
  ] as const;
  for (const fault of faults) {
    for (const [method, nth] of [
      ['POST', 1],
      ['PATCH', 1],
      ['PATCH', 3],
      ['PATCH', 6],
      ['PUT', 1],
    ] as const) {
      const { registry, store } = await setUp(t);
      registry.fault({ match: { method, nth }, fault });
      const upload = await store.startUpload('a/b');
      await feed(upload, payload);
      await upload.finish(digest);
      const where = `${JSON.stringify(fault)} ${method} ${nth}`;
      assert.deepEqual(stored(registry), Buffer.from(payload), where);
      const sent = registry.requests.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
      assert.ok(sent <= payload.length + chunkBytes, `${where}: ${sent} bytes sent`);
      await store.close();
    }
  }
});

test('a monolithic PUT is repaired', { timeout }, async (t) => {
  for (const dialect of ['spec', 'docker-2.8'] as const) {
    for (const fault of [
      { kind: 'status', status: 502 },
      { kind: 'reset', when: 'handled' },
      { kind: 'reset', when: 'request' },
    ] as const) {
      const { registry, store } = await setUp(t, { dialect });
      registry.fault({ match: { method: 'PUT', nth: 1 }, fault });
      const bytes = payload.subarray(0, 5000);
      const upload = await store.startUpload('a/b');
      await upload.write(bytes);
      await upload.finish(digestOf(bytes));
      assert.ok(registry.content.repositories.get('a/b')?.blobs.has(digestOf(bytes)), JSON.stringify(fault));
    }
  }
});

test(
  'a session lost in its first chunk is begun again, a later one is reported as stale',
  { timeout },
  async (t) => {
    for (const nth of [1, 3]) {
      const { registry, store } = await setUp(t, { dialect: 'docker-2.8' });
      registry.fault({ match: { method: 'PATCH', nth }, fault: { kind: 'reset', when: 'handled' } });
      const upload = await store.startUpload('a/b');
      const done = feed(upload, payload).then(() => upload.finish(digest));
      if (nth === 1) {
        await done;
        assert.deepEqual(stored(registry), Buffer.from(payload));
      } else {
        await assert.rejects(done, (error) => isImgfsError(error, 'stale'));
      }
    }
  },
);

test('a registry that is gone for long ends in an error, and status repairs it', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  registry.fault({ match: { method: 'PATCH', nth: 2, times: 4 }, fault: { kind: 'status', status: 503 } });
  const upload = await store.startUpload('a/b');
  await assert.rejects(
    feed(upload, payload).then(() => upload.finish(digest)),
    (error) => isImgfsError(error, 'unavailable'),
  );
  await assert.rejects(upload.write(payload.subarray(0, 1)), (error) => isImgfsError(error, 'unavailable'));
  registry.clearFaults();
  assert.equal(await upload.status(), chunkBytes);
  await feed(upload, payload, upload.offset);
  await upload.finish(digest);
  assert.deepEqual(stored(registry), Buffer.from(payload));
});

test('an upload goes on after a restart', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const upload = await store.startUpload('a/b');
  await feed(upload, payload.subarray(0, 3 * chunkBytes + 77));
  await upload.status();
  const token = upload.resumeToken;
  await store.close();
  const again = openRegistryStore(registry.host, registryDeps(registry.url, { options: { chunkBytes } }));
  t.after(() => again.close());
  const resumed = await again.resumeUpload('a/b', token);
  assert.equal(resumed.id, upload.id);
  assert.deepEqual(resumed.startedAt, upload.startedAt);
  assert.equal(resumed.offset, 3 * chunkBytes);
  await feed(resumed, payload, resumed.offset);
  await resumed.finish(digest);
  assert.deepEqual(stored(registry), Buffer.from(payload));
});

test('resume tokens that are damaged, foreign or gone', { timeout }, async (t) => {
  const { store } = await setUp(t);
  const upload = await store.startUpload('a/b');
  const token = upload.resumeToken;
  const state = JSON.parse(token) as Record<string, unknown>;
  for (const bad of [
    '',
    '{}',
    'null',
    JSON.stringify({ ...state, repository: 'c/d' }),
    JSON.stringify({ ...state, offset: -1 }),
    JSON.stringify({ ...state, location: 'http://evil.example/v2/a/b/blobs/uploads/x' }),
  ]) {
    await assert.rejects(store.resumeUpload('a/b', bad), (error) => isImgfsError(error, 'invalid'), bad);
  }
  await upload.cancel();
  await assert.rejects(store.resumeUpload('a/b', token), (error) => isImgfsError(error, 'stale'));
});

test('cancel lets go of the session, and never fails', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const upload = await store.startUpload('a/b');
  await upload.write(payload.subarray(0, 100));
  await upload.cancel();
  assert.equal(registry.uploads.size, 0);
  registry.fault({ match: { method: 'DELETE' }, fault: { kind: 'status', status: 500 } });
  await (await store.startUpload('a/b')).cancel();
});

test(
  'a location on another host is refused, an inner address of the same host is not',
  { timeout },
  async (t) => {
    const { registry, store } = await setUp(t);
    const set = { Location: 'http://evil.example/v2/a/b/blobs/uploads/x' };
    registry.fault({ match: { method: 'POST', nth: 1 }, fault: { kind: 'headers', set } });
    await assert.rejects(
      store.startUpload('a/b'),
      (error) => isImgfsError(error, 'protocol') && /evil/.test(error.message),
    );
    registry.clearFaults();
    const upload = await store.startUpload('a/b');
    const inner = (JSON.parse(upload.resumeToken) as { location: string }).location.replace(/:\d+\//, ':1/');
    registry.fault({
      match: { method: 'PATCH', nth: 1 },
      fault: { kind: 'headers', set: { Location: inner } },
    });
    await feed(upload, payload.subarray(0, chunkBytes + 1));
    assert.equal(await upload.status().catch(() => 'asked'), chunkBytes);
  },
);

test('the registry’s least chunk length is kept', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { chunkMinLength: 2 * chunkBytes });
  const upload = await store.startUpload('a/b');
  await feed(upload, payload);
  await upload.finish(digest);
  assert.equal(registry.requestsTo({ method: 'PATCH' }).length, 3);
});

test('a registry that takes only smaller chunks gets them', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { chunkBytes: 4 * chunkBytes } });
  const when = ({ headers }: { headers: Readonly<Record<string, string>> }): boolean =>
    Number(headers['content-length']) > chunkBytes;
  for (const status of [413, 416]) {
    registry.fault({ match: { method: 'PATCH', when }, fault: { kind: 'status', status } });
    const upload = await store.startUpload('a/b');
    await feed(upload, payload);
    await upload.finish(digest);
    registry.clearFaults();
  }
});

test('a Range that stands still is not believed', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  registry.fault({
    match: { method: ['PATCH', 'GET'], path: /uploads/ },
    fault: { kind: 'headers', set: { Range: `0-${chunkBytes - 1}` } },
  });
  const upload = await store.startUpload('a/b');
  await feed(upload, payload);
  await upload.finish(digest);
  assert.deepEqual(stored(registry), Buffer.from(payload));
});

test('a 202 to the commit is checked', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { retries: 1 } });
  registry.fault({ match: { method: 'PUT' }, fault: { kind: 'status', status: 202 } });
  const upload = await store.startUpload('a/b');
  await upload.write(payload.subarray(0, 100));
  await assert.rejects(upload.finish(digestOf(payload.subarray(0, 100))), (error) =>
    isImgfsError(error, 'unavailable'),
  );
});

test('an upload that stalls is given up', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { responseTimeoutMs: 300, retries: 0 } });
  registry.fault({ match: { method: 'PATCH' }, fault: { kind: 'hang' } });
  const upload = await store.startUpload('a/b');
  await assert.rejects(
    feed(upload, payload).then(() => upload.finish(digest)),
    (error) => isImgfsError(error, 'timeout'),
  );
});

test('a refusal at the start is heard at the start', { timeout }, async (t) => {
  const { store } = await setUp(t, { auth: { kind: 'basic', users: { me: 'pw' } } });
  await assert.rejects(store.startUpload('a/b'), (error) => isImgfsError(error, 'unauthorized'));
});

test(
  'a status behind what was confirmed: lost, unless the registry is known to report too little',
  { timeout },
  async (t) => {
    const set = { Range: `0-${chunkBytes - 1}` };
    for (const method of ['GET', ['PATCH', 'GET']] as const) {
      const { registry, store } = await setUp(t);
      registry.fault({ match: { method: 'PATCH', nth: 4 }, fault: { kind: 'status', status: 503 } });
      registry.fault({ match: { method, path: /uploads/ }, fault: { kind: 'headers', set } });
      const upload = await store.startUpload('a/b');
      const done = feed(upload, payload).then(() => upload.finish(digest));
      if (method === 'GET') await assert.rejects(done, (error) => isImgfsError(error, 'stale'));
      else await done;
    }
  },
);
