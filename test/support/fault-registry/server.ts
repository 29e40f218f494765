/** One listening server of the fault registry: makes records of requests and has them answered. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { RegistryRequest, RequestRecord, ServerRole } from './request.js';
import type { ServerTls } from './certificates.js';

export type Answerer = (request: RegistryRequest, response: ServerResponse) => Promise<void>;

export interface RoleServer {
  readonly origin: string;
  readonly port: number;
  /** Stop listening and drop all connections, as in an outage. */
  suspend(): Promise<void>;
  /** Listen again on the same port. */
  resume(): Promise<void>;
  close(): Promise<void>;
}

export interface RoleServerOptions {
  readonly role: ServerRole;
  readonly tls: ServerTls | undefined;
  readonly port?: number;
  /** Where records go; the index is the place in it. */
  readonly records: RequestRecord[];
  readonly startedAt: number;
  readonly answer: Answerer;
}

function joinedHeaders(message: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(message.headers).map(([name, value]) => [name, [value].flat().join(', ')]),
  );
}

async function* incoming(message: IncomingMessage, record: RequestRecord): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of message) {
      const bytes = chunk as Buffer;
      record.bytesReceived += bytes.length;
      yield bytes;
    }
  } catch {
    // The client went away in the middle: what came counts as what came.
  }
}

function makeRequest(
  message: IncomingMessage,
  options: RoleServerOptions,
  origin: string,
  connection: number,
): RegistryRequest {
  const url = new URL(message.url ?? '/', 'http://any');
  const request: RegistryRequest = {
    index: options.records.length,
    role: options.role,
    method: message.method ?? 'GET',
    path: url.pathname,
    query: url.searchParams,
    headers: joinedHeaders(message),
    connection,
    at: Date.now() - options.startedAt,
    status: 0,
    bytesSent: 0,
    bytesReceived: 0,
    origin,
    chunks: () => incoming(message, request),
    body: async (maxBytes) => {
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const part of incoming(message, request)) {
        size += part.length;
        if (size > maxBytes) return undefined;
        parts.push(part);
      }
      return Buffer.concat(parts);
    },
  };
  return request;
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  return (server.address() as AddressInfo).port;
}

/** Start listening on a loopback port. */
export async function startRoleServer(options: RoleServerOptions): Promise<RoleServer> {
  const connections = new WeakMap<Socket, number>();
  let count = 0;
  let origin = '';
  const handle = (message: IncomingMessage, response: ServerResponse): void => {
    const request = makeRequest(message, options, origin, connections.get(message.socket) ?? 0);
    options.records.push(request);
    response.on('error', () => {});
    options.answer(request, response).catch((error: unknown) => {
      console.error(`fault registry: ${request.method} ${request.path}:`, error);
      response.socket?.destroy();
    });
  };
  const { tls } = options;
  const server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    connections.set(socket, (count += 1));
  });
  server.on('clientError', (_error, socket) => void socket.destroy());
  const port = await listen(server, options.port ?? 0);
  origin = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const suspend = async (): Promise<void> => {
    if (!server.listening) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  };
  return {
    origin,
    port,
    suspend,
    resume: async () => void (await listen(server, port)),
    close: suspend,
  };
}
