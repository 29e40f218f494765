import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { isImgfsError } from '../../../../src/errors/imgfs-error.js';
import { openRegistryStore } from '../../../../src/store/registry/registry-store.js';
import { startFaultRegistry, testCertificates } from '../../../support/fault-registry/index.js';
import { sampleImage } from '../../../support/image-builder.js';
import { registryDeps, type DepsSketch, type EndpointSketch } from '../../../support/registry-deps.js';

const timeout = 30_000;
const target = { repository: 'a/b', tag: 'v1' };

async function resolveAt(endpoint: EndpointSketch, sketch: DepsSketch = {}): Promise<unknown> {
  const store = openRegistryStore('registry.example', registryDeps([endpoint], sketch));
  try {
    return await store.resolve(target);
  } finally {
    await store.close();
  }
}

test('TLS: the configured CA is trusted, others are not, and the message says so', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ tls: true });
  t.after(() => registry.close());
  registry.addImage('a/b', await sampleImage(), 'v1');
  const ca = [registry.ca ?? ''];
  await resolveAt({ origin: registry.url, tls: { verify: true, ca } });
  await resolveAt({ origin: registry.url, tls: { verify: false } });
  await assert.rejects(resolveAt({ origin: registry.url }), (error) => {
    assert.ok(isImgfsError(error, 'unavailable'));
    assert.match(error.message, /certificate is not trusted/);
    assert.match(error.hint ?? '', /certs\.d/);
    return true;
  });
  assert.equal(registry.requests.length, 2, 'nothing is sent before the certificate is checked');
  await assert.rejects(
    resolveAt({ origin: registry.url, allowHttpFallback: true }),
    (error) => isImgfsError(error, 'unavailable'),
    'a bad certificate is no reason to go on with http',
  );
});

test('TLS: expired, another name, another CA', { timeout }, async (t) => {
  for (const certificate of ['expired', 'wrongName', 'untrusted'] as const) {
    const registry = await startFaultRegistry({ tls: true, certificate });
    t.after(() => registry.close());
    const tls = { verify: true, ca: [registry.ca ?? ''] };
    await assert.rejects(
      resolveAt({ origin: registry.url, tls }),
      (error) => isImgfsError(error, 'unavailable') && /certificate is not trusted/.test(error.message),
      certificate,
    );
  }
});

test('TLS: client certificates are tried in order', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ tls: 'mutual' });
  t.after(() => registry.close());
  registry.addImage('a/b', await sampleImage(), 'v1');
  const { client, untrusted } = await testCertificates();
  const ca = [registry.ca ?? ''];
  await resolveAt({ origin: registry.url, tls: { verify: true, ca, clientPairs: [client] } });
  await resolveAt({ origin: registry.url, tls: { verify: true, ca, clientPairs: [untrusted, client] } });
  await assert.rejects(resolveAt({ origin: registry.url, tls: { verify: true, ca } }));
});

test('TLS: a client certificate is not shown to a host that the registry names', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ tls: 'mutual', redirectBlobs: true });
  t.after(() => registry.close());
  const blob = registry.putBlob('a/b', Buffer.from('x'));
  const { client } = await testCertificates();
  const tls = { verify: true, ca: [registry.ca ?? ''], clientPairs: [client] };
  const store = openRegistryStore('r.example', registryDeps([{ origin: registry.url, tls }]));
  t.after(() => store.close());
  await assert.rejects(store.fetch('a/b', blob));
  assert.equal(registry.requestsTo({ role: 'storage' }).length, 0);
});

test('http where https cannot be spoken, only if allowed', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ auth: { kind: 'bearer', users: {}, anonymousPull: true } });
  t.after(() => registry.close());
  registry.addImage('a/b', await sampleImage(), 'v1');
  const origin = registry.url.replace('http:', 'https:');
  await assert.rejects(resolveAt({ origin }), (error) => {
    assert.ok(isImgfsError(error, 'unavailable'));
    assert.match(error.hint ?? '', /insecure/);
    return true;
  });
  await resolveAt({ origin, allowHttpFallback: true });
});

test('hosts that cannot be reached', { timeout }, async () => {
  const unreachable = (error: unknown): boolean =>
    isImgfsError(error, 'unavailable') || isImgfsError(error, 'timeout');
  await assert.rejects(resolveAt({ origin: 'http://127.0.0.1:1' }), (error) => {
    assert.ok(unreachable(error));
    assert.match(String(error), /connection refused/);
    return true;
  });
  await assert.rejects(resolveAt({ origin: 'http://no-such-host.invalid' }), unreachable);
});

