import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { digestOf, type Digest } from '../../../../src/oci/digest.js';
import { mediaTypes } from '../../../../src/oci/media-type.js';
import { openRegistryStore, type RegistryStore } from '../../../../src/store/registry/registry-store.js';
import {
  startFaultRegistry,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../support/fault-registry/index.js';
import { sampleImage } from '../../../support/image-builder.js';
import { createPrng } from '../../../support/prng.js';
import { bodyBytes } from '../../../support/read-body.js';
import { registryDeps, type DepsSketch } from '../../../support/registry-deps.js';

const timeout = 20_000;

async function setUp(
  t: TestContext,
  options: FaultRegistryOptions = {},
  sketch: DepsSketch = {},
): Promise<{ registry: FaultRegistry; store: RegistryStore }> {
  const registry = await startFaultRegistry(options);
  const store = openRegistryStore(registry.host, registryDeps(registry.url, sketch));
  t.after(async () => {
    await store.close();
    await registry.close();
  });
  return { registry, store };
}

const payload = createPrng(7).bytes(300_000);

test('a tag costs two round trips: HEAD, and GET by digest', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const image = await sampleImage();
  registry.addImage('a/b', image, 'v1');
  const { descriptor } = await store.resolve({ repository: 'a/b', tag: 'v1' });
  assert.deepEqual(descriptor, image.descriptor);
  const bytes = await bodyBytes(await store.fetch('a/b', descriptor));
  assert.equal(digestOf(bytes), descriptor.digest);
  assert.deepEqual(
    registry.requests.map(({ method, path }) => `${method} ${path}`),
    ['HEAD /v2/a/b/manifests/v1', `GET /v2/a/b/manifests/${descriptor.digest}`],
  );
  assert.equal(new Set(registry.requests.map(({ connection }) => connection)).size, 1, 'one connection');
});

test('HEAD without a digest falls back to GET, and the bytes come along', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { digestHeader: false });
  const image = await sampleImage();
  registry.addImage('a/b', image, 'v1');
  const { descriptor, bytes } = await store.resolve({ repository: 'a/b', tag: 'v1' });
  assert.deepEqual(descriptor, image.descriptor);
  assert.equal(digestOf(bytes as Uint8Array), descriptor.digest);
});

test('a refused HEAD falls back to GET', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const image = await sampleImage({ docker: true });
  registry.addImage('a/b', image, 'v1');
  registry.fault({ match: { method: 'HEAD' }, fault: { kind: 'status', status: 405 } });
  const { descriptor } = await store.resolve({ repository: 'a/b', tag: 'v1' });
  assert.deepEqual(descriptor, image.descriptor);
});

test('a digest header that is not the digest of the bytes is an integrity error', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  registry.addImage('a/b', await sampleImage(), 'v1');
  registry.fault({ match: { method: 'HEAD' }, fault: { kind: 'status', status: 405 } });
  const value = digestOf(Buffer.from('something else'));
  registry.fault({ match: { method: 'GET' }, fault: { kind: 'digest-header', value } });
  await assert.rejects(store.resolve({ repository: 'a/b', tag: 'v1' }), (error) =>
    isImgfsError(error, 'integrity'),
  );
});

test('schema 1 is refused with its name', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  registry.putManifest('old', Buffer.from('{"schemaVersion":1}'), mediaTypes.dockerSchema1Signed, ['v1']);
  await assert.rejects(
    store.resolve({ repository: 'old', tag: 'v1' }),
    (error) => isImgfsError(error, 'unsupported') && error.message.includes('schema 1'),
  );
});

test('names that could leave their place in the URL are refused', { timeout }, async (t) => {
  const { store, registry } = await setUp(t);
  await assert.rejects(store.resolve({ repository: 'a/../b', tag: 'v1' }), (error) =>
    isImgfsError(error, 'name-invalid'),
  );
  await assert.rejects(store.resolve({ repository: 'a', tag: '../x' }), (error) =>
    isImgfsError(error, 'name-invalid'),
  );
  assert.equal(registry.requests.length, 0);
});

test('only a 404 is not-found', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { retries: 0 } });
  registry.addImage('a/b', await sampleImage(), 'v1');
  const expected = {
    400: 'protocol',
    401: 'unauthorized',
    403: 'denied',
    404: 'not-found',
    405: 'unsupported',
    408: 'timeout',
    413: 'too-large',
    416: 'protocol',
    418: 'protocol',
    429: 'rate-limited',
    451: 'denied',
    500: 'unavailable',
    502: 'unavailable',
    503: 'unavailable',
    504: 'timeout',
  };
  for (const [status, code] of Object.entries(expected)) {
    registry.clearFaults();
    registry.fault({ fault: { kind: 'status', status: Number(status) } });
    await assert.rejects(
      store.fetch('a/b', { mediaType: mediaTypes.ociManifest, digest: digestOf(payload), size: 10 }),
      (error) => isImgfsError(error, code as 'not-found'),
      status,
    );
  }
});

