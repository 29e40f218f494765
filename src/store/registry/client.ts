/**
 * Requests to one registry: endpoints in order, authentication, redirects, pacing, retries. What is asked is the
 * business of the files beside this one; here is only how it is asked.
 */
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import { ImgfsError, isImgfsError, toImgfsError, type ErrorContext } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import type { CallOptions } from '../store.js';
import { Authorizer } from './auth/authorizer.js';
import { catalogScope, repositoryScope, type Access } from './auth/scope.js';
import { fetchToken } from './auth/fetch-token.js';
import { isTrustedHost } from './auth/realm.js';
import type { CredentialSource } from './credential.js';
import type { Endpoint, EndpointCapability, EndpointResolver } from './endpoint.js';
import { reachOfHost, type Reach } from './http/address.js';
import { Agents } from './http/agents.js';
import { isClientCertificateRefused, isNotTls } from './http/connection-error.js';
import { exchange, type Answer, type ExchangeRequest, type Method } from './http/exchange.js';
import { headerValue } from './http/headers.js';
import { Pacer, type Slot } from './http/pacer.js';
import { discardBody } from './http/read-body.js';
import { follow, isRedirect, type Followed, type Hop } from './http/redirect.js';
import { RetryBudget, withRetries } from './http/retry.js';
import { errorFromAnswer } from './http/spec-error.js';
import { Warnings } from './http/warnings.js';
import type { RegistryOptions } from './options.js';

const log = createLogger('store');

export interface RegistryDeps {
  readonly endpoints: EndpointResolver;
  readonly credentials: CredentialSource;
}

/** One request, as the protocol's files ask for it. */
export interface Call extends CallOptions {
  /** Verb phrase for messages: `fetch blob`. */
  readonly operation: string;
  readonly method: Method;
  /** As our own user names it; undefined for what belongs to the whole registry. */
  readonly repository: string | undefined;
  /** Behind the repository (behind `/v2` without one), with a leading slash: `/tags/list?n=100`. */
  readonly path: string;
  /** A URL given by this registry (upload location, next page), checked by the caller; instead of `path`. */
  readonly url?: URL;
  readonly capability: EndpointCapability;
  readonly access: Access | 'catalog' | 'none';
  /** Repository, as our user names it, from which a blob is to be mounted: one more scope. */
  readonly mountFrom?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Statuses that are answers; all others are thrown as errors. */
  readonly expect: readonly number[];
  /** May be sent twice. Default: all but PATCH. */
  readonly idempotent?: boolean;
  /** Default: the store's `responseTimeoutMs`. */
  readonly responseTimeoutMs?: number;
  readonly context?: ErrorContext;
  /** Next step for the message, where the call knows better than the status does. */
  readonly hint?: string;
  /** Names what a redirect leads to: the target is asked directly next time. */
  readonly redirectKey?: string;
}

/** The part of a call that makes one request. */
type Request = Pick<Call, 'operation' | 'method' | 'path'> &
  Partial<Pick<Call, 'url' | 'headers' | 'body' | 'context' | 'redirectKey' | 'responseTimeoutMs'>>;

export interface Reply extends Answer {
  readonly endpoint: Endpoint;
  /** Answered by a host that the registry sent us to. */
  readonly foreign: boolean;
  /** How many attempts went before. */
  readonly retried: number;
}

/** Signed URLs live 5 to 20 min; a dead one costs a round trip. */
const redirectTtlMs = 4 * 60_000;
/** Blobs of a few images at a time. */
const maxRedirects = 2048;
/** How long a mirror that cannot be reached is left alone. */
const mirrorRestMs = 30_000;
/** A host's `Retry-After` holds up all requests to it, but not beyond what a waiting user bears. */
const maxDeferMs = 60_000;

export class RegistryClient {
  readonly registry: string;
  readonly options: RegistryOptions;
  readonly #deps: RegistryDeps;
  readonly #agents: Agents;
  readonly #authorizers = new Map<string, Authorizer>();
  readonly #pacers = new Map<string, Pacer>();
  readonly #budget = new RetryBudget();
  readonly #warnings = new Warnings();
  readonly #redirects = new LRUCache<string, string>({ max: maxRedirects, ttl: redirectTtlMs });
  /** Origins that speak plain http though configured as https (`allowHttpFallback`). */
  readonly #plainOrigins = new Map<string, string>();
  readonly #restingMirrors = new Map<string, number>();
  readonly #reaches = new Map<string, Promise<Reach>>();
  readonly #closing = new AbortController();

