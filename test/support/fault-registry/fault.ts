/** Every way in which the fault registry can misbehave. */
import type { RequestRecord, ServerRole } from './request.js';

/** A place in a body: a byte offset, or a fraction of its length (0 to 1). */
export type Place = { readonly at: number } | { readonly atFraction: number };

export type Fault =
  /** Another status instead of the answer; the request is not carried out. `retryAfter`: seconds or HTTP-date. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly retryAfter?: number | string;
      readonly body?: string | Uint8Array;
      readonly headers?: Readonly<Record<string, string | readonly string[]>>;
    }
  /** Wait before the headers, or between headers and body. */
  | { readonly kind: 'delay'; readonly ms: number; readonly before?: 'headers' | 'body' }
  /** The body in pieces of `bytes`, one every `everyMs`. */
  | { readonly kind: 'drip'; readonly bytes: number; readonly everyMs: number }
  /** End the connection in the body. */
  | ({ readonly kind: 'cut' } & Place)
  /** Stop sending in the body and keep the connection. */
  | ({ readonly kind: 'stall' } & Place)
  /** One bit of the body is wrong. */
  | ({ readonly kind: 'flip'; readonly bit?: number } & Place)
  /** Fewer bytes than there are, announced as if that were all. */
  | ({ readonly kind: 'truncate' } & Place)
  /** More bytes than there are, announced as if that were all. */
  | { readonly kind: 'pad'; readonly bytes: number }
  /** `Content-Length` is off by this much; the body is the true one. */
  | { readonly kind: 'content-length'; readonly off: number }
  /** `Content-Range` replaced, or left out. */
  | { readonly kind: 'content-range'; readonly value: string | undefined }
  /** Bytes from another place of the blob, under the `Content-Range` that was asked for. */
  | { readonly kind: 'wrong-range'; readonly shift: number }
  /** 200 and everything, whatever the range. */
  | { readonly kind: 'ignore-range' }
  | { readonly kind: 'digest-header'; readonly value: string | undefined }
  | { readonly kind: 'content-type'; readonly value: string | undefined }
  /** Headers added or replaced; undefined removes. */
  | {
      readonly kind: 'headers';
      readonly set: Readonly<Record<string, string | readonly string[] | undefined>>;
    }
  | {
      readonly kind: 'redirect';
      readonly to: string | ((request: RequestRecord) => string);
      readonly status?: number;
    }
  /** A redirect to the same address, for ever (`distinct`: with a new query each time). */
  | { readonly kind: 'redirect-loop'; readonly distinct?: boolean }
  /** A list that never ends: each page has a next one. `repeat`: the Link leads to the same page again. */
  | { readonly kind: 'endless-pages'; readonly repeat?: boolean; readonly perPage?: number }
  | { readonly kind: 'link'; readonly value: string }
  | { readonly kind: 'huge-headers'; readonly bytes: number }
  /** `bytes` of filler behind `prefix` (Infinity: until the client leaves), without a length. */
  | {
      readonly kind: 'huge-body';
      readonly bytes: number;
      readonly prefix?: string;
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Something else as the body, honestly announced. */
  | { readonly kind: 'body'; readonly body: string | Uint8Array; readonly contentType?: string }
  | { readonly kind: 'garbage-json' }
  /** The connection is reset: before the request is carried out, after it (answer lost), or after the headers. */
  | { readonly kind: 'reset'; readonly when: 'request' | 'handled' | 'headers' }
  /** No answer, ever. */
  | { readonly kind: 'hang' };

export type FaultKind = Fault['kind'];

export interface FaultMatch {
  /** Default: the registry and storage alike. */
  readonly role?: ServerRole;
  readonly method?: string | readonly string[];
  /** Whole path (string) or pattern. */
  readonly path?: string | RegExp;
  readonly when?: (request: RequestRecord) => boolean;
  /** Only the nth request that matches otherwise, counted from 1, since the fault was set. */
  readonly nth?: number;
  /** How often the fault strikes. Default: 1 with `nth`, else without end. */
  readonly times?: number;
}

export interface ScriptedFault {
  readonly match?: FaultMatch;
  readonly fault: Fault;
}

const replacingKinds: ReadonlySet<FaultKind> = new Set([
  'status',
  'redirect',
  'redirect-loop',
  'hang',
  'huge-body',
  'endless-pages',
]);

/** True for faults that answer without carrying the request out. */
export function replacesAnswer(fault: Fault): boolean {
  return fault.kind === 'reset' ? fault.when === 'request' : replacingKinds.has(fault.kind);
}