test(
  'errors name request, host, status, what the registry said, and the next step',
  { timeout },
  async (t) => {
    const { registry, store } = await setUp(t);
    registry.fault({
      fault: {
        kind: 'status',
        status: 403,
        body: JSON.stringify({ errors: [{ code: 'DENIED', message: 'no\u001b[31m way' }] }),
      },
    });
    await assert.rejects(
      store.fetch('a/b', { mediaType: mediaTypes.octetStream, digest: digestOf(payload), size: 10 }),
      (error) => {
        assert.ok(isImgfsError(error, 'denied'));
        assert.match(error.message, /status 403 \(DENIED: no\\x1b\[31m way\)/);
        assert.equal(error.context.request, `GET ${registry.url}/v2/a/b/blobs/${digestOf(payload)}`);
        assert.equal(error.context.host, registry.host);
        assert.equal(error.context.status, 403);
        assert.match(error.hint ?? '', /imgfs login/);
        return true;
      },
    );
  },
);

function blobOf(
  registry: FaultRegistry,
  bytes: Uint8Array = payload,
): { mediaType: string; digest: Digest; size: number } {
  return registry.putBlob('a/b', bytes);
}

test('a range is one range', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  const body = await store.fetch('a/b', blob, { range: { start: 1000, end: 2000 } });
  assert.deepEqual([body.start, body.end, body.totalSize], [1000, 2000, payload.length]);
  assert.deepEqual(await bodyBytes(body), Buffer.from(payload.subarray(1000, 2000)));
  assert.equal(registry.requests[0]?.headers['range'], 'bytes=1000-1999');
  assert.equal(registry.requests[0]?.headers['accept-encoding'], 'identity');
});

test('a server that ignores the range gives the whole', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { ranges: 'ignored' });
  const blob = blobOf(registry);
  const body = await store.fetch('a/b', blob, { range: { start: 1000, end: 2000 } });
  assert.deepEqual([body.start, body.end], [0, payload.length]);
  assert.deepEqual(await bodyBytes(body), Buffer.from(payload));
});

test('a wrong Content-Range is refused', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  for (const value of [
    'bytes 0-999/300000',
    'bytes 1000-2999/300000',
    undefined,
    'bytes 1000-1999/7',
    'pages 1-2/3',
  ]) {
    registry.clearFaults();
    registry.fault({ match: { method: 'GET' }, fault: { kind: 'content-range', value } });
    await assert.rejects(
      store.fetch('a/b', blob, { range: { start: 1000, end: 2000 } }),
      (error) => isImgfsError(error, 'protocol') || isImgfsError(error, 'integrity'),
      String(value),
    );
  }
});

test('a 416 is answered without reading its body', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { dialect: 'docker-2.8' });
  const blob = blobOf(registry);
  await assert.rejects(
    store.fetch('a/b', { ...blob, size: 400_000 }, { range: { start: 350_000, end: 360_000 } }),
    (error) => isImgfsError(error, 'integrity') && /300000 bytes/.test(error.message),
  );
});

test(
  'a size that is not the descriptor’s is an integrity error before a byte is read',
  { timeout },
  async (t) => {
    const { registry, store } = await setUp(t);
    const blob = blobOf(registry);
    await assert.rejects(store.fetch('a/b', { ...blob, size: 5 }), (error) =>
      isImgfsError(error, 'integrity'),
    );
  },
);

test('a cut body goes on where it broke', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET', nth: 1 }, fault: { kind: 'cut', at: 100_000 } });
  registry.fault({ match: { method: 'GET', nth: 2 }, fault: { kind: 'cut', at: 50_000 } });
  assert.deepEqual(await bodyBytes(await store.fetch('a/b', blob)), Buffer.from(payload));
  const resumed = registry.requests.slice(1).map(({ headers }) => headers['range'] ?? '');
  assert.equal(resumed.length, 2);
  for (const range of resumed) assert.match(range, /^bytes=\d+-299999$/);
});

test('a cut body goes on also where ranges are ignored', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { ranges: 'ignored' });
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET', nth: 1 }, fault: { kind: 'cut', at: 100_000 } });
  assert.deepEqual(await bodyBytes(await store.fetch('a/b', blob)), Buffer.from(payload));
});

test('a body that is always cut ends in an error', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET' }, fault: { kind: 'cut', at: 10 } });
  const body = await store.fetch('a/b', blob);
  await assert.rejects(bodyBytes(body), (error) => isImgfsError(error, 'unavailable'));
  assert.equal(registry.requests.length, 4);
});

