/** Writes an answer to the socket, as well or as badly as the delivery says. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Delivery } from './distort.js';
import type { RequestRecord } from './request.js';

/** Bytes written at once: the usual size of a socket's send buffer step. */
const pieceBytes = 64 * 1024;

function resetConnection(socket: Socket | null): void {
  if (socket === null || socket.destroyed) return;
  // A TLS socket cannot send RST by itself; a sudden end is what its peer sees then.
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}

/** Resolves when the bytes were taken over, or the client is gone. */
async function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve) => {
    if (response.destroyed) {
      resolve();
      return;
    }
    response.once('close', resolve);
    response.write(bytes, () => {
      response.off('close', resolve);
      resolve();
    });
  });
}

/** Wait, but not longer than the client does. */
async function pause(response: ServerResponse, ms: number): Promise<void> {
  const gone = new AbortController();
  const stop = (): void => gone.abort();
  response.once('close', stop);
  try {
    await sleep(ms, undefined, { signal: gone.signal });
  } catch {
    // The client left: the writer sees that by itself.
  } finally {
    response.off('close', stop);
  }
}

async function sendBody(response: ServerResponse, record: RequestRecord, delivery: Delivery): Promise<void> {
  const { body } = delivery.reply;
  const end = Math.min(body.size, delivery.cutAt ?? Infinity, delivery.stallAt ?? Infinity);
  const step = delivery.drip?.bytes ?? pieceBytes;
  for (let at = 0; at < end && !response.destroyed; at += step) {
    const piece = body.slice(at, Math.min(at + step, end));
    record.bytesSent += piece.length;
    await write(response, piece);
    if (delivery.drip !== undefined) await pause(response, delivery.drip.everyMs);
  }
}

/** Send it. Resolves when everything that will ever be sent was sent. */
export async function deliver(
  response: ServerResponse,
  record: RequestRecord,
  delivery: Delivery,
): Promise<void> {
  const { reply } = delivery;
  if (delivery.hang === true) return;
  if (delivery.delayHeadersMs !== undefined) await pause(response, delivery.delayHeadersMs);
  if (delivery.reset === 'instead') {
    resetConnection(response.socket);
    return;
  }
  if (response.destroyed) return;
  record.status = reply.status;
  const noBody = record.method === 'HEAD' || reply.status === 204 || reply.status === 304;
  const length = reply.announcedLength ?? reply.body.size;
  for (const [name, value] of Object.entries(reply.headers)) response.setHeader(name, value);
  if (delivery.chunked !== true && reply.status !== 204 && reply.status !== 304) {
    response.setHeader('Content-Length', length);
  }
  response.writeHead(reply.status);
  response.flushHeaders();
  if (delivery.reset === 'headers') {
    // One turn of the loop lets the headers out first.
    await sleep(5);
    resetConnection(response.socket);
    return;
  }
  if (delivery.delayBodyMs !== undefined) await pause(response, delivery.delayBodyMs);
  if (!noBody) await sendBody(response, record, delivery);
  if (delivery.stallAt !== undefined && !noBody) return;
  const short = !noBody && delivery.chunked !== true && reply.body.size < length;
  if (short || (delivery.cutAt !== undefined && !noBody)) {
    // As Go's server does when a handler wrote less than it announced: what was written goes out, then the end.
    response.socket?.destroySoon();
    return;
  }
  response.end();
}