  constructor(registry: string, deps: RegistryDeps, options: RegistryOptions) {
    this.registry = registry;
    this.options = options;
    this.#deps = deps;
    this.#agents = new Agents(options, (url) => deps.endpoints.proxyFor(url));
    // Every request under way listens to it: many listeners are no leak.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Endpoints for a repository that can do `capability`, in order. @throws ImgfsError `unsupported` for none. */
  async endpoints(
    repository: string | undefined,
    capability: EndpointCapability,
  ): Promise<readonly Endpoint[]> {
    const all = await this.#deps.endpoints.endpoints(this.registry, repository ?? '');
    const able = all.filter((endpoint) => endpoint.capabilities.has(capability));
    if (able.length === 0) {
      throw new ImgfsError(
        'unsupported',
        `${this.registry}: no endpoint is configured that can ${capability}`,
        {
          host: this.registry,
          hint: 'check the capabilities in hosts.toml',
        },
      );
    }
    return able;
  }

  /**
   * Ask the endpoints in order until one answers. Writes, and what belongs to the registry as a whole, go to one only.
   * @throws ImgfsError of the origin where there is one: a mirror's "not found" proves nothing.
   */
  async send(call: Call): Promise<Reply> {
    const able = await this.endpoints(call.repository, call.capability);
    const origin = able.find(({ isOrigin }) => isOrigin);
    if (call.capability === 'push' || call.repository === undefined) {
      const only = call.repository === undefined ? (origin ?? able[0]) : able[0];
      return this.sendTo(only as Endpoint, call);
    }
    const failures: { error: ImgfsError; endpoint: Endpoint }[] = [];
    for (const endpoint of this.#awake(able)) {
      try {
        return await this.sendTo(endpoint, call);
      } catch (thrown) {
        const error = toImgfsError(thrown);
        if (error.code === 'interrupted') throw error;
        failures.push({ error, endpoint });
        this.#noteFailure(endpoint, error, call);
      }
    }
    const decisive =
      failures.find(({ endpoint }) => endpoint.isOrigin) ??
      failures.find(({ error }) => error.code !== 'not-found') ??
      failures.at(-1);
    throw decisive?.error ?? new ImgfsError('internal', `${this.registry}: no endpoint was asked`);
  }

  /** Ask one endpoint, with retries. */
  async sendTo(endpoint: Endpoint, call: Call): Promise<Reply> {
    const { signal, release } = this.#signalFor(call);
    const deadlineAt = Date.now() + Math.max(this.options.callTimeoutMs, call.responseTimeoutMs ?? 0);
    // Behind a mirror there is another place to ask: go there soon.
    const retries = endpoint.isOrigin ? this.options.retries : Math.min(this.options.retries, 1);
    try {
      const reply = await withRetries((count) => this.#attempt(endpoint, call, count, deadlineAt, signal), {
        limits: { ...this.options, retries },
        budget: this.#budget,
        idempotent: call.idempotent ?? call.method !== 'PATCH',
        deadlineAt,
        signal,
      });
      reply.body.whenSettled(release);
      return reply;
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Ask a host named by an image (`urls` of a foreign layer): no credentials, addresses checked, no retries.
   * Undefined when it does not answer as expected; the caller has a better error.
   */
  async sendAbroad(text: string, call: Call): Promise<Reply | undefined> {
    const endpoint = (await this.endpoints(call.repository, call.capability)).at(-1);
    if (endpoint === undefined || !URL.canParse(text)) return undefined;
    const url = new URL(text);
    const allowed =
      url.protocol === 'https:' || (url.protocol === 'http:' && endpoint.origin.startsWith('http:'));
    if (!allowed || url.username !== '' || url.password !== '') return undefined;
    const { signal, release } = this.#signalFor(call);
    const slot = await this.#pacer(endpoint).acquire('interactive', this.options.callTimeoutMs, signal);
    let reply: Reply | undefined;
    try {
      const headers = { ...this.#baseHeaders(), ...call.headers };
      const hop = this.#hop(endpoint, call, Date.now() + this.options.callTimeoutMs, signal);
      const { answer } = await follow(url, headers, true, hop);
      if (call.expect.includes(answer.status)) reply = { ...answer, endpoint, foreign: true, retried: 0 };
      else answer.body.cancel();
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
      log.debug('foreign layer not found', { host: url.host, error: toImgfsError(error).message });
    } finally {
      if (reply === undefined) {
        slot.release();
        release();
      } else {
        holdSlot(reply, slot);
        reply.body.whenSettled(release);
      }
    }
    return reply;
  }

  /** Base URL of a repository (of the API without one) at an endpoint. */
  baseUrl(endpoint: Endpoint, path: string): URL {
    const origin = this.#plainOrigins.get(endpoint.origin) ?? endpoint.origin;
    const repository = endpoint.repository === '' ? '' : `/${endpoint.repository}`;
    const url = new URL(`${origin}${endpoint.apiPath}${repository}${path}`);
    if (endpoint.namespaceQuery) url.searchParams.set('ns', this.registry);
    return url;
  }

  /** Reach of the registry itself, which bounds where it may send us. */
  reach(endpoint: Endpoint): Promise<Reach> {
    const { hostname } = new URL(endpoint.origin);
    const known = this.#reaches.get(hostname) ?? reachOfHost(hostname);
    this.#reaches.set(hostname, known);
    return known;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#agents.close();
  }

  /** The caller's signal and our own end, in one; `release` so that a long-lived signal keeps no listeners. */
  #signalFor(call: CallOptions): { signal: AbortSignal; release: () => void } {
    const closing = this.#closing.signal;
    const given = call.signal;
    if (given === undefined) return { signal: closing, release: () => undefined };
    const both = new AbortController();
    const abort = (): void => both.abort();
    if (given.aborted || closing.aborted) abort();
    given.addEventListener('abort', abort);
    closing.addEventListener('abort', abort);
    const release = (): void => {
      given.removeEventListener('abort', abort);
      closing.removeEventListener('abort', abort);
    };
    return { signal: both.signal, release };
  }

  async #attempt(
    endpoint: Endpoint,
    call: Call,
    count: number,
    deadlineAt: number,
    signal: AbortSignal,
  ): Promise<Reply> {
    const pacer = this.#pacer(endpoint);
    this.#checkDeferred(endpoint, pacer, call);
    const slot = await pacer.acquire(call.priority ?? 'interactive', remaining(deadlineAt), signal);
    let reply: Reply | undefined;
    try {
      const { answer, foreign } = await this.#authorized(endpoint, call, deadlineAt, signal);
      this.#warnings.note(answer.headers, answer.url.host);
      if (!call.expect.includes(answer.status)) throw await this.#refused(endpoint, call, answer, foreign);
      reply = { ...answer, endpoint, foreign, retried: count };
      holdSlot(reply, slot);
      return reply;
    } finally {
      if (reply === undefined) slot.release();
    }
  }

  /** A host that asked for more patience than this call has gets no request at all. */
  #checkDeferred(endpoint: Endpoint, pacer: Pacer, call: Call): void {
    if (pacer.delayMs <= this.options.callTimeoutMs / 2) return;
    const host = new URL(endpoint.origin).host;
    throw new ImgfsError('rate-limited', `${call.operation} from ${host}: the registry wants a pause`, {
      ...call.context,
      host,
      operation: call.operation,
      retryAfterMs: pacer.delayMs,
      hint: 'wait and try again; logging in raises the limit of most registries',
    });
  }

