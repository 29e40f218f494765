/** Turns an honest answer and a fault into what is really sent. */
import { bytesContent, type BlobContent } from './content.js';
import type { Fault, Place } from './fault.js';
import { endlessPage } from './endless-pages.js';
import { window } from './ranges.js';
import { bytesReply, emptyReply, errorReply, type Headers, type Reply } from './reply.js';
import type { RequestRecord } from './request.js';

/** How the bytes go out. Offsets count body bytes. */
export interface Delivery {
  readonly reply: Reply;
  readonly delayHeadersMs?: number;
  readonly delayBodyMs?: number;
  readonly drip?: { readonly bytes: number; readonly everyMs: number };
  readonly cutAt?: number;
  readonly stallAt?: number;
  /** Reset instead of an answer, or right behind the headers. */
  readonly reset?: 'instead' | 'headers';
  readonly hang?: boolean;
  /** Send no length: chunked. */
  readonly chunked?: boolean;
}

function offsetOf(place: Place, size: number): number {
  const at = 'at' in place ? place.at : Math.floor(place.atFraction * size);
  return Math.max(0, Math.min(at, size));
}

function setHeaders(
  reply: Reply,
  set: Readonly<Record<string, string | readonly string[] | undefined>>,
): Reply {
  const wanted = new Map(Object.entries(set).map(([name, value]) => [name.toLowerCase(), value]));
  const kept = Object.entries(reply.headers).filter(([name]) => !wanted.has(name.toLowerCase()));
  const added = Object.entries(set).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return { ...reply, headers: Object.fromEntries([...kept, ...added]) as Headers };
}

function flipped(body: BlobContent, at: number, bit: number): BlobContent {
  return {
    size: body.size,
    slice: (start, end) => {
      const bytes = Uint8Array.from(body.slice(start, end));
      const index = at - start;
      if (index >= 0 && index < bytes.length) bytes[index] = (bytes[index] ?? 0) ^ (1 << bit);
      return bytes;
    },
  };
}

function padded(body: BlobContent, more: number): BlobContent {
  const size = body.size + more;
  return {
    size,
    slice: (start, end) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start)).fill(0x2e);
      if (start < body.size) bytes.set(body.slice(start, Math.min(end, body.size)));
      return bytes;
    },
  };
}

function filler(bytes: number, prefix: string): BlobContent {
  const head = Buffer.from(prefix);
  return {
    size: bytes,
    slice: (start, end) => {
      const out = Buffer.alloc(Math.max(0, Math.min(end, bytes) - start), 0x61);
      if (start < head.length) head.copy(out, 0, start);
      return out;
    },
  };
}

function statusReply(fault: Extract<Fault, { kind: 'status' }>): Reply {
  const { status } = fault;
  const body = fault.body;
  const reply =
    body === undefined
      ? errorReply(status, status === 429 ? 'TOOMANYREQUESTS' : 'UNKNOWN', `scripted status ${status}`)
      : bytesReply(status, Buffer.from(body), { 'Content-Type': 'text/plain' });
  return setHeaders(reply, {
    ...(fault.retryAfter === undefined ? {} : { 'Retry-After': String(fault.retryAfter) }),
    ...fault.headers,
  });
}

function redirectReply(fault: Extract<Fault, { kind: 'redirect' }>, request: RequestRecord): Reply {
  const location = typeof fault.to === 'string' ? fault.to : fault.to(request);
  return emptyReply(fault.status ?? 307, { Location: location });
}

function loopReply(request: RequestRecord, distinct: boolean): Reply {
  const query = new URLSearchParams(request.query);
  if (distinct) query.set('hop', String(Number(query.get('hop') ?? 0) + 1));
  const text = query.size === 0 ? '' : `?${query.toString()}`;
  return emptyReply(307, { Location: `${request.path}${text}` });
}

function wholeReply(reply: Reply): Reply {
  if (reply.whole === undefined) return reply;
  return { ...setHeaders(reply, { 'Content-Range': undefined }), status: 200, body: reply.whole.content };
}

function shiftedReply(reply: Reply, shift: number): Reply {
  if (reply.whole === undefined) return reply;
  const { content, start } = reply.whole;
  const moved = window(content, start + shift, reply.body.size);
  return { ...reply, body: padded(moved, reply.body.size - moved.size) };
}

/** What goes out. `reply` is the honest answer, missing for faults that take its place. */
export function distort(fault: Fault, request: RequestRecord, honest: Reply | undefined): Delivery {
  const reply = honest ?? emptyReply(200);
  const { body } = reply;
  switch (fault.kind) {
    case 'status':
      return { reply: statusReply(fault) };
    case 'delay':
      return fault.before === 'body' ? { reply, delayBodyMs: fault.ms } : { reply, delayHeadersMs: fault.ms };
    case 'drip':
      return { reply, drip: fault };
    case 'cut':
      return { reply, cutAt: offsetOf(fault, body.size) };
    case 'stall':
      return { reply, stallAt: offsetOf(fault, body.size) };
    case 'flip': {
      const at = Math.min(offsetOf(fault, body.size), Math.max(0, body.size - 1));
      return { reply: { ...reply, body: flipped(body, at, fault.bit ?? 0) } };
    }
    case 'truncate':
      return { reply: { ...reply, body: window(body, 0, offsetOf(fault, body.size)) } };
    case 'pad':
      return { reply: { ...reply, body: padded(body, fault.bytes) } };
    case 'content-length':
      return { reply: { ...reply, announcedLength: Math.max(0, body.size + fault.off) } };
    case 'content-range':
      return { reply: setHeaders(reply, { 'Content-Range': fault.value }) };
    case 'wrong-range':
      return { reply: shiftedReply(reply, fault.shift) };
    case 'ignore-range':
      return { reply: wholeReply(reply) };
    case 'digest-header':
      return { reply: setHeaders(reply, { 'Docker-Content-Digest': fault.value }) };
    case 'content-type':
      return { reply: setHeaders(reply, { 'Content-Type': fault.value }) };
    case 'headers':
      return { reply: setHeaders(reply, fault.set) };
    case 'redirect':
      return { reply: redirectReply(fault, request) };
    case 'redirect-loop':
      return { reply: loopReply(request, fault.distinct === true) };
    case 'endless-pages':
      return { reply: endlessPage(fault, request) };
    case 'link':
      return { reply: setHeaders(reply, { Link: fault.value }) };
    case 'huge-headers':
      return { reply: setHeaders(reply, { 'X-Huge': 'h'.repeat(fault.bytes) }) };
    case 'huge-body': {
      const huge = filler(fault.bytes, fault.prefix ?? '');
      const type = { 'Content-Type': 'application/json', ...fault.headers };
      return { reply: { ...emptyReply(fault.status ?? 200, type), body: huge }, chunked: true };
    }
    case 'body': {
      const type = fault.contentType === undefined ? {} : { 'Content-Type': fault.contentType };
      return { reply: { ...setHeaders(reply, type), body: bytesContent(Buffer.from(fault.body)) } };
    }
    case 'garbage-json':
      return { reply: { ...reply, body: bytesContent(Buffer.from('{"tags":[nul, {"\u0000":]')) } };
    case 'reset':
      return { reply, reset: fault.when === 'headers' ? 'headers' : 'instead' };
    case 'hang':
      return { reply, hang: true };
  }
}