test('a server that speaks no HTTP, or too much of it', { timeout }, async (t) => {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  registry.fault({ match: { nth: 1 }, fault: { kind: 'huge-headers', bytes: 100_000 } });
  await assert.rejects(resolveAt({ origin: registry.url }, { options: { retries: 0 } }), (error) =>
    isImgfsError(error, 'protocol'),
  );
});

test('proxies: tunnel for https, plain forwarding for http, redirects too', { timeout }, async (t) => {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.writeHead(200, {
      'content-type': 'application/vnd.oci.image.manifest.v1+json',
      'docker-content-digest': `sha256:${'a'.repeat(64)}`,
      'content-length': '10',
    });
    response.end();
  });
  proxy.on('connect', (request, socket: Socket) => {
    seen.push(`CONNECT ${request.url}`);
    const upstream = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    sockets.add(upstream).add(socket);
    for (const one of [upstream, socket]) one.on('error', () => one.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const proxyFor = (): string => `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  await resolveAt({ origin: 'http://registry.example' }, { proxyFor });
  assert.deepEqual(seen.splice(0), ['HEAD http://registry.example/v2/a/b/manifests/v1']);
  const registry = await startFaultRegistry({ tls: true });
  t.after(() => registry.close());
  registry.addImage('a/b', await sampleImage(), 'v1');
  const tls = { verify: true, ca: [registry.ca ?? ''] };
  await resolveAt({ origin: registry.url, tls }, { proxyFor });
  assert.deepEqual(seen, [`CONNECT ${registry.host}`]);
});

test('a closed store answers nothing and holds nothing', { timeout }, async (t) => {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  registry.fault({ fault: { kind: 'hang' } });
  const store = openRegistryStore(registry.host, registryDeps(registry.url));
  const pending = assert.rejects(store.resolve(target), (error) => isImgfsError(error, 'interrupted'));
  setTimeout(() => void store.close(), 50);
  await pending;
  await assert.rejects(store.resolve(target), (error) => isImgfsError(error, 'interrupted'));
  await store.close();
});

test('a redirect from https to http is refused', { timeout }, async (t) => {
  const registry = await startFaultRegistry({ tls: true });
  t.after(() => registry.close());
  registry.fault({ fault: { kind: 'redirect', to: `${registry.strangerUrl}/v2/a/b/manifests/v1` } });
  const tls = { verify: true, ca: [registry.ca ?? ''] };
  await assert.rejects(resolveAt({ origin: registry.url, tls }), (error) => isImgfsError(error, 'protocol'));
  assert.equal(registry.requestsTo({ role: 'stranger' }).length, 0);
});

test(
  'a token server of another domain sees no password, but may serve anonymous tokens',
  { timeout },
  async (t) => {
    const auth = {
      kind: 'bearer',
      users: { me: 'pw' },
      anonymousPull: true,
      tokenServer: 'separate',
    } as const;
    const registry = await startFaultRegistry({ tls: true, auth });
    t.after(() => registry.close());
    registry.addImage('a/b', await sampleImage(), 'v1');
    const realm = `${registry.tokenUrl.replace('127.0.0.1', 'localhost')}/token`;
    const challenge = { 'WWW-Authenticate': `Bearer realm="${realm}",service="fault-registry"` };
    const when = ({ headers }: { headers: Readonly<Record<string, string>> }): boolean =>
      headers['authorization'] === undefined;
    registry.fault({
      match: { role: 'registry', when },
      fault: { kind: 'status', status: 401, headers: challenge },
    });
    const endpoint = { origin: registry.url, tls: { verify: true, ca: [registry.ca ?? ''] } };
    const credentials = { [registry.host]: { kind: 'basic', username: 'me', password: 'pw' } as const };
    await assert.rejects(resolveAt(endpoint, { credentials }), (error) => isImgfsError(error, 'denied'));
    assert.equal(registry.requestsTo({ role: 'token' }).length, 0);
    await resolveAt(endpoint);
    await resolveAt(endpoint, { credentials, options: { trustedHosts: ['localhost'] } });
    assert.equal(registry.requestsTo({ role: 'token' }).length, 2);
  },
);
