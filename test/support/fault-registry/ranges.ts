/** Serving one object, or one range of it, as registries and object stores do (RFC 9110 section 14). */
import { bytesContent, type BlobContent } from './content.js';
import { bytesReply, type Headers, type Reply } from './reply.js';

/** `undefined` for no usable range (the whole is sent then), `unsatisfiable` for 416. */
export function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return undefined;
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size };
  }
  const start = Number(first);
  if (start >= size) return 'unsatisfiable';
  if (last !== '' && Number(last) < start) return undefined;
  return { start, end: last === '' ? size : Math.min(Number(last) + 1, size) };
}

function sliced(content: BlobContent, start: number, end: number): BlobContent {
  return {
    size: end - start,
    slice: (from, to) => content.slice(start + from, Math.min(start + to, end)),
  };
}

export interface ServeOptions {
  readonly headers: Headers;
  readonly range: string | undefined;
  /** docker-registry 2.8.2 announces the blob's length on 416 and then sends 33 bytes. */
  readonly oldUnsatisfiable?: boolean;
}

/** 200, 206 or 416 for a GET of `content`. */
export function serveContent(content: BlobContent, options: ServeOptions): Reply {
  const range = parseRange(options.range, content.size);
  if (range === 'unsatisfiable') {
    const body = Buffer.from('invalid range: failed to overlap\n');
    const reply = bytesReply(416, body, {
      ...options.headers,
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Range': `bytes */${content.size}`,
    });
    return options.oldUnsatisfiable === true ? { ...reply, announcedLength: content.size } : reply;
  }
  const headers = { ...options.headers, 'Accept-Ranges': 'bytes' };
  if (range === undefined) {
    return {
      ...bytesReply(200, new Uint8Array(0), headers),
      body: content,
      whole: { content, start: 0 },
    };
  }
  return {
    ...bytesReply(206, new Uint8Array(0), {
      ...headers,
      'Content-Range': `bytes ${range.start}-${range.end - 1}/${content.size}`,
    }),
    body: sliced(content, range.start, range.end),
    whole: { content, start: range.start },
  };
}

/** The object cut to `[start, end)`, clamped; used by faults that send the wrong bytes. */
export function window(content: BlobContent, start: number, length: number): BlobContent {
  const from = Math.max(0, Math.min(start, content.size));
  return from + length <= content.size
    ? sliced(content, from, from + length)
    : bytesContent(content.slice(from, content.size));
}
