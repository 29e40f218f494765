/**
 * Long bodies over plain connections, in chunks and by the addon's receiver: the same bytes, the same errors, and a
 * connection that is used again exactly where HTTP allows it.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { receiveAddon } from '../../../../../src/addon/receive-addon.js';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { simpleLength } from '../../../../../src/store/registry/http/connection-tap.js';
import { pooledConnector } from '../../../../../src/store/registry/http/connector.js';
import { Agent } from '../../../../../src/store/registry/http/dispatchers.js';
import { exchange, type Answer, type Method } from '../../../../../src/store/registry/http/exchange.js';
import { createPrng } from '../../../../support/prng.js';
import { makeTempDir, removeTempDir } from '../../../../support/temp.js';

const timeout = 30_000;
const body = Buffer.from(createPrng(3).bytes(3_000_001));
const head = `HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: ${body.length}\r\n\r\n`;

/** What a server does with the nth request (from 0) on a connection. */
type Serve = (socket: Socket, nth: number, request: string) => void | Promise<void>;

interface Ground {
  readonly get: (options?: { method?: Method; signal?: AbortSignal }) => Promise<Answer>;
  /** Connections made so far. */
  readonly connections: () => number;
  readonly directory: string;
}

async function ground(t: TestContext, serve: Serve): Promise<Ground> {
  const directory = await makeTempDir('tapped');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    let nth = 0;
    let request = '';
    socket.on('data', (bytes) => {
      request += bytes.toString('latin1');
      if (!request.includes('\r\n\r\n')) return;
      void serve(socket, nth, request);
      request = '';
      nth += 1;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent = new Agent({
    connect: pooledConnector({ timeoutMs: 5000, tls: () => ({}), tapsBodies: true }),
    pipelining: 1,
  });
  t.after(async () => {
    await agent.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
    await removeTempDir(directory);
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/blob`);
  return {
    directory,
    connections: () => sockets.size,
    get: ({ method = 'GET', signal } = {}) =>
      exchange(agent, {
        method,
        url,
        headers: {},
        context: { operation: 'fetch blob' },
        timeoutMs: 5000,
        stall: { windowMs: 400, minBytesPerSecond: 1000 },
        ...(signal === undefined ? {} : { signal }),
      }),
  };
}

async function inChunks(answer: Answer): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer.body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

let files = 0;

/** All of a body: as much as goes by the receiver into a file, the rest in chunks. */
async function received(answer: Answer, directory: string): Promise<Buffer> {
  const path = join(directory, `file-${(files += 1)}`);
  const file = await open(path, 'w+');
  const digest = receiveAddon()?.createDigest('sha256');
  try {
    let told = 0;
    const written = await answer.body.receive({
      fd: file.fd,
      offset: 0,
      digest,
      onWritten: (bytes) => {
        assert.ok(bytes >= told, 'never less');
        told = bytes;
      },
    });
    assert.equal(told, written);
    const kept = await readFile(path);
    assert.equal(kept.length, written);
    if (digest !== undefined) {
      const hex = createHash('sha256').update(kept).digest('hex');
      assert.equal(receiveAddon()?.digestFinish(digest), hex);
    }
    return Buffer.concat([kept, await inChunks(answer)]);
  } finally {
    await file.close();
  }
}

const ways = {
  'in chunks': inChunks,
  'by the receiver': received,
} satisfies Record<string, (answer: Answer, directory: string) => Promise<Buffer>>;

const whole: Serve = (socket) => {
  socket.write(head);
  socket.write(body);
};

test('the addon is here to be tested', () => {
  assert.notEqual(receiveAddon(), undefined);
});

for (const [way, read] of Object.entries(ways)) {
  const both = (title: string, work: (t: TestContext) => Promise<void>): void =>
    void test(`${way}: ${title}`, { timeout }, work);

  both('the body and the headers, again and again on one connection', async (t) => {
    const { get, connections, directory } = await ground(t, whole);
    for (let round = 0; round < 4; round += 1) {
      const answer = await get();
      assert.deepEqual(
        { ...answer.headers },
        {
          'content-type': 'a/b',
          'content-length': String(body.length),
        },
      );
      assert.equal(answer.body.canReceive, true);
      assert.ok(body.equals(await read(answer, directory)), `round ${round}`);
    }
    assert.equal(connections(), 1);
  });

  both('each way after the other on one connection', async (t) => {
    const { get, connections, directory } = await ground(t, whole);
    for (const next of [read, inChunks, received, read]) {
      assert.ok(body.equals(await next(await get(), directory)));
    }
    assert.equal(connections(), 1);
  });

  both('cut into pieces, however small they are, after the head', async (t) => {
    const prng = createPrng(9);
    const { get, directory } = await ground(t, async (socket) => {
      socket.setNoDelay(true).write(head);
      await sleep(5);
      for (let at = 0; at < body.length;) {
        const end = at + 1 + prng.integer(at < 3000 ? 200 : 200_000);
        socket.write(body.subarray(at, end));
        at = end;
        await sleep(1);
      }
    });
    assert.ok(body.equals(await read(await get(), directory)));
  });

  both('a connection that the server closes behind the body is not used again', async (t) => {
    const { get, connections, directory } = await ground(t, (socket) => {
      socket.write(head.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      socket.end(body);
    });
    for (let round = 0; round < 2; round += 1) assert.ok(body.equals(await read(await get(), directory)));
    assert.equal(connections(), 2);
  });

  both('bytes behind the body are not part of it, and end the connection', async (t) => {
    const { get, connections, directory } = await ground(t, (socket) => {
      socket.write(head);
      socket.write(body);
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong');
    });
    for (let round = 0; round < 3; round += 1) {
      assert.ok(body.equals(await read(await get(), directory)));
      await sleep(20);
    }
    assert.equal(connections(), 3);
  });

  both('a cut keeps what came and says so', async (t) => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const { get, directory } = await ground(t, async (socket) => {
        socket.write(head);
        socket.write(body.subarray(0, 2_000_000));
        await sleep(50);
        socket[end]();
      });
      await assert.rejects(read(await get(), directory), (error) => isImgfsError(error, 'unavailable'));
    }
  });

  both('a stall and a drip are timeouts', async (t) => {
    for (const drips of [false, true]) {
      const { get, directory } = await ground(t, async (socket) => {
        socket.write(head);
        socket.write(body.subarray(0, 1_500_000));
        const end = drips ? 1_500_100 : 1_500_000;
        for (let at = 1_500_000; at < end && !socket.destroyed; at += 1) {
          socket.write(body.subarray(at, at + 1));
          await sleep(20);
        }
      });
      await assert.rejects(read(await get(), directory), (error) => isImgfsError(error, 'timeout'));
    }
  });

  both('giving up in the middle ends the connection', async (t) => {
    let closed: (() => void) | undefined;
    const closing = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const { get, directory } = await ground(t, (socket) => {
      socket.once('close', () => closed?.());
      socket.write(head);
      socket.write(body.subarray(0, 1_200_000));
    });
    const controller = new AbortController();
    const answer = await get({ signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(read(answer, directory), (error) => isImgfsError(error, 'interrupted'));
    await closing;
  });

  both('cancelled from outside it ends quietly', async (t) => {
    const { get, directory } = await ground(t, (socket) => {
      socket.write(head);
      socket.write(body.subarray(0, 1_200_000));
    });
    const answer = await get();
    setTimeout(() => answer.body.cancel(), 50);
    const bytes = await read(answer, directory);
    assert.ok(bytes.length <= 1_200_000 && body.subarray(0, bytes.length).equals(bytes));
  });

  both('what is not simple is left to the parser', async (t) => {
    const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`;
    const { get, directory } = await ground(t, (socket, nth) => {
      socket.write(nth === 0 ? chunked : head.replace('200 OK', '203 Other'));
      socket.write(body);
      if (nth === 0) socket.write('\r\n0\r\n\r\n');
    });
    for (let round = 0; round < 2; round += 1) {
      const answer = await get();
      assert.equal(answer.body.canReceive, false);
      assert.ok(body.equals(await read(answer, directory)));
    }
  });
}

test('a file that takes no more: the rest comes in chunks', { timeout }, async (t) => {
  const { get, connections } = await ground(t, whole);
  const full = await open('/dev/full', 'w');
  t.after(() => full.close());
  for (let round = 0; round < 2; round += 1) {
    const answer = await get();
    const target = { fd: full.fd, offset: 0, digest: undefined, onWritten: () => undefined };
    assert.equal(await answer.body.receive(target), 0);
    assert.ok(body.equals(await inChunks(answer)));
  }
  assert.equal(connections(), 1);
});

test('a slow consumer holds the server back', { timeout }, async (t) => {
  let sent = 0;
  const long = 64 << 20;
  const { get } = await ground(t, async (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${long}\r\n\r\n`);
    while (sent < long && !socket.destroyed) {
      sent += 65_536;
      if (!socket.write(Buffer.alloc(65_536))) await new Promise((resolve) => socket.once('drain', resolve));
    }
  });
  const answer = await get();
  await answer.body.next();
  await sleep(300);
  assert.ok(sent < long / 2, `${sent} bytes were taken`);
  answer.body.cancel();
});

test('HEAD has no body, whatever length it tells', { timeout }, async (t) => {
  const { get, connections } = await ground(t, (socket) => void socket.write(head));
  for (let round = 0; round < 2; round += 1) {
    const answer = await get({ method: 'HEAD' });
    assert.equal(answer.headers['content-length'], String(body.length));
    assert.equal((await inChunks(answer)).length, 0);
  }
  assert.equal(connections(), 1);
});

test('a body that nobody begins is read into the queue like any other', { timeout }, async (t) => {
  const { get } = await ground(t, whole);
  const answer = await get();
  const held = new Promise<boolean>((resolve) => {
    answer.body.onHold = resolve;
  });
  assert.equal(await held, true);
  assert.equal(answer.body.canReceive, false);
  assert.ok(body.equals(await inChunks(answer)));
});

test('only plain heads have a length that counts', () => {
  const length = (fields: string, status = 'HTTP/1.1 206 Partial Content'): number | undefined =>
    simpleLength(`${status}\r\n${fields}\r\n\r\n`);
  assert.equal(length('content-length: 12'), 12);
  assert.equal(length('A: b\r\nCONTENT-LENGTH:12 \r\nC:'), 12);
  assert.equal(length('content-length: 12\r\ncontent-encoding: identity'), 12);
  for (const fields of [
    'a: b',
    'content-length: 12\r\ncontent-length: 12',
    'content-length: 12, 12',
    'content-length: +12',
    'content-length: 1e3',
    'content-length: 0x10',
    'content-length: 1234567890123456',
    'content-length : 12',
    ' content-length: 12',
    'content-length: 12\r\n folded',
    'content-length: 12\r\nno colon',
    'content-length: 12\r\na: \u0001',
    'content-length: 12\r\na: b\nc: d',
    'content-length: 12\r\na: b\rc: d',
    'content-length: 12\r\ntransfer-encoding: identity',
    'content-length: 12\r\ntransfer-encoding: chunked',
    'content-length: 12\r\ncontent-encoding: gzip',
    'content-length: 12\r\nupgrade: h2c',
    'content-length: 12\r\ntrailer: x',
  ]) {
    assert.equal(length(fields), undefined, fields);
  }
  for (const status of [
    'HTTP/1.0 200 OK',
    'HTTP/1.1 204 No',
    'HTTP/1.1 100 Go',
    'HTTP/1.1 200',
    'ICY 200 OK',
  ]) {
    assert.equal(length('content-length: 12', status), undefined, status);
  }
});
