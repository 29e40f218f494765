/**
 * Looks at what goes over one plain connection to find long bodies (`tapped-body`), which it takes off before undici's
 * parser sees them. Only answers to GET whose head is as simple as heads should be, with one length and no encoding, and
 * came in one piece, are touched; all others pass as they are, whatever is wrong with them.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { caps } from '../options.js';
import type { ResponseHeaders } from './headers.js';
import { TappedBody } from './tapped-body.js';

/** Below that a body is over before another thread has begun. */
const leastBytes = 1 << 20;
/** The parser's byte. */
const oneByte = Buffer.from([0]);

/** Name of the header that tells which body belongs to an answer: one that no server can know. */
const marker = `imgfs-body-${randomBytes(16).toString('hex')}`;
const unclaimed = new Map<string, TappedBody>();
let lastName = 0;

/** The body of an answer if it was tapped, and the headers as the server sent them. */
export function claimTapped(headers: ResponseHeaders): {
  readonly tapped: TappedBody | undefined;
  readonly headers: ResponseHeaders;
} {
  const name = headers[marker];
  const tapped = typeof name === 'string' ? unclaimed.get(name) : undefined;
  if (tapped === undefined || typeof name !== 'string') return { tapped: undefined, headers };
  unclaimed.delete(name);
  const { [marker]: _, ...own } = headers;
  return { tapped, headers: { ...own, 'content-length': String(tapped.length) } };
}

/** Length of the body behind a head that ends with an empty line; undefined for one that is left to the parser. */
export function simpleLength(head: string): number | undefined {
  const [status, ...fields] = head.slice(0, -4).split('\r\n');
  if (status === undefined || !/^HTTP\/1\.1 20[06] [\t\x20-\x7e]*$/.test(status)) return undefined;
  let length: string | undefined;
  for (const field of fields) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e]*)$/.exec(field);
    const [, name, value = ''] = match ?? [];
    switch (name?.toLowerCase()) {
      case undefined:
      case 'transfer-encoding':
      case 'upgrade':
      case 'trailer':
        return undefined;
      case 'content-encoding':
        if (value.trim() !== 'identity') return undefined;
        break;
      case 'content-length':
        if (length !== undefined || !/^\d{1,15}$/.test(value.trim())) return undefined;
        length = value.trim();
        break;
      default:
    }
  }
  return length === undefined ? undefined : Number(length);
}

export class ConnectionTap {
  readonly #socket: Socket;
  readonly #push: Socket['push'];
  readonly #read: (size: number) => void;
  #expectsHead = false;
  #body: TappedBody | undefined;
  #name = '';

  /** Hooks into the socket's writes, for the requests, and reads, which a body may hold. */
  constructor(socket: Socket, push: Socket['push']) {
    this.#socket = socket;
    this.#push = push;
    this.#read = socket._read.bind(socket);
    socket._read = (size: number): void => {
      if (this.#body?.isHeld !== true) this.#read(size);
    };
    // A socket's own `read` starts reading from the network by itself, where a stream's only asks `_read`.
    const read = socket.read.bind(socket);
    socket.read = (size?: number): unknown =>
      this.#body?.isHeld === true ? Duplex.prototype.read.call(socket, size) : read(size);
    const write = socket.write.bind(socket) as (...words: unknown[]) => boolean;
    socket.write = (chunk: unknown, ...rest: unknown[]): boolean => {
      // undici writes the head of a request as one string, and the next one only when the answer is over.
      if (typeof chunk === 'string') this.#expectsHead = chunk.startsWith('GET ');
      return write(chunk, ...rest);
    };
    socket.once('close', () => {
      unclaimed.delete(this.#name);
      this.#body?.cancel();
    });
  }

  /** The body that is on its way. */
  get body(): TappedBody | undefined {
    return this.#body;
  }

  /** Look at what was read: true when it is dealt with, false for what the parser is to have. */
  take(bytes: Uint8Array): boolean {
    if (this.#body !== undefined) {
      this.#body.take(bytes);
      return true;
    }
    if (!this.#expectsHead) return false;
    this.#expectsHead = false;
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const headEnd = chunk.indexOf('\r\n\r\n') + 4;
    const head = headEnd < 4 || headEnd > caps.headerBytes ? '' : chunk.toString('latin1', 0, headEnd);
    const length = head === '' ? undefined : simpleLength(head);
    const prefix = chunk.subarray(headEnd);
    if (length === undefined || length < leastBytes || prefix.length > length) return false;
    this.#name = String((lastName += 1));
    this.#body = new TappedBody(
      { readOn: () => this.#readOn(), finish: (rest) => this.#finish(rest), fd: () => this.#fd() },
      length,
      prefix,
    );
    unclaimed.set(this.#name, this.#body);
    const short = head.replace(
      /\r\ncontent-length:[^\r]*/i,
      `\r\ncontent-length: 1\r\n${marker}: ${this.#name}`,
    );
    this.#push(Buffer.from(short, 'latin1'));
    return true;
  }

  #readOn(): void {
    if (!this.#socket.destroyed) this.#read(0);
  }

  #finish(rest: Uint8Array): void {
    this.#body = undefined;
    if (this.#socket.destroyed) return;
    this.#push(oneByte);
    if (rest.length > 0) this.#push(rest);
  }

  #fd(): number | undefined {
    const { _handle: handle } = this.#socket as { _handle?: { readonly fd?: number } | null };
    const fd = handle?.fd;
    return typeof fd === 'number' && fd >= 0 ? fd : undefined;
  }
}
