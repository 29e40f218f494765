/** Bytes come through our connections as they were sent, however they are cut, and the end does not overtake them. */
import assert from 'node:assert/strict';
import { createServer as createPlain, type AddressInfo, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { createSecureContext, createServer as createTls } from 'node:tls';
import { Agent, request } from 'undici';
import { ImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { pooledConnector } from '../../../../../src/store/registry/http/connector.js';
import { testCertificates } from '../../../../support/fault-registry/index.js';
import { createPrng } from '../../../../support/prng.js';

const timeout = 30_000;

async function listen(t: { after(work: () => void): void }, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Answers every request on a connection with `body`; without a length the end of the connection ends it. */
function answering(body: Uint8Array, sized: boolean, seed: number) {
  const prng = createPrng(seed);
  return (socket: Socket): void => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      socket.write(
        `HTTP/1.1 200 OK\r\n${sized ? `content-length: ${body.length}` : 'connection: close'}\r\n\r\n`,
      );
      for (let at = 0; at < body.length;) {
        const end = Math.min(body.length, at + 1 + prng.integer(300_000));
        socket.write(body.subarray(at, end));
        at = end;
      }
      if (!sized) socket.end();
    });
  };
}

for (const protocol of ['http', 'https'] as const) {
  for (const sized of [true, false]) {
    test(`${protocol}, ${sized ? 'announced length' : 'ended by the connection'}`, { timeout }, async (t) => {
      const { ca, good } = await testCertificates();
      const body = Buffer.from(createPrng(1).bytes(5_000_000));
      const serve = answering(body, sized, 7);
      const server = protocol === 'http' ? createPlain(serve) : createTls(good, serve);
      const port = await listen(t, server);
      const secureContext = createSecureContext({ ca });
      const connect = pooledConnector({
        timeoutMs: 5000,
        tls: () => ({ secureContext, rejectUnauthorized: true }),
      });
      const agent = new Agent({ connect, pipelining: 1 });
      t.after(() => agent.destroy());
      const fetchOnce = async (): Promise<Buffer> => {
        const answer = await request(`${protocol}://127.0.0.1:${port}/`, { dispatcher: agent });
        return Buffer.from(await answer.body.arrayBuffer());
      };
      // One after the other on one connection, and several at once.
      for (let round = 0; round < 3; round += 1) assert.ok(body.equals(await fetchOnce()), `round ${round}`);
      for (const bytes of await Promise.all([fetchOnce(), fetchOnce(), fetchOnce()]))
        assert.ok(body.equals(bytes));
    });
  }
}

test('a peer that does not answer the handshake is given up', { timeout }, async (t) => {
  const port = await listen(
    t,
    createPlain(() => undefined),
  );
  const connect = pooledConnector({ timeoutMs: 100, tls: () => ({}) });
  const agent = new Agent({ connect });
  t.after(() => agent.destroy());
  await assert.rejects(request(`https://127.0.0.1:${port}/`, { dispatcher: agent }), {
    code: 'UND_ERR_CONNECT_TIMEOUT',
  });
});

test('certificates are looked at for TLS alone, and what is wrong with them is why there is no connection', async (t) => {
  const port = await listen(t, createPlain(answering(Buffer.from('plain'), true, 1)));
  const tls = (): never => {
    throw new ImgfsError('config', 'the certificates cannot be used');
  };
  const agent = new Agent({ connect: pooledConnector({ timeoutMs: 5000, tls }) });
  t.after(() => agent.destroy());
  const answer = await request(`http://127.0.0.1:${port}/`, { dispatcher: agent });
  assert.equal(await answer.body.text(), 'plain');
  await assert.rejects(request(`https://127.0.0.1:${port}/`, { dispatcher: agent }), {
    code: 'config',
    message: /the certificates cannot be used/,
  });
});
