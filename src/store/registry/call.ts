/** What the protocol's files ask of the client, and what they get. */
import type { ErrorContext } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../store.js';
import type { Access } from './auth/scope.js';
import type { Endpoint, EndpointCapability } from './endpoint.js';
import type { Answer, Method } from './http/exchange.js';
import type { RequestBody } from './http/request-body.js';

/** The part of a call that makes one request. */
export interface RequestPlan {
  /** Verb phrase for messages: `fetch blob`. */
  readonly operation: string;
  readonly method: Method;
  /** Behind the repository (behind `/v2` without one), with a leading slash: `/tags/list?n=100`. */
  readonly path: string;
  /** A URL given by this registry (upload location, next page), checked by the caller; instead of `path`. */
  readonly url?: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  readonly context?: ErrorContext;
  /** Default: the store's `responseTimeoutMs`. */
  readonly responseTimeoutMs?: number;
  /** Names what a redirect leads to: the target is asked directly next time. */
  readonly redirectKey?: string;
  /** Forget where that led to, and ask the registry anew. */
  readonly fresh?: boolean;
}

export interface Call extends RequestPlan, CallOptions {
  /** As our own user names it; undefined for what belongs to the whole registry. */
  readonly repository: string | undefined;
  readonly capability: EndpointCapability;
  readonly access: Access | 'catalog' | 'none';
  /** Repository, as our user names it, from which a blob is to be mounted: one more scope. */
  readonly mountFrom?: string;
  /** Statuses that are answers; all others are thrown as errors. */
  readonly expect: readonly number[];
  /** May be sent twice. Default: all but PATCH. */
  readonly idempotent?: boolean;
  /** Next step for the message, where the call knows better than the status does. */
  readonly hint?: string;
}

export interface Reply extends Answer {
  readonly endpoint: Endpoint;
  /** Answered by a host that the registry sent us to. */
  readonly foreign: boolean;
  /** How many attempts went before. */
  readonly retried: number;
  /** The body was not what it should be: next time the registry itself is asked, not the host it sent us to. */
  doubt(): void;
}

/** How long, and until when, one attempt of a call may run. */
export interface Limits {
  /** As `Date.now()`. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
}

/** Milliseconds left, at least one: an attempt that has none fails as a timeout, not as an odd argument. */
export function remainingMs({ deadlineAt }: Limits): number {
  return Math.max(deadlineAt - Date.now(), 1);
}
