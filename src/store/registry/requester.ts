/** One attempt of a call at one endpoint: authentication and redirects, no pacing, no retries. */
import { LRUCache } from 'lru-cache';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { Authorizer, type TokenRequest } from './auth/authorizer.js';
import { fetchToken } from './auth/fetch-token.js';
import { catalogScope, repositoryScope } from './auth/scope.js';
import type { Token } from './auth/token.js';
import { remainingMs, type Call, type Limits, type RequestPlan } from './call.js';
import type { CredentialSource } from './credential.js';
import type { Endpoint } from './endpoint.js';
import type { Answer } from './http/exchange.js';
import { headerValue } from './http/headers.js';
import { discardBody } from './http/read-body.js';
import { follow, isRedirect, type Followed, type Hop } from './http/redirect.js';
import type { StallLimit } from './http/stall-watch.js';
import type { RegistryOptions } from './options.js';
import type { Wire } from './wire.js';

/** Signed URLs live 5 to 20 min; a dead one costs a round trip. */
const redirectTtlMs = 4 * 60_000;
/** Blobs of a few images at a time. */
const maxRedirects = 2048;

export interface RequesterDeps {
  readonly wire: Wire;
  readonly options: RegistryOptions;
  readonly credentials: CredentialSource;
  /** Name of a repository at an endpoint, for the scope of a mount. */
  readonly nameAt: (endpoint: Endpoint, repository: string) => Promise<string>;
  /** Runs a token request with retries. */
  readonly retrying: <T>(attempt: () => Promise<T>) => Promise<T>;
  /** Ends token requests, which are shared and belong to no caller. */
  readonly closing: AbortSignal;
}

export class Requester {
  readonly #deps: RequesterDeps;
  readonly #authorizers = new Map<string, Authorizer>();
  readonly #redirects = new LRUCache<string, string>({ max: maxRedirects, ttl: redirectTtlMs });

  constructor(deps: RequesterDeps) {
    this.#deps = deps;
  }

  /** Send a call, with its authentication: at most three requests to the registry. */
  async send(endpoint: Endpoint, call: Call, limits: Limits): Promise<Followed> {
    const { signal } = limits;
    const authorizer = this.authorizer(endpoint);
    const scopes = await this.#scopes(endpoint, call);
    const repository = call.repository === undefined ? undefined : endpoint.repository;
    let header = await unlessAborted(authorizer.header(repository, scopes), signal);
    let followed = await this.#followed(endpoint, call, header, limits);
    // Twice: an expired token first, then one whose scope does not do.
    for (let round = 0; round < 2 && needsAuthorization(followed); round += 1) {
      const challenger = await this.#challenger(endpoint, followed.answer, limits);
      const renewed = authorizer.renew(challenger.headers, challenger.url, header, repository, scopes);
      const next = await unlessAborted(renewed, signal);
      if (next === undefined) break;
      await discardBody(followed.answer.body);
      header = next;
      followed = await this.#followed(endpoint, call, header, limits);
    }
    return followed;
  }