  async #refused(endpoint: Endpoint, call: Call, answer: Answer, foreign: boolean): Promise<ImgfsError> {
    const error = await errorFromAnswer(answer, call.hint);
    if (error.retryAfterMs !== undefined && !foreign) {
      this.#pacer(endpoint).defer(Math.min(error.retryAfterMs, maxDeferMs));
    }
    if (answer.status === 401 && !foreign) return this.#explainUnauthorized(endpoint, error);
    // A registry that says "over there" knows the blob: its storage having none is an outage, not an absence.
    if (foreign && error.code === 'not-found' && call.redirectKey !== undefined) {
      return new ImgfsError('unavailable', `${error.message}: the registry's storage does not have it`, {
        ...error.context,
        cause: error,
      });
    }
    return error;
  }

  #explainUnauthorized(endpoint: Endpoint, error: ImgfsError): ImgfsError {
    const origin = this.#authorizer(endpoint).credentialOrigin;
    const tried =
      origin === undefined ? 'no credential is known' : `the credential from ${origin} was refused`;
    return new ImgfsError('unauthorized', `${error.message}: ${tried}`, {
      ...error.context,
      cause: error,
      hint: `log in with: imgfs login ${endpoint.credentialHost}`,
    });
  }

  /** One attempt with its authentication: at most three requests to the registry. */
  async #authorized(
    endpoint: Endpoint,
    call: Call,
    deadlineAt: number,
    signal: AbortSignal,
  ): Promise<Followed> {
    const authorizer = this.#authorizer(endpoint);
    const scopes = await this.#scopes(endpoint, call);
    const repository = call.repository === undefined ? undefined : endpoint.repository;
    let header = await unlessAborted(authorizer.header(repository, scopes), signal);
    let followed = await this.#followed(endpoint, call, header, deadlineAt, signal);
    // Twice: an expired token first, then one whose scope does not do.
    for (let round = 0; round < 2 && needsAuthorization(followed); round += 1) {
      const challenger = await this.#challenger(endpoint, followed.answer, deadlineAt, signal);
      const next = await unlessAborted(
        authorizer.renew(challenger.headers, challenger.url, header, repository, scopes),
        signal,
      );
      if (next === undefined) break;
      await discardBody(followed.answer.body);
      header = next;
      followed = await this.#followed(endpoint, call, header, deadlineAt, signal);
    }
    return followed;
  }

  /** The answer whose challenges count: `/v2/` is asked where a 401 names none (gcr.io). */
  async #challenger(
    endpoint: Endpoint,
    answer: Answer,
    deadlineAt: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (answer.headers['www-authenticate'] !== undefined) return answer;
    const ping = this.baseUrl({ ...endpoint, repository: '' }, '/');
    const { answer: pong } = await this.#followed(
      endpoint,
      { operation: 'log in', method: 'GET', url: ping, path: '/' },
      undefined,
      deadlineAt,
      signal,
    );
    await discardBody(pong.body);
    return pong;
  }

  async #scopes(endpoint: Endpoint, call: Call): Promise<readonly string[]> {
    if (call.access === 'none') return [];
    if (call.access === 'catalog') return [catalogScope];
    if (call.repository === undefined) return [];
    const scopes = [repositoryScope(endpoint.repository, call.access)];
    if (call.mountFrom !== undefined) {
      const other = (await this.endpoints(call.mountFrom, 'push')).find(
        ({ origin }) => origin === endpoint.origin,
      );
      scopes.push(repositoryScope(other?.repository ?? call.mountFrom, 'pull'));
    }
    return scopes;
  }

  /** One request with its redirects; a remembered target is tried first. */
  async #followed(
    endpoint: Endpoint,
    call: Request,
    authorization: string | undefined,
    deadlineAt: number,
    signal: AbortSignal,
  ): Promise<Followed> {
    const base = { ...this.#baseHeaders(), ...call.headers };
    const hop = this.#hop(endpoint, call, deadlineAt, signal);
    const key =
      call.redirectKey === undefined ? undefined : `${endpoint.origin} ${call.method} ${call.redirectKey}`;
    const direct = await this.#direct(key, base, hop);
    if (direct !== undefined) return direct;
    const headers = {
      ...base,
      ...lowerCased(endpoint.headers),
      ...(authorization === undefined ? {} : { authorization }),
    };
    const url = call.url ?? this.baseUrl(endpoint, call.path);
    if (url.origin !== this.baseUrl(endpoint, '/').origin) {
      throw new ImgfsError(
        'internal',
        `${call.operation}: credentials of ${endpoint.origin} were meant for ${url.host}`,
      );
    }
    if (call.method !== 'GET' && call.method !== 'HEAD') {
      const answer = await hop(url, headers, false);
      if (!isRedirect(answer.status)) return { answer, foreign: false };
      answer.body.cancel();
      throw new ImgfsError('protocol', `${call.operation}: ${url.host} redirects a ${call.method} request`, {
        ...answer.context,
        hint: 'write to the address it redirects to, or correct the proxy in front of it',
      });
    }
    const followed = await follow(url, headers, false, hop);
    if (key !== undefined && followed.foreign && followed.answer.status < 300) {
      this.#redirects.set(key, followed.answer.url.href);
    }
    return followed;
  }

  #baseHeaders(): Record<string, string> {
    return { 'user-agent': this.options.userAgent, 'accept-encoding': 'identity' };
  }

  /** How one request of a call is sent. */
  #hop(endpoint: Endpoint, call: Request, deadlineAt: number, signal: AbortSignal): Hop {
    return (url, headers, foreign) =>
      this.#exchange(endpoint, foreign, {
        method: call.method,
        url,
        headers,
        context: { operation: call.operation, ...call.context },
        timeoutMs: Math.min(call.responseTimeoutMs ?? this.options.responseTimeoutMs, remaining(deadlineAt)),
        stall: { windowMs: this.options.stallWindowMs, minBytesPerSecond: this.options.minBytesPerSecond },
        signal,
        ...(call.body === undefined ? {} : { body: call.body }),
      });
  }

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

  async #exchange(endpoint: Endpoint, foreign: boolean, request: ExchangeRequest): Promise<Answer> {
    const checked = foreign && !isTrustedHost(request.url, this.options.trustedHosts);
    const route = {
      url: request.url,
      endpoint,
      ...(checked ? { foreignReach: await this.reach(endpoint) } : {}),
    };
    try {
      return await exchange(this.#agents.dispatcherFor(route), request);
    } catch (thrown) {
      const error = toImgfsError(thrown);
      if (foreign) throw error;
      if (isClientCertificateRefused(error.cause) && this.#agents.nextClientPair(endpoint)) {
        return this.#exchange(endpoint, foreign, request);
      }
      const plain = plainUrl(endpoint, request.url, error);
      if (plain === undefined) throw error;
      const sent = { ...request, url: plain };
      const answer = await exchange(this.#agents.dispatcherFor({ ...route, url: plain }), sent);
      log.debug('https cannot be spoken there, going on with http', { host: plain.host });
      this.#plainOrigins.set(endpoint.origin, plain.origin);
      return answer;
    }
  }

  #pacer(endpoint: Endpoint): Pacer {
    const known = this.#pacers.get(endpoint.origin) ?? new Pacer(this.options);
    this.#pacers.set(endpoint.origin, known);
    return known;
  }

  #authorizer(endpoint: Endpoint): Authorizer {
    const key = `${endpoint.origin} ${endpoint.credentialHost}`;
    let authorizer = this.#authorizers.get(key);
    if (authorizer === undefined) {
      authorizer = new Authorizer({
        endpoint,
        credentials: this.#deps.credentials,
        trustedHosts: this.options.trustedHosts,
        fetchToken: (request) =>
          withRetries(
            () =>
              fetchToken(request, {
                userAgent: this.options.userAgent,
                responseTimeoutMs: this.options.responseTimeoutMs,
                registryHost: endpoint.credentialHost,
                send: (sent) =>
                  this.#exchange(endpoint, !request.realm.sameOrigin, {
                    ...sent,
                    stall: {
                      windowMs: this.options.stallWindowMs,
                      minBytesPerSecond: this.options.minBytesPerSecond,
                    },
                    signal: this.#closing.signal,
                  }),
              }),
            {
              limits: this.options,
              budget: this.#budget,
              idempotent: true,
              deadlineAt: Date.now() + this.options.callTimeoutMs / 2,
              signal: this.#closing.signal,
            },
          ),
      });
      this.#authorizers.set(key, authorizer);
    }
    return authorizer;
  }

  /** Endpoints without the mirrors that could not be reached a moment ago; all of them when none is left. */
  #awake(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    const now = Date.now();
    const awake = endpoints.filter(
      ({ origin, isOrigin }) => isOrigin || (this.#restingMirrors.get(origin) ?? 0) <= now,
    );
    return awake.length > 0 ? awake : endpoints;
  }

  #noteFailure(endpoint: Endpoint, error: ImgfsError, call: Call): void {
    if (endpoint.isOrigin) return;
    log.debug('mirror failed', { mirror: endpoint.origin, operation: call.operation, error: error.message });
    if (error.code === 'unavailable' || error.code === 'timeout') {
      this.#restingMirrors.set(endpoint.origin, Date.now() + mirrorRestMs);
    }
  }
}

