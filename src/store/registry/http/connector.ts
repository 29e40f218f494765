/**
 * Makes undici's connections so that they read into buffers that are used again (`read-buffers`), as much as is there
 * at a time: undici's own connector leaves Node to make a new buffer for each 64 KiB, and for each TLS record.
 */
import {
  connect as connectPlain,
  isIP,
  type OnReadOpts,
  type Socket,
  type TcpSocketConnectOpts,
} from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { buildConnector } from 'undici';
import { toImgfsError } from '../../../errors/imgfs-error.js';
import { ConnectionTap } from './connection-tap.js';
import { errors } from './dispatchers.js';
import { readBufferBytes, readBuffers } from './read-buffers.js';

export interface ConnectorOptions {
  /** Until connected, with TLS. */
  readonly timeoutMs: number;
  /** Asked for each TLS connection; what it throws is why there is none. */
  readonly tls: () => Pick<ConnectionOptions, 'rejectUnauthorized' | 'secureContext'>;
  readonly lookup?: TcpSocketConnectOpts['lookup'];
  /** Take long bodies off plain connections (`connection-tap`): for who claims them. */
  readonly tapsBodies?: boolean;
}

/** What is left of a buffer is used while it takes a TLS record (2^14 bytes, RFC 8446 5.1), or one read of 64 KiB. */
const leastReadBytes = { plain: 64 << 10, tls: 16 << 10 };
/** As undici's connector: a peer that vanished is noticed. */
const keepAliveDelayMs = 60_000;
/** Hosts whose TLS session is remembered. */
const maxSessions = 100;

/** The reading side of one connection. */
class PooledReads {
  readonly onread: OnReadOpts = {
    buffer: () => this.#next(),
    callback: (bytes) => this.#take(bytes),
  };
  readonly #isTls: boolean;
  #socket: Socket | undefined;
  #buffer: Uint8Array | undefined;
  /** What of the buffer was read, and not handed on yet. */
  #start = 0;
  #end = 0;
  #flushing = false;
  #tap: ConnectionTap | undefined;

  constructor(isTls: boolean) {
    this.#isTls = isTls;
  }

  attach(socket: Socket, tapsBodies: boolean): void {
    this.#socket = socket;
    const push = socket.push.bind(socket);
    if (tapsBodies && !this.#isTls) this.#tap = new ConnectionTap(socket, push);
    // The end must not overtake what waits to be handed on.
    socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null) this.#flush();
      return push(chunk, encoding);
    };
    socket.once('close', () => {
      if (this.#buffer !== undefined) readBuffers.seal(this.#buffer);
      this.#buffer = undefined;
    });
  }

  /** Where the next read goes. */
  #next(): Uint8Array {
    const least = this.#isTls ? leastReadBytes.tls : leastReadBytes.plain;
    if (this.#buffer !== undefined && readBufferBytes - this.#end >= least) {
      return this.#buffer.subarray(this.#end);
    }
    this.#flush();
    if (this.#buffer !== undefined) readBuffers.seal(this.#buffer);
    this.#buffer = readBuffers.take();
    this.#start = 0;
    this.#end = 0;
    return this.#buffer;
  }

  /** False to stop reading until the stream wants more. */
  #take(bytes: number): boolean {
    this.#end += bytes;
    // TLS comes in records of 16 KiB, all of one turn at once: they are handed on together.
    if (!this.#isTls) this.#flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      setImmediate(() => {
        this.#flushing = false;
        this.#flush();
      });
    }
    const socket = this.#socket;
    if (socket === undefined) return true;
    if (this.#tap?.body?.isHeld === true) return false;
    return socket.readableLength + this.#end - this.#start < socket.readableHighWaterMark;
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket === undefined || this.#buffer === undefined || this.#end === this.#start) return;
    const chunk = this.#buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    readBuffers.filled(chunk, chunk.length);
    if (this.#tap?.take(chunk) !== true && !socket.destroyed) socket.push(chunk);
  }
}

/** A connector for undici's `Agent`: plain or TLS by the protocol, with session resumption. */
export function pooledConnector({
  timeoutMs,
  tls,
  lookup,
  tapsBodies = false,
}: ConnectorOptions): buildConnector.connector {
  const sessions = new Map<string, Buffer>();
  const common = lookup === undefined ? {} : { lookup };

  const openTls = (host: string, port: number, servername: string, onread: OnReadOpts): Socket => {
    const session = sessions.get(host);
    const options: ConnectionOptions & { onread: OnReadOpts; highWaterMark: number } = {
      ...common,
      ...tls(),
      host,
      port,
      servername,
      onread,
      highWaterMark: readBufferBytes,
      ALPNProtocols: ['http/1.1'],
      ...(session === undefined ? {} : { session }),
    };
    return connectTls(options).on('session', (fresh: Buffer) => {
      sessions.delete(host);
      sessions.set(host, fresh);
      const [oldest] = sessions.keys();
      if (sessions.size > maxSessions && oldest !== undefined) sessions.delete(oldest);
    });
  };

  const openPlain = (host: string, port: number, onread: OnReadOpts): Socket => {
    const options: TcpSocketConnectOpts & { highWaterMark: number } = {
      ...common,
      host,
      port,
      onread,
      highWaterMark: readBufferBytes,
    };
    return connectPlain(options);
  };

  return ({ hostname, protocol, port, servername }, callback) => {
    const isTls = protocol === 'https:';
    const reads = new PooledReads(isTls);
    const portNumber = Number(port) || (isTls ? 443 : 80);
    // No name for an address (RFC 6066, 3).
    const ownName = isIP(hostname) === 0 ? hostname : '';
    const name = (servername ?? '') === '' ? ownName : (servername ?? '');
    let socket: Socket;
    try {
      socket = isTls
        ? openTls(hostname, portNumber, name, reads.onread)
        : openPlain(hostname, portNumber, reads.onread);
    } catch (error) {
      // In a later turn, as a network answers: undici is not ready for it earlier.
      setImmediate(() => callback(toImgfsError(error), null));
      return;
    }
    reads.attach(socket, tapsBodies);
    const timer = setTimeout(() => {
      socket.destroy(new errors.ConnectTimeoutError(`no connection to ${hostname}:${portNumber}`));
    }, timeoutMs);
    let settle: typeof callback | undefined = callback;
    socket
      .setKeepAlive(true, keepAliveDelayMs)
      .setNoDelay(true)
      .once(isTls ? 'secureConnect' : 'connect', () => {
        clearTimeout(timer);
        settle?.(null, socket);
        settle = undefined;
      })
      .on('error', (error) => {
        settle?.(error, null);
        settle = undefined;
      })
      .once('close', () => clearTimeout(timer));
  };
}