  /** Ask a host that an image named: no credentials, no configured headers, addresses checked. */
  async sendAbroad(endpoint: Endpoint, url: URL, plan: RequestPlan, limits: Limits): Promise<Answer> {
    const headers = { ...this.#baseHeaders(), ...plan.headers };
    return (await follow(url, headers, true, this.#hop(endpoint, plan, limits))).answer;
  }

  authorizer(endpoint: Endpoint): Authorizer {
    const key = `${endpoint.origin} ${endpoint.credentialHost}`;
    let authorizer = this.#authorizers.get(key);
    if (authorizer === undefined) {
      authorizer = new Authorizer({
        endpoint,
        credentials: this.#deps.credentials,
        trustedHosts: this.#deps.options.trustedHosts,
        fetchToken: (request) => this.#deps.retrying(() => this.#fetchToken(endpoint, request)),
      });
      this.#authorizers.set(key, authorizer);
    }
    return authorizer;
  }

  #fetchToken(endpoint: Endpoint, request: TokenRequest): Promise<Token> {
    const { wire, options, closing } = this.#deps;
    return fetchToken(request, {
      userAgent: options.userAgent,
      responseTimeoutMs: options.responseTimeoutMs,
      registryHost: endpoint.credentialHost,
      send: (sent) =>
        wire.exchange(endpoint, !request.realm.sameOrigin, { ...sent, stall: this.#stall, signal: closing }),
    });
  }

  /** The answer whose challenges count: `/v2/` is asked where a 401 names none (gcr.io). */
  async #challenger(endpoint: Endpoint, answer: Answer, limits: Limits): Promise<Answer> {
    if (answer.headers['www-authenticate'] !== undefined) return answer;
    const url = this.#deps.wire.urlOf({ ...endpoint, repository: '' }, '/');
    const plan = { operation: 'log in', method: 'GET', path: '/', url } as const;
    const { answer: pong } = await this.#followed(endpoint, plan, undefined, limits);
    await discardBody(pong.body);
    return pong;
  }

  async #scopes(endpoint: Endpoint, call: Call): Promise<readonly string[]> {
    if (call.access === 'none') return [];
    if (call.access === 'catalog') return [catalogScope];
    if (call.repository === undefined) return [];
    const scopes = [repositoryScope(endpoint.repository, call.access)];
    if (call.mountFrom !== undefined) {
      scopes.push(repositoryScope(await this.#deps.nameAt(endpoint, call.mountFrom), 'pull'));
    }
    return scopes;
  }

  /** One request with its redirects; a remembered target is tried first. */
  async #followed(
    endpoint: Endpoint,
    plan: RequestPlan,
    authorization: string | undefined,
    limits: Limits,
  ): Promise<Followed> {
    const base = { ...this.#baseHeaders(), ...plan.headers };
    const hop = this.#hop(endpoint, plan, limits);
    const key = redirectKey(endpoint, plan);
    if (plan.fresh === true) this.forgetRedirect(endpoint, plan);
    const direct = await this.#direct(key, base, hop);
    if (direct !== undefined) return direct;
    const own = { ...base, ...lowerCased(endpoint.headers) };
    const headers = authorization === undefined ? own : { ...own, authorization };
    const url = this.#checkedUrl(endpoint, plan);
    if (plan.method !== 'GET' && plan.method !== 'HEAD') {
      return { answer: await this.#write(hop, url, headers, plan), foreign: false };
    }
    const followed = await follow(url, headers, false, hop);
    if (key !== undefined && followed.foreign && followed.answer.status < 300) {
      this.#redirects.set(key, followed.answer.url.href);
    }
    return followed;
  }

  /** Ask the registry itself next time. */
  forgetRedirect(endpoint: Endpoint, plan: RequestPlan): void {
    const key = redirectKey(endpoint, plan);
    if (key !== undefined) this.#redirects.delete(key);
  }

  /** The last gate: whatever the callers above checked, credentials leave for the endpoint itself or not at all. */
  #checkedUrl(endpoint: Endpoint, plan: RequestPlan): URL {
    const url = plan.url ?? this.#deps.wire.urlOf(endpoint, plan.path);
    if (url.origin === this.#deps.wire.urlOf(endpoint, '/').origin) return url;
    throw new ImgfsError(
      'internal',
      `${plan.operation}: credentials of ${endpoint.origin} were meant for ${url.host}`,
    );
  }

  async #write(
    hop: Hop,
    url: URL,
    headers: Readonly<Record<string, string>>,
    plan: RequestPlan,
  ): Promise<Answer> {
    const answer = await hop(url, headers, false);
    if (!isRedirect(answer.status)) return answer;
    answer.body.cancel();
    throw new ImgfsError('protocol', `${plan.operation}: ${url.host} redirects a ${plan.method} request`, {
      ...answer.context,
      hint: 'write to the address it redirects to, or correct the proxy in front of it',
    });
  }

  /** A remembered target, if it still answers. */
  async #direct(
    key: string | undefined,
    headers: Readonly<Record<string, string>>,
    hop: Hop,
  ): Promise<Followed | undefined> {
    const target = key === undefined ? undefined : this.#redirects.get(key);
    if (key === undefined || target === undefined) return undefined;
    try {
      const followed = await follow(new URL(target), headers, true, hop);
      if (followed.answer.status < 300 || followed.answer.status === 416) return followed;
      followed.answer.body.cancel();
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
    }
    // Expired (400, 401, 403) or gone: the registry will name a new one.
    this.#redirects.delete(key);
    return undefined;
  }

  #baseHeaders(): Record<string, string> {
    return { 'user-agent': this.#deps.options.userAgent, 'accept-encoding': 'identity' };
  }

  get #stall(): StallLimit {
    const { stallWindowMs, minBytesPerSecond } = this.#deps.options;
    return { windowMs: stallWindowMs, minBytesPerSecond };
  }

  /** How one request of a plan is sent. */
  #hop(endpoint: Endpoint, plan: RequestPlan, limits: Limits): Hop {
    const timeoutMs = plan.responseTimeoutMs ?? this.#deps.options.responseTimeoutMs;
    return (url, headers, foreign) =>
      this.#deps.wire.exchange(endpoint, foreign, {
        method: plan.method,
        url,
        headers,
        context: { operation: plan.operation, ...plan.context },
        timeoutMs: Math.min(timeoutMs, remainingMs(limits)),
        stall: this.#stall,
        signal: limits.signal,
        ...(plan.body === undefined ? {} : { body: plan.body }),
      });
  }
}

function redirectKey(endpoint: Endpoint, plan: RequestPlan): string | undefined {
  return plan.redirectKey === undefined ? undefined : `${endpoint.origin} ${plan.method} ${plan.redirectKey}`;
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/** True for an answer of the registry itself that asks for credentials, or for better ones. */
function needsAuthorization({ answer, foreign }: Followed): boolean {
  if (foreign) return false;
  if (answer.status === 401) return true;
  const challenge = headerValue(answer.headers, 'www-authenticate') ?? '';
  return answer.status === 403 && /insufficient_scope/i.test(challenge);
}

/** Wait for something shared (a token) without giving it up for the others. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const gaveUp = (): ImgfsError => new ImgfsError('interrupted', 'the caller gave up while logging in');
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(gaveUp());
  }
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(gaveUp());
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