test('a drip is given up', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { retries: 0 } });
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET' }, fault: { kind: 'drip', bytes: 10, everyMs: 20 } });
  const startedAt = Date.now();
  const body = await store.fetch('a/b', blob);
  await assert.rejects(bodyBytes(body), (error) => isImgfsError(error, 'timeout'));
  assert.ok(Date.now() - startedAt < 2000);
});

test('no answer is a timeout, and the caller can give up before', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { retries: 0, responseTimeoutMs: 200 } });
  const blob = blobOf(registry);
  registry.fault({ fault: { kind: 'hang' } });
  await assert.rejects(store.fetch('a/b', blob), (error) => isImgfsError(error, 'timeout'));
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  await assert.rejects(store.fetch('a/b', blob, { signal: abort.signal }), (error) =>
    isImgfsError(error, 'interrupted'),
  );
});

test('giving up in the middle of a body ends it', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET' }, fault: { kind: 'stall', at: 10 } });
  const abort = new AbortController();
  const body = await store.fetch('a/b', blob, { signal: abort.signal });
  setTimeout(() => abort.abort(), 20);
  await assert.rejects(bodyBytes(body), (error) => isImgfsError(error, 'interrupted'));
  body.cancel();
});

test('5xx and resets are tried again, within limits', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { nth: 1 }, fault: { kind: 'status', status: 503 } });
  registry.fault({ match: { nth: 2 }, fault: { kind: 'reset', when: 'request' } });
  registry.fault({ match: { nth: 3 }, fault: { kind: 'status', status: 429, retryAfter: 0 } });
  assert.deepEqual(await bodyBytes(await store.fetch('a/b', blob)), Buffer.from(payload));
  assert.equal(registry.requests.length, 4);
  registry.forgetRequests();
  registry.fault({ fault: { kind: 'status', status: 500 } });
  await assert.rejects(store.fetch('a/b', blob), (error) => isImgfsError(error, 'unavailable'));
  assert.equal(registry.requests.length, 4);
});

test('Retry-After is obeyed, and not waited for beyond the deadline', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { nth: 1 }, fault: { kind: 'status', status: 429, retryAfter: 1 } });
  const startedAt = Date.now();
  await bodyBytes(await store.fetch('a/b', blob));
  assert.ok(Date.now() - startedAt >= 950);
  registry.forgetRequests();
  registry.fault({ fault: { kind: 'status', status: 429, retryAfter: 3600 } });
  await assert.rejects(store.fetch('a/b', blob), (error) => {
    assert.ok(isImgfsError(error, 'rate-limited'));
    assert.equal(error.retryAfterMs, 3_600_000);
    return true;
  });
  await assert.rejects(store.fetch('a/b', blob), (error) => isImgfsError(error, 'rate-limited'));
  assert.equal(registry.requests.length, 1, 'a registry that wants a pause is left alone');
});

test(
  'redirects: no credentials, the target is remembered, an expired one is asked for anew',
  { timeout },
  async (t) => {
    const auth = { kind: 'bearer', users: { me: 'pw' }, lifetimeSeconds: 86_400 } as const;
    const registry = await startFaultRegistry({ auth, redirectBlobs: { expirySeconds: 60 } });
    const credential = { kind: 'basic', username: 'me', password: 'pw' } as const;
    const endpoint = { origin: registry.url, headers: { 'X-Secret': 'yes' } };
    const store = openRegistryStore(
      registry.host,
      registryDeps([endpoint], { credentials: { [registry.host]: credential } }),
    );
    t.after(async () => {
      await store.close();
      await registry.close();
    });
    const blob = blobOf(registry);
    const read = async (): Promise<void> => {
      const body = await store.fetch('a/b', blob, { range: { start: 5, end: 10 } });
      assert.deepEqual(await bodyBytes(body), Buffer.from(payload.subarray(5, 10)));
    };
    await read();
    assert.equal(registry.requestsTo({ path: /blobs/ }).at(-1)?.headers['x-secret'], 'yes');
    await read();
    const stored = registry.requestsTo({ role: 'storage' });
    assert.equal(stored.length, 2);
    for (const { headers } of stored) {
      assert.equal(headers['authorization'], undefined);
      assert.equal(headers['x-secret'], undefined);
      assert.equal(headers['range'], 'bytes=5-9');
    }
    const asked = (): number => registry.requestsTo({ role: 'registry', path: /blobs/ }).length;
    const before = asked();
    await read();
    assert.equal(asked(), before, 'the target is asked directly');
    registry.advanceClock(61_000);
    await read();
    assert.equal(asked(), before + 1);
  },
);

test('a blob that the registry has and its storage has not is an outage', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, { redirectBlobs: true }, { options: { retries: 0 } });
  const blob = blobOf(registry);
  registry.fault({ match: { role: 'storage' }, fault: { kind: 'status', status: 404 } });
  await assert.rejects(store.fetch('a/b', blob), (error) => isImgfsError(error, 'unavailable'));
});

