/**
 * What a process does only once for its first request to a registry, done before anybody waits for one. Otherwise the
 * first `ls` of a mount holds its event loop up: on two processors 25 ms while undici and Node's http are loaded, 10 while
 * the authorities of the machine are compared with Node's, and 18 in one turn while all that a request goes through is
 * compiled and a TLS context is made.
 */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { digestOf } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { counter } from '../../observe/metrics.js';
import type { Environment } from './config/environment.js';
import { createProxyChooser } from './config/proxy.js';
import { createTrustAnchors } from './config/trust-anchors.js';
import { loadProxyAgent } from './http/dispatchers.js';
import { openRegistryStore } from './registry-store.js';

/** Both a manifest and a blob: a store does not look into what it receives. */
const content = Buffer.from('{}');
const repository = 'rehearsal';
const digest = digestOf(content);

/** Everything is in this process: who is not done by then waits for something that will not come. */
const answerTimeoutMs = 2_000;

/** The first byte of a TLS handshake (RFC 8446, 5.1). */
const handshakeByte = 0x16;

/** What a registry without TLS says to a handshake, and to everything else that it has it. */
function answer(request: Buffer): string {
  if (request[0] === handshakeByte) return 'HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n';
  const body = request.toString('latin1').startsWith('HEAD') ? '' : content.toString();
  const type = `content-type: ${mediaTypes.ociManifest}\r\ndocker-content-digest: ${digest}\r\n`;
  return `HTTP/1.1 200 OK\r\n${type}content-length: ${content.length}\r\n\r\n${body}`;
}

/** A registry of one image on the loopback interface, which no other machine reaches. */
async function withRegistry(ask: (host: string) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    // Requests are short and come one by one. Who goes away misses nothing.
    socket
      .on('error', () => {})
      .on('data', (request) => {
        const text = answer(request);
        if (request[0] === handshakeByte) socket.end(text);
        else socket.write(text);
      });
  });
  server.listen(0, '127.0.0.1');
  try {
    await once(server, 'listening', { signal: AbortSignal.timeout(answerTimeoutMs) });
    await ask(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** As a mount does it: https first, http in its place, the manifest of a tag, a blob. */
async function askFor(host: string, environment: Environment): Promise<void> {
  const endpoint = {
    origin: `https://${host}`,
    apiPath: '/v2',
    repository,
    isOrigin: true,
    namespaceQuery: false,
    capabilities: new Set(['pull', 'resolve'] as const),
    headers: {},
    tls: { ca: await createTrustAnchors(environment).read(), verify: true },
    allowHttpFallback: true,
    credentialHost: host,
  };
  const store = openRegistryStore(host, {
    endpoints: {
      endpoints: async () => [endpoint],
      proxyFor: () => undefined,
      alias: async () => undefined,
    },
    credentials: { find: async () => ({ credential: { kind: 'anonymous' }, origin: 'nobody' }) },
    options: { retries: 0, callTimeoutMs: answerTimeoutMs },
  });
  const signal = AbortSignal.timeout(answerTimeoutMs);
  try {
    await store.resolve({ repository, tag: 'latest' }, { signal });
    const descriptor = { mediaType: 'application/octet-stream', digest, size: content.length };
    const body = await store.fetch(repository, descriptor, { signal });
    for await (const chunk of body.chunks) body.release?.(chunk);
  } finally {
    await store.close();
  }
}

/** No registry was asked: what is counted of them stays as it is. */
async function uncounted(work: () => Promise<void>): Promise<void> {
  const counters = ['imgfs_store_requests_total', 'imgfs_store_received_bytes_total'].map((name) =>
    counter(name, ''),
  );
  const before = counters.map(({ value }) => value);
  try {
    await work();
  } finally {
    for (const [index, each] of counters.entries()) each.add((before[index] ?? 0) - each.value);
  }
}

/**
 * Whether everything was tried: whatever of it fails is left to the first request, which says so to whoever asked.
 * Nothing leaves this machine.
 */
export async function rehearseRequest(environment: Environment): Promise<boolean> {
  const proxy = async (): Promise<void> => {
    if (createProxyChooser(environment)(new URL('https://rehearsal.invalid')) !== undefined) loadProxyAgent();
  };
  const request = (): Promise<void> => withRegistry((host) => askFor(host, environment));
  const results = await Promise.allSettled([uncounted(request), proxy()]);
  return results.every(({ status }) => status === 'fulfilled');
}
