/** What Docker Hub has beside the registry API: search, and headers that count requests. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import type { SearchHit } from '../../../../src/store/store.js';
import { openRegistryStore } from '../../../../src/store/registry/registry-store.js';
import { parseRateLimit } from '../../../../src/store/registry/http/rate-limit.js';
import { hastyOptions, oneCredential, plainEndpoints } from '../../../support/registry-client.js';

const limits = { timeout: 10_000 };

/** A server that speaks for Docker Hub; answers by path. */
async function hub(t: TestContext, answers: Readonly<Record<string, unknown>>) {
  const asked: { url: string; authorization: string | undefined }[] = [];
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    asked.push({ url, authorization: request.headers.authorization });
    const answer = answers[url.split('?')[0] ?? ''];
    response.writeHead(answer === undefined ? 404 : 200, {
      'content-type': 'application/json',
      'ratelimit-limit': '100;w=21600',
      'ratelimit-remaining': '76;w=21600',
      'docker-ratelimit-source': '192.0.2.1',
    });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer ?? {}));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.after(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  const store = openRegistryStore('docker.io', {
    endpoints: plainEndpoints({ host, url: `http://${host}` }),
    credentials: oneCredential(host, { kind: 'anonymous' }),
    options: hastyOptions,
  });
  t.after(() => store.close());
  return { store, asked };
}

async function listOf(items: AsyncIterable<SearchHit>): Promise<SearchHit[]> {
  const list: SearchHit[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test('docker.io is searched by its index, and names that are none are left out', limits, async (t) => {
  const results = [
    { name: 'alpine', description: 'small', star_count: 9, is_official: true },
    { name: 'group/Tool' },
    { name: 'group/tool', description: '' },
    { name: '../../x' },
  ];
  const { store, asked } = await hub(t, { '/v1/search': { num_results: 4, results } });
  assert.deepEqual(await listOf(store.search('al pine', { limit: 2 })), [
    { name: 'library/alpine', description: 'small', stars: 9, official: true },
    { name: 'group/tool' },
  ]);
  assert.equal(asked[0]?.url, '/v1/search?q=al+pine&n=2');
});

test('a search that answers with something else is an error of the protocol', limits, async (t) => {
  const { store } = await hub(t, { '/v1/search': '<html>' });
  await assert.rejects(listOf(store.search('x')), { code: 'protocol' });
  await assert.rejects(listOf(store.search('  ')), { code: 'invalid' });
});

test('what a server says of its limit is kept, and nothing before it said so', limits, async (t) => {
  const { store } = await hub(t, { '/v2/': {} });
  assert.equal(store.rateLimit(), undefined);
  await store.ping();
  const { at, ...said } = store.rateLimit() ?? { at: 0 };
  assert.ok(Date.now() - at < 10_000);
  assert.deepEqual(said, { limit: 100, remaining: 76, windowSeconds: 21_600, source: '192.0.2.1' });
});

test('headers of a limit: plain, with X-, and unreadable', () => {
  assert.deepEqual(parseRateLimit({ 'x-ratelimit-remaining': '5' }, 1), { remaining: 5, at: 1 });
  assert.equal(parseRateLimit({ 'ratelimit-limit': 'many' }, 1), undefined);
  assert.equal(parseRateLimit({}, 1), undefined);
});
