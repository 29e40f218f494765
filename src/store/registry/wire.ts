/**
 * One request over the right connection: trust and proxies by endpoint, client certificates in order, http where
 * https cannot be spoken and configuration allows it, and an address check for every host that the registry named.
 */
import { toImgfsError, type ImgfsError } from '../../errors/imgfs-error.js';
import { createLogger } from '../../observe/log.js';
import { isTrustedHost } from './auth/realm.js';
import type { Endpoint, EndpointResolver } from './endpoint.js';
import { reachOfHost, type Reach } from './http/address.js';
import { Agents } from './http/agents.js';
import { isClientCertificateRefused, isNotTls } from './http/connection-error.js';
import { exchange, type Answer, type ExchangeRequest } from './http/exchange.js';
import type { RegistryOptions } from './options.js';

const log = createLogger('store');

export class Wire {
  readonly #registry: string;
  readonly #options: RegistryOptions;
  readonly #agents: Agents;
  /** The origin at which an endpoint was once answered: https, or http in its place. */
  readonly #answeredAt = new Map<string, string>();
  readonly #reaches = new Map<string, Promise<Reach>>();

  constructor(registry: string, options: RegistryOptions, proxyFor: EndpointResolver['proxyFor']) {
    this.#registry = registry;
    this.#options = options;
    this.#agents = new Agents(options, proxyFor);
  }

  /** URL of something in the endpoint's repository (of the API itself where it has none). */
  urlOf(endpoint: Endpoint, path: string): URL {
    const origin = this.#answeredAt.get(endpoint.origin) ?? endpoint.origin;
    const repository = endpoint.repository === '' ? '' : `/${endpoint.repository}`;
    const url = new URL(`${origin}${endpoint.apiPath}${repository}${path}`);
    if (endpoint.namespaceQuery) url.searchParams.set('ns', this.#registry);
    return url;
  }

  /**
   * Send one request to the endpoint, or, `foreign`, to a host that it named.
   * @throws ImgfsError as `exchange`; `denied` for an address that is not for the registry to name.
   */
  async exchange(endpoint: Endpoint, foreign: boolean, request: ExchangeRequest): Promise<Answer> {
    if (foreign) {
      const checked = !isTrustedHost(request.url, this.#options.trustedHosts);
      const reach = checked ? { reach: await this.#reach(endpoint) } : {};
      return exchange(this.#agents.dispatcherFor({ url: request.url, endpoint, foreign, ...reach }), request);
    }
    for (;;) {
      try {
        const dispatcher = this.#agents.dispatcherFor({ url: request.url, endpoint, foreign });
        const answer = await exchange(dispatcher, request);
        this.#answeredAt.set(endpoint.origin, answer.url.origin);
        return answer;
      } catch (thrown) {
        const error = toImgfsError(thrown);
        // Once there was an answer, the way is known to be right: what fails now fails for other reasons.
        if (this.#answeredAt.has(endpoint.origin)) throw error;
        if (isClientCertificateRefused(error.cause) && this.#agents.nextClientPair(endpoint)) continue;
        return this.#inPlain(endpoint, request, error);
      }
    }
  }

  async close(): Promise<void> {
    await this.#agents.close();
  }

  /** The same by http, where that is allowed and the error is that of a server without TLS. */
  async #inPlain(endpoint: Endpoint, request: ExchangeRequest, error: ImgfsError): Promise<Answer> {
    const https = request.url.protocol === 'https:' && request.url.origin === endpoint.origin;
    if (!endpoint.allowHttpFallback || !https || !isNotTls(error.cause)) throw error;
    const url = new URL(request.url);
    url.protocol = 'http:';
    const dispatcher = this.#agents.dispatcherFor({ url, endpoint, foreign: false });
    const answer = await exchange(dispatcher, { ...request, url });
    log.debug('https cannot be spoken there, going on with http', { host: url.host });
    this.#answeredAt.set(endpoint.origin, url.origin);
    return answer;
  }

  /** Reach of the registry itself, which bounds where it may send us. */
  #reach(endpoint: Endpoint): Promise<Reach> {
    const { hostname } = new URL(endpoint.origin);
    const known = this.#reaches.get(hostname) ?? reachOfHost(hostname);
    this.#reaches.set(hostname, known);
    return known;
  }
}