test('redirect loops end', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  registry.fault({ match: { method: 'GET' }, fault: { kind: 'redirect-loop', distinct: true } });
  await assert.rejects(store.fetch('a/b', blob), (error) => isImgfsError(error, 'protocol'));
  assert.equal(registry.requests.length, 6);
});

test('statBlob asks HEAD only, and reads one byte where HEAD is refused', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const blob = blobOf(registry);
  assert.equal((await store.statBlob('a/b', blob.digest)).size, payload.length);
  assert.equal(registry.bytesSent(), 0);
  registry.fault({ match: { method: 'HEAD' }, fault: { kind: 'status', status: 405 } });
  assert.equal((await store.statBlob('a/b', blob.digest)).size, payload.length);
  assert.ok(registry.bytesSent({ method: 'GET' }) <= 1);
  await assert.rejects(store.statBlob('a/b', digestOf(Buffer.from('none'))));
});

test('foreign layers come from their urls, without credentials', { timeout }, async (t) => {
  const { registry, store } = await setUp(t);
  const elsewhere = await startFaultRegistry();
  t.after(() => elsewhere.close());
  const bytes = Buffer.from('foreign');
  const blob = elsewhere.putBlob('x', bytes);
  const urls = ['ftp://nowhere/', `${elsewhere.url}/v2/x/blobs/${blob.digest}`];
  registry.putBlob('a/b', payload);
  assert.deepEqual(await bodyBytes(await store.fetch('a/b', { ...blob, urls })), bytes);
  assert.equal(elsewhere.requests[0]?.headers['authorization'], undefined);
});

test('mirrors are asked first and failing ones are passed over', { timeout }, async (t) => {
  const mirror = await startFaultRegistry({ auth: { kind: 'basic', users: { other: 'x' } } });
  const origin = await startFaultRegistry({ auth: { kind: 'basic', users: { me: 'pw' } } });
  const store = openRegistryStore(
    'registry.example',
    registryDeps(
      [
        { origin: mirror.url, isOrigin: false, capabilities: ['pull'], namespaceQuery: true },
        { origin: origin.url, credentialHost: 'registry.example' },
      ],
      { credentials: { 'registry.example': { kind: 'basic', username: 'me', password: 'pw' } } },
    ),
  );
  t.after(async () => {
    await store.close();
    await mirror.close();
    await origin.close();
  });
  const image = await sampleImage();
  origin.addImage('a/b', image, 'v1');
  const { descriptor } = await store.resolve({ repository: 'a/b', tag: 'v1' });
  assert.equal(mirror.requests.length, 0, 'a mirror without resolve is not asked for tags');
  await bodyBytes(await store.fetch('a/b', descriptor));
  assert.ok(mirror.requests.length > 0);
  for (const { headers, query } of mirror.requests) {
    assert.equal(headers['authorization'], undefined, 'credentials of the origin never reach a mirror');
    assert.equal(query.get('ns'), 'registry.example');
  }
  await mirror.suspend();
  await assert.rejects(
    store.fetch('a/b', { ...descriptor, digest: digestOf(Buffer.from('none')) }),
    (error) => isImgfsError(error, 'not-found'),
  );
  await origin.suspend();
  await assert.rejects(store.fetch('a/b', descriptor), (error) => isImgfsError(error, 'unavailable'));
});

test(
  'parallel requests stay within the limit of the host, interactive ones first',
  { timeout },
  async (t) => {
    const { registry, store } = await setUp(t, {}, { options: { concurrency: 2, prefetchConcurrency: 1 } });
    const blob = blobOf(registry, payload.subarray(0, 1000));
    let running = 0;
    let most = 0;
    const one = async (priority: 'interactive' | 'prefetch'): Promise<void> => {
      const body = await store.fetch('a/b', blob, { priority });
      running += 1;
      most = Math.max(most, running);
      await bodyBytes(body);
      running -= 1;
    };
    await Promise.all(Array.from({ length: 12 }, (_, at) => one(at % 2 === 0 ? 'prefetch' : 'interactive')));
    assert.ok(new Set(registry.requests.map(({ connection }) => connection)).size <= 2);
  },
);

test('bodies that nobody reads do not block others', { timeout }, async (t) => {
  const { registry, store } = await setUp(t, {}, { options: { concurrency: 1 } });
  const large = createPrng(1).bytes(12 * 1024 * 1024);
  const blob = registry.putBlob('a/b', large);
  const idle = await store.fetch('a/b', blob);
  const second = await bodyBytes(await store.fetch('a/b', blob, { range: { start: 0, end: 100 } }));
  assert.equal(second.length, 100);
  assert.deepEqual(await bodyBytes(idle), Buffer.from(large));
});
