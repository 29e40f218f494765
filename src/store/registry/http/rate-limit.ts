/**
 * `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 76;w=21600` as Docker Hub sends them on manifest requests
 * (docs.docker.com/docker-hub/usage/pulls), and the same names with `X-` in front as others do.
 */
import type { RateLimit } from '../../store.js';
import { headerValue, type ResponseHeaders } from './headers.js';

const maxSourceLength = 200;

interface Counted {
  readonly count: number;
  readonly windowSeconds: number | undefined;
}

function counted(headers: ResponseHeaders, name: string): Counted | undefined {
  const text = headerValue(headers, name) ?? headerValue(headers, `x-${name}`);
  const match = /^\s*([0-9]{1,12})(?:\s*;\s*w=([0-9]{1,12}))?/.exec(text ?? '');
  if (match === null) return undefined;
  return { count: Number(match[1]), windowSeconds: match[2] === undefined ? undefined : Number(match[2]) };
}

/** What an answer says of the limit; undefined when it says nothing. `at` is when, in milliseconds. */
export function parseRateLimit(headers: ResponseHeaders, at: number): RateLimit | undefined {
  const limit = counted(headers, 'ratelimit-limit');
  const remaining = counted(headers, 'ratelimit-remaining');
  if (limit === undefined && remaining === undefined) return undefined;
  const windowSeconds = limit?.windowSeconds ?? remaining?.windowSeconds;
  const source = headerValue(headers, 'docker-ratelimit-source')?.slice(0, maxSourceLength);
  return {
    ...(limit === undefined ? {} : { limit: limit.count }),
    ...(remaining === undefined ? {} : { remaining: remaining.count }),
    ...(windowSeconds === undefined ? {} : { windowSeconds }),
    ...(source === undefined ? {} : { source }),
    at,
  };
}