/** Milliseconds left, at least one: an attempt that has none fails as a timeout, not as an odd argument. */
function remaining(deadlineAt: number): number {
  return Math.max(deadlineAt - Date.now(), 1);
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/** The plain URL to try where https cannot be spoken and configuration allows http. */
function plainUrl(endpoint: Endpoint, url: URL, error: ImgfsError): URL | undefined {
  if (!endpoint.allowHttpFallback || url.origin !== endpoint.origin || url.protocol !== 'https:')
    return undefined;
  if (!isNotTls(error.cause)) return undefined;
  const plain = new URL(url);
  plain.protocol = 'http:';
  return plain;
}

/** True for an answer of the registry itself that asks for credentials, or for better ones. */
function needsAuthorization({ answer, foreign }: Followed): boolean {
  if (foreign) return false;
  if (answer.status === 401) return true;
  return (
    answer.status === 403 && /insufficient_scope/i.test(headerValue(answer.headers, 'www-authenticate') ?? '')
  );
}

/** The slot goes back when the body is at its end, and is lent while the consumer holds the body up. */
function holdSlot(reply: Reply, slot: Slot): void {
  reply.body.onHold = (held) => (held ? slot.lend() : slot.takeBack());
  reply.body.whenSettled(() => slot.release());
}

/** Wait for something shared (a token) without giving it up for the others. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(new ImgfsError('interrupted', 'the caller gave up while logging in'));
  }
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new ImgfsError('interrupted', 'the caller gave up while logging in'));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
