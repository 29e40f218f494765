/**
 * Requests to one registry: endpoints in order, pacing, retries. What is asked is the business of the files beside
 * this one; here is only how often, how fast and of whom.
 */
import { setMaxListeners } from 'node:events';
import { ImgfsError, isImgfsError, toImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import type { CallOptions, RateLimit } from '../store.js';
import { remainingMs, type Call, type Limits, type Reply } from './call.js';
import type { CredentialSource } from './credential.js';
import type { Endpoint, EndpointCapability, EndpointResolver } from './endpoint.js';
import type { Answer } from './http/exchange.js';
import { Pacer, type Slot } from './http/pacer.js';
import { RetryBudget, withRetries } from './http/retry.js';
import { errorFromAnswer } from './http/spec-error.js';
import { parseRateLimit } from './http/rate-limit.js';
import { Warnings } from './http/warnings.js';
import type { RegistryOptions } from './options.js';
import { Requester } from './requester.js';
import { Wire } from './wire.js';

export type { Call, Reply } from './call.js';

const log = createLogger('store');

export interface RegistryDeps {
  readonly endpoints: EndpointResolver;
  readonly credentials: CredentialSource;
}

/** How long a mirror that cannot be reached is left alone. */
const mirrorRestMs = 30_000;
/** A host's `Retry-After` holds up all requests to it, but not beyond what a waiting user bears. */
const maxDeferMs = 60_000;

export class RegistryClient {
  readonly registry: string;
  readonly options: RegistryOptions;
  readonly #endpoints: EndpointResolver;
  readonly #wire: Wire;
  readonly #requester: Requester;
  readonly #pacers = new Map<string, Pacer>();
  readonly #budget = new RetryBudget();
  readonly #warnings = new Warnings();
  readonly #restingMirrors = new Map<string, number>();
  readonly #closing = new AbortController();
  #rateLimit: RateLimit | undefined;

  constructor(registry: string, deps: RegistryDeps, options: RegistryOptions) {
    this.registry = registry;
    this.options = options;
    this.#endpoints = deps.endpoints;
    // Every request under way listens to it.
    setMaxListeners(0, this.#closing.signal);
    this.#wire = new Wire(registry, options, (url) => deps.endpoints.proxyFor(url));
    this.#requester = new Requester({
      wire: this.#wire,
      options,
      credentials: deps.credentials,
      nameAt: (endpoint, repository) => this.nameAt(endpoint, repository),
      retrying: (attempt) => this.#retryingToken(attempt),
      closing: this.#closing.signal,
    });
  }

  /** What the registry said last of how many requests are left. */
  get rateLimit(): RateLimit | undefined {
    return this.#rateLimit;
  }

  /** Endpoints for a repository that can do `capability`, in order. @throws ImgfsError `unsupported` for none. */
  async endpoints(
    repository: string | undefined,
    capability: EndpointCapability,
  ): Promise<readonly Endpoint[]> {
    const all = await this.#endpoints.endpoints(this.registry, repository ?? '');
    const able = all.filter((endpoint) => endpoint.capabilities.has(capability));
    if (able.length > 0) return able;
    const text = `${this.registry}: no endpoint is configured that can ${capability}`;
    const hint = 'check the capabilities in hosts.toml';
    throw new ImgfsError('unsupported', text, { host: this.registry, hint });
  }

  /** What `repository` is called at an endpoint. */
  async nameAt(endpoint: Endpoint, repository: string): Promise<string> {
    const there = (await this.endpoints(repository, 'push')).find(({ origin }) => origin === endpoint.origin);
    return there?.repository ?? repository;
  }

  /** URL of something in a repository at an endpoint. */
  urlOf(endpoint: Endpoint, path: string): URL {
    return this.#wire.urlOf(endpoint, path);
  }

  /**
   * Ask the endpoints in order until one answers. Writes, and what belongs to the registry as a whole, go to one only.
   * @throws ImgfsError of the origin where there is one: a mirror's "not found" proves nothing.
   */
  async send(call: Call): Promise<Reply> {
    const able = await this.endpoints(call.repository, call.capability);
    const [first] = able;
    const origin = able.find(({ isOrigin }) => isOrigin);
    if (call.repository === undefined) return this.sendTo(origin ?? (first as Endpoint), call);
    if (call.capability === 'push') return this.sendTo(first as Endpoint, call);
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
    const { limits, release } = this.#limitsFor(call);
    // Behind a mirror there is another place to ask: go there soon.
    const retries = endpoint.isOrigin ? this.options.retries : Math.min(this.options.retries, 1);
    try {
      const reply = await withRetries((count) => this.#attempt(endpoint, call, count, limits), {
        limits: { ...this.options, retries },
        budget: this.#budget,
        idempotent: call.idempotent ?? call.method !== 'PATCH',
        ...limits,
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
    const url = endpoint === undefined ? undefined : foreignUrl(text, endpoint);
    if (endpoint === undefined || url === undefined) return undefined;
    const { limits, release } = this.#limitsFor(call);
    let reply: Reply | undefined;
    let slot: Slot | undefined;
    try {
      slot = await this.#slot(endpoint, call, limits);
      const answer = await this.#requester.sendAbroad(endpoint, url, call, limits);
      if (!call.expect.includes(answer.status)) {
        answer.body.cancel();
        return undefined;
      }
      reply = { ...answer, endpoint, foreign: true, retried: 0, doubt: () => undefined };
      holdSlot(reply, slot);
      reply.body.whenSettled(release);
      return reply;
    } catch (error) {
      if (isImgfsError(error, 'interrupted')) throw error;
      log.debug('foreign layer not found', { host: url.host, error: toImgfsError(error).message });
      return undefined;
    } finally {
      if (reply === undefined) {
        slot?.release();
        release();
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#wire.close();
  }

  /**
   * Deadline of a call, and the caller's signal and our own end in one; `release` so that a long-lived signal keeps
   * no listeners.
   */
  #limitsFor(call: Call): { limits: Limits; release: () => void } {
    const deadlineAt = Date.now() + Math.max(this.options.callTimeoutMs, call.responseTimeoutMs ?? 0);
    const closing = this.#closing.signal;
    const given = call.signal;
    if (given === undefined) return { limits: { deadlineAt, signal: closing }, release: () => undefined };
    const both = new AbortController();
    const abort = (): void => both.abort();
    if (given.aborted || closing.aborted) abort();
    given.addEventListener('abort', abort);
    closing.addEventListener('abort', abort);
    const release = (): void => {
      given.removeEventListener('abort', abort);
      closing.removeEventListener('abort', abort);
    };
    return { limits: { deadlineAt, signal: both.signal }, release };
  }

  #retryingToken<T>(attempt: () => Promise<T>): Promise<T> {
    return withRetries(attempt, {
      limits: this.options,
      budget: this.#budget,
      idempotent: true,
      deadlineAt: Date.now() + this.options.callTimeoutMs / 2,
      signal: this.#closing.signal,
    });
  }

  async #attempt(endpoint: Endpoint, call: Call, count: number, limits: Limits): Promise<Reply> {
    const slot = await this.#slot(endpoint, call, limits);
    let reply: Reply | undefined;
    try {
      const { answer, foreign } = await this.#requester.send(endpoint, call, limits);
      this.#warnings.note(answer.headers, answer.url.host);
      this.#rateLimit = parseRateLimit(answer.headers, Date.now()) ?? this.#rateLimit;
      if (!call.expect.includes(answer.status)) throw await this.#refused(endpoint, call, answer, foreign);
      const doubt = (): void => this.#requester.forgetRedirect(endpoint, call);
      reply = { ...answer, endpoint, foreign, retried: count, doubt };
      holdSlot(reply, slot);
      return reply;
    } finally {
      if (reply === undefined) slot.release();
    }
  }

  /** A slot at the endpoint; a host that asked for more patience than this call has gets no request at all. */
  #slot(
    endpoint: Endpoint,
    call: CallOptions & Pick<Call, 'operation' | 'context'>,
    limits: Limits,
  ): Promise<Slot> {
    const pacer = this.#pacer(endpoint);
    if (pacer.delayMs <= this.options.callTimeoutMs / 2) {
      return pacer.acquire(call.priority ?? 'interactive', remainingMs(limits), limits.signal);
    }
    const { host } = new URL(endpoint.origin);
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
    const origin = this.#requester.authorizer(endpoint).credentialOrigin;
    const tried =
      origin === undefined ? 'no credential is known' : `the credential from ${origin} was refused`;
    return new ImgfsError('unauthorized', `${error.message}: ${tried}`, {
      ...error.context,
      cause: error,
      hint: `log in with: imgfs login ${endpoint.credentialHost}`,
    });
  }

  #pacer(endpoint: Endpoint): Pacer {
    const known = this.#pacers.get(endpoint.origin) ?? new Pacer(this.options);
    this.#pacers.set(endpoint.origin, known);
    return known;
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
    log.debug('mirror failed', {
      mirror: endpoint.origin,
      operation: call.operation,
      error: error.message,
    });
    if (error.code === 'unavailable' || error.code === 'timeout') {
      this.#restingMirrors.set(endpoint.origin, Date.now() + mirrorRestMs);
    }
  }
}

/** A URL of an image that may be asked at all: https, or http where the registry itself is reached so. */
function foreignUrl(text: string, endpoint: Endpoint): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const allowed =
    url.protocol === 'https:' || (url.protocol === 'http:' && endpoint.origin.startsWith('http:'));
  return allowed && url.username === '' && url.password === '' ? url : undefined;
}

/** The slot goes back when the body is at its end, and is lent while the consumer holds the body up. */
function holdSlot(reply: Reply, slot: Slot): void {
  reply.body.onHold = (held) => (held ? slot.lend() : slot.takeBack());
  reply.body.whenSettled(() => slot.release());
}
