/** Signatures beside a registry that are read from the web. */
import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { digestOf } from '../../../../src/oci/digest.js';
import { maxSignatureBytes } from '../../../../src/store/lookaside/limits.js';
import { readLookaside } from '../../../../src/store/lookaside/lookaside.js';

const timeout = 20_000;
const digest = digestOf(Buffer.from('an image'));
const require = createRequire(import.meta.url);

async function serve(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/sigs`;
}

test('signatures are read one after the other until one is missing', { timeout }, async (t) => {
  const asked: string[] = [];
  const base = await serve(t, ({ url = '' }, response) => {
    asked.push(url);
    const number = Number(url.slice(-1));
    const isThere = number < 3 && url.includes('/group/app@');
    response.writeHead(isThere ? 200 : 404).end(isThere ? `signature ${number}` : 'no such page');
  });
  const found = await readLookaside(base, 'group/app', digest);
  assert.deepEqual(
    found.map((bytes) => Buffer.from(bytes).toString()),
    ['signature 1', 'signature 2'],
  );
  const folder = `/sigs/group/app@sha256=${digest.slice('sha256:'.length)}`;
  assert.deepEqual(
    asked,
    [1, 2, 3].map((number) => `${folder}/signature-${number}`),
  );
  assert.deepEqual(await readLookaside(base, 'group/other', digest), []);
  // All of undici takes 82 ms to load, on the thread that answers the mount.
  assert.equal(require.cache[require.resolve('undici')], undefined);
});

test('a place that cannot be asked is not one without signatures', { timeout }, async (t) => {
  const read = (base: string): Promise<unknown> => readLookaside(base, 'group/app', digest);
  const failing = await serve(t, (_, response) => void response.writeHead(503).end('down'));
  await assert.rejects(read(failing), { code: 'unavailable', message: /answers 503/ });
  const moved = await serve(t, (_, response) => void response.writeHead(302, { location: '/x' }).end());
  await assert.rejects(read(moved), { code: 'unavailable', message: /answers 302/ });
  const cut = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('part');
    setTimeout(() => response.destroy(), 20);
  });
  await assert.rejects(read(cut), { code: 'unavailable' });
  const noHttp = await serve(t, ({ socket }) => void socket.end('what?\r\n\r\n'));
  await assert.rejects(read(noHttp), { code: 'unavailable' });
  await assert.rejects(read('http://127.0.0.1:1/sigs'), { code: 'unavailable' });
});

test('a signature that is too long is not one, and a caller may give up', { timeout }, async (t) => {
  const long = await serve(t, (_, response) => void response.end(Buffer.alloc(maxSignatureBytes + 1)));
  await assert.rejects(readLookaside(long, 'group/app', digest), { code: 'too-large' });
  const silent = await serve(t, () => undefined);
  const giveUp = new AbortController();
  setTimeout(() => giveUp.abort(), 50);
  await assert.rejects(readLookaside(silent, 'group/app', digest, { signal: giveUp.signal }), {
    code: 'interrupted',
  });
});
