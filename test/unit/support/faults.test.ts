/** Every fault does what its name says. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Agent, request } from 'undici';
import {
  seededKinds,
  startFaultRegistry,
  testCertificates,
  type Fault,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../support/fault-registry/index.js';

const deadline = { timeout: 20_000 };
const bytes = Buffer.alloc(1000, 'abcdefghij');

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

async function ask(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const dispatcher = new Agent({ bodyTimeout: 300, headersTimeout: 300, maxHeaderSize: 400_000 });
  try {
    const answer = await request(url, { headers, dispatcher });
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: Buffer.from(await answer.body.arrayBuffer()),
    };
  } finally {
    await dispatcher.destroy();
  }
}

async function started(
  t: TestContext,
  options: FaultRegistryOptions = {},
): Promise<{ registry: FaultRegistry; url: string }> {
  const registry = await startFaultRegistry(options);
  t.after(() => registry.close());
  return { registry, url: `${registry.url}/v2/a/blobs/${registry.putBlob('a', bytes).digest}` };
}

async function struck(t: TestContext, fault: Fault, headers: Record<string, string> = {}): Promise<Answer> {
  const { registry, url } = await started(t);
  registry.fault({ fault });
  try {
    return await ask(url, headers);
  } finally {
    assert.equal(registry.requests[0]?.fault, fault.kind);
  }
}

void test('faults of content', deadline, async (t) => {
  const flip = await struck(t, { kind: 'flip', at: 17, bit: 2 });
  const differing = [...flip.body].flatMap((byte, at) =>
    byte === bytes[at] ? [] : [at, byte ^ (bytes[at] ?? 0)],
  );
  assert.deepEqual(differing, [17, 4]);
  assert.equal((await struck(t, { kind: 'truncate', at: 10 })).headers['content-length'], '10');
  assert.equal((await struck(t, { kind: 'pad', bytes: 5 })).body.length, 1005);
  assert.equal((await struck(t, { kind: 'garbage-json' })).body[0], 0x7b);
  assert.equal((await struck(t, { kind: 'body', body: 'other' })).body.toString(), 'other');
  const range = { range: 'bytes=10-19' };
  const shifted = await struck(t, { kind: 'wrong-range', shift: 1 }, range);
  assert.deepEqual([shifted.status, shifted.body.toString()], [206, 'bcdefghija']);
  assert.equal(shifted.headers['content-range'], 'bytes 10-19/1000');
  const ignored = await struck(t, { kind: 'ignore-range' }, range);
  assert.deepEqual([ignored.status, ignored.body.length], [200, 1000]);
  assert.equal(ignored.headers['content-range'], undefined);
});

void test('faults of headers', deadline, async (t) => {
  const status = await struck(t, { kind: 'status', status: 503, retryAfter: 7 });
  assert.deepEqual([status.status, status.headers['retry-after']], [503, '7']);
  const digest = await struck(t, { kind: 'digest-header', value: undefined });
  assert.equal(digest.headers['docker-content-digest'], undefined);
  assert.equal((await struck(t, { kind: 'content-type', value: 'x/y' })).headers['content-type'], 'x/y');
  const range = await struck(t, { kind: 'content-range', value: 'rubbish' }, { range: 'bytes=0-1' });
  assert.equal(range.headers['content-range'], 'rubbish');
  assert.equal((await struck(t, { kind: 'huge-headers', bytes: 99_000 })).headers['x-huge']?.length, 99_000);
  const away = await struck(t, { kind: 'redirect', to: 'http://other.example/' });
  assert.deepEqual([away.status, away.headers['location']], [307, 'http://other.example/']);
  const loop = await struck(t, { kind: 'redirect-loop', distinct: true });
  assert.match(String(loop.headers['location']), /\?hop=1$/);
  assert.equal((await struck(t, { kind: 'link', value: '<x>' })).headers['link'], '<x>');
});

void test('faults of the connection', deadline, async (t) => {
  for (const when of ['request', 'handled', 'headers'] as const) {
    await assert.rejects(struck(t, { kind: 'reset', when }), when);
  }
  await assert.rejects(struck(t, { kind: 'hang' }), /Headers Timeout/);
  await assert.rejects(struck(t, { kind: 'stall', at: 10 }), /Body Timeout/);
  await assert.rejects(struck(t, { kind: 'cut', at: 10 }));
  await assert.rejects(struck(t, { kind: 'content-length', off: 5 }));
  assert.equal((await struck(t, { kind: 'content-length', off: -5 })).body.length, 995);
  const drip = await struck(t, { kind: 'drip', bytes: 500, everyMs: 20 });
  assert.equal(drip.body.length, 1000);
  for (const before of ['headers', 'body'] as const) {
    const from = Date.now();
    await struck(t, { kind: 'delay', ms: 100, before });
    assert.ok(Date.now() - from >= 99, before);
  }
});

void test('a cut sends exactly what it says before the end', deadline, async (t) => {
  const { registry, url } = await started(t);
  registry.fault({ fault: { kind: 'cut', at: 123 } });
  const answer = await request(url);
  let received = 0;
  await assert.rejects(async () => {
    for await (const chunk of answer.body) received += (chunk as Buffer).length;
  });
  assert.equal(received, 123);
  assert.equal(registry.bytesSent(), 123);
});

void test('endless lists and bodies go on as long as somebody listens', deadline, async (t) => {
  const { registry } = await started(t);
  registry.fault({ match: { path: /tags/ }, fault: { kind: 'endless-pages', perPage: 3 } });
  let next = '/v2/a/tags/list?n=3';
  for (let page = 0; page < 5; page += 1) {
    const answer = await ask(`${registry.url}${next}`);
    const { tags } = JSON.parse(answer.body.toString()) as { tags: string[] };
    assert.equal(tags[0], `endless-${String(page * 3).padStart(12, '0')}`);
    next = /<(.+)>/.exec(String(answer.headers['link']))?.[1] ?? '';
  }
  registry.fault({
    match: { path: '/v2/' },
    fault: { kind: 'huge-body', bytes: Infinity, prefix: '{"a":"' },
  });
  const answer = await request(`${registry.url}/v2/`);
  let seen = 0;
  for await (const chunk of answer.body) {
    if (seen === 0) assert.ok((chunk as Buffer).toString().startsWith('{"a":"aaa'));
    if ((seen += (chunk as Buffer).length) > 3_000_000) break;
  }
});

void test('scripts strike the request they name', deadline, async (t) => {
  const { registry, url } = await started(t);
  const fault = { kind: 'status', status: 500 } as const;
  registry.fault({ match: { path: /blobs/, nth: 2 }, fault });
  registry.fault({ match: { method: 'POST' }, fault });
  registry.fault({ match: { path: '/v2/', times: 1 }, fault });
  const seen: number[] = [];
  for (const path of [url, url, url, `${registry.url}/v2/`, `${registry.url}/v2/`]) {
    seen.push((await ask(path)).status);
  }
  assert.deepEqual(seen, [200, 500, 200, 500, 200]);
  registry.clearFaults();
});

async function history(t: TestContext, order: readonly number[], seed: number): Promise<string[]> {
  const { registry, url } = await started(t);
  registry.seedFaults({ seed, probability: 0.5, kinds: ['status', 'digest-header', 'pad', 'flip'] });
  for (const at of order) await ask(url, { range: `bytes=${at}-${at}` });
  return registry.requests.map(
    (record) => `${record.headers['range']} ${record.fault ?? '-'} ${record.status}`,
  );
}

void test('a seed gives the same faults in any order of requests', deadline, async (t) => {
  const order = Array.from({ length: 24 }, (_, at) => at % 12);
  const once = await history(t, order, 7);
  assert.deepEqual(await history(t, order, 7), once);
  assert.deepEqual((await history(t, order.toReversed(), 7)).toSorted(), once.toSorted());
  assert.notDeepEqual(await history(t, order, 8), once);
  assert.ok(once.some((line) => line.includes(' - ')) && once.some((line) => !line.includes(' - ')));
  assert.ok(seededKinds.length >= 20);
});

void test('TLS: the CA is needed and enough, bad certificates are refused', deadline, async (t) => {
  const { ca, client } = await testCertificates();
  const trusting = new Agent({ connect: { ca } });
  t.after(() => trusting.close());
  const good = await started(t, { tls: true });
  assert.equal((await request(good.url, { dispatcher: trusting })).statusCode, 200);
  await assert.rejects(request(good.url), /self-signed|unable to (verify|get local issuer)/);
  for (const certificate of ['expired', 'wrongName', 'untrusted'] as const) {
    const { url } = await started(t, { tls: true, certificate });
    await assert.rejects(request(url, { dispatcher: trusting }), certificate);
  }
  const mutual = await started(t, { tls: 'mutual' });
  await assert.rejects(request(mutual.url, { dispatcher: trusting }));
  const known = new Agent({ connect: { ca, ...client } });
  t.after(() => known.close());
  assert.equal((await request(mutual.url, { dispatcher: known })).statusCode, 200);
});
