/** When to try again, how long to wait, and when to stop trying at all. */
import { ImgfsError, toImgfsError } from '../../../errors/imgfs-error.js';
import { isPermanent } from './connection-error.js';

/** Statuses after which the same request may succeed (go-containerregistry's table, with 429). */
const retriedStatuses = new Set([408, 429, 499, 500, 502, 503, 504, 522]);

export interface RetryLimits {
  readonly retries: number;
  readonly backoffBaseMs: number;
  readonly backoffCapMs: number;
}

/**
 * Retries of a whole store: each one costs 1, each success gives a tenth back (gRPC's retry throttling, gRFC A6). When
 * a registry fails for everyone, load falls to one attempt per call instead of growing fourfold.
 */
export class RetryBudget {
  /** Tenths of a retry: sums of 0.1 never make a whole one. */
  readonly #maxTenths: number;
  #tenths: number;

  constructor(max = 50) {
    this.#maxTenths = max * 10;
    this.#tenths = this.#maxTenths;
  }

  /** Take one retry; false when there is none left. */
  spend(): boolean {
    if (this.#tenths < 10) return false;
    this.#tenths -= 10;
    return true;
  }

  refund(): void {
    this.#tenths = Math.min(this.#tenths + 1, this.#maxTenths);
  }
}

/** Full jitter over the upper half of an exponential backoff, in milliseconds; `attempt` counts from 0. */
export function backoffMs(attempt: number, limits: RetryLimits, random = Math.random): number {
  const ceiling = Math.min(limits.backoffBaseMs * 2 ** attempt, limits.backoffCapMs);
  return ceiling * (0.5 + random() / 2);
}

/** Whether the same request may be sent again after `error`. */
export function mayRetry(error: ImgfsError, idempotent: boolean): boolean {
  const { status } = error.context;
  if (error.code === 'rate-limited') return true;
  if (error.code !== 'unavailable' && error.code !== 'timeout' && error.code !== 'protocol') return false;
  if (!idempotent) return false;
  if (error.code === 'protocol') return status === undefined;
  if (status !== undefined && status >= 400) return retriedStatuses.has(status);
  return !isPermanent(error.cause);
}

/** Sleep that ends early, with `interrupted`, when the caller gives up. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(new ImgfsError('interrupted', 'the caller gave up while waiting to try again'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}

export interface RetryOptions {
  readonly limits: RetryLimits;
  readonly budget: RetryBudget;
  readonly idempotent: boolean;
  /** Point in time (as `Date.now()`) behind which no attempt may begin. */
  readonly deadlineAt: number;
  readonly signal?: AbortSignal;
}

/**
 * Run `attempt` until it succeeds, cannot succeed, or time, attempts or the budget are used up; then its last error is
 * thrown. A `Retry-After` longer than the time left is not waited for.
 */
export async function withRetries<T>(
  attempt: (count: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  for (let count = 0; ; count += 1) {
    try {
      const result = await attempt(count);
      options.budget.refund();
      return result;
    } catch (thrown) {
      const error = toImgfsError(thrown);
      if (count >= options.limits.retries || !mayRetry(error, options.idempotent)) throw error;
      const waitMs = Math.max(backoffMs(count, options.limits), error.retryAfterMs ?? 0);
      if (Date.now() + waitMs >= options.deadlineAt || !options.budget.spend()) throw error;
      await sleep(waitMs, options.signal);
    }
  }
}
