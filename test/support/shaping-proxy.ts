/**
 * A TCP proxy that makes loopback slow: a round trip time, and a bandwidth shared by all connections.
 *
 * Each direction of each connection is one queue: a chunk leaves when its time has come AND everything before it
 * has left. Independent timers per chunk would reorder bytes under load. TCP slow start is not modelled.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface ShapingOptions {
  /** Where to forward to. */
  readonly host?: string;
  readonly port: number;
  /** Added to each exchange, in milliseconds; also paid once for each connect. */
  readonly roundTripMs?: number;
  /** Bytes per second towards the client, shared by all connections. Default: no limit. */
  readonly bytesPerSecond?: number;
}

export interface ShapingProxy {
  readonly host: string;
  readonly port: number;
  /** Bytes forwarded to the client. */
  bytesDown(): number;
  /** Bytes forwarded to the server. */
  bytesUp(): number;
  connections(): number;
  resetCounters(): void;
  close(): Promise<void>;
}

/** When the shared line is free for the next byte, in milliseconds of `performance.now`. */
interface Line {
  readonly bytesPerMs: number;
  freeAt: number;
}

/** One direction of one connection: first in, first out. */
function pump(
  from: Socket,
  to: Socket,
  delayMs: number,
  line: Line | undefined,
  count: (bytes: number) => void,
): void {
  let tail: Promise<void> = Promise.resolve();
  const enqueue = (dueAt: number, act: () => void): void => {
    tail = tail.then(async () => {
      const left = dueAt - performance.now();
      if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
      act();
    });
  };
  from.on('data', (chunk: Buffer) => {
    const now = performance.now();
    let sentAt = now;
    if (line !== undefined) {
      line.freeAt = Math.max(line.freeAt, now) + chunk.length / line.bytesPerMs;
      sentAt = line.freeAt;
    }
    // The line is the only brake: while its queue is long, the sender is held back so that memory stays small.
    if (sentAt - now > 100) {
      from.pause();
      setTimeout(() => from.resume(), sentAt - now - 50).unref();
    }
    enqueue(sentAt + delayMs, () => {
      count(chunk.length);
      if (!to.destroyed) to.write(chunk);
    });
  });
  from.on('end', () => enqueue(0, () => to.end()));
  from.on('close', () => enqueue(0, () => to.destroySoon()));
  from.on('error', () => to.destroy());
}

/** Start it on a free loopback port. */
export async function startShapingProxy(options: ShapingOptions): Promise<ShapingProxy> {
  const oneWayMs = (options.roundTripMs ?? 0) / 2;
  const { bytesPerSecond } = options;
  const line = bytesPerSecond === undefined ? undefined : { bytesPerMs: bytesPerSecond / 1000, freeAt: 0 };
  const sockets = new Set<Socket>();
  let down = 0;
  let up = 0;
  let connections = 0;
  const track = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  const server = createServer({ pauseOnConnect: true }, (client) => {
    track(client);
    connections += 1;
    // The handshake costs one round trip before the first byte can go.
    setTimeout(() => {
      const upstream = track(connect(options.port, options.host ?? '127.0.0.1'));
      pump(client, upstream, oneWayMs, undefined, (bytes) => (up += bytes));
      pump(upstream, client, oneWayMs, line, (bytes) => (down += bytes));
      client.resume();
    }, options.roundTripMs ?? 0);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    host: `127.0.0.1:${port}`,
    port,
    bytesDown: () => down,
    bytesUp: () => up,
    connections: () => connections,
    resetCounters: () => {
      down = up = connections = 0;
    },
    close: async () => {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
