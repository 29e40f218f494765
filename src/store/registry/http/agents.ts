/**
 * The undici dispatchers of one store: connections are kept per origin, apart for each set of trust anchors, client
 * certificate, proxy, and for targets that the registry named (`foreign`), whose addresses are checked.
 */
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import { LRUCache } from 'lru-cache';
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { Endpoint, EndpointResolver } from '../endpoint.js';
import { caps, type RegistryOptions } from '../options.js';
import { pooledConnector } from './connector.js';
import { Agent, openProxyAgent } from './dispatchers.js';
import { checkedLookup, literalAddress, mayReach, reachOf, forbiddenTarget, type Reach } from './address.js';

/** Registries close idle connections after 60 s (nginx 75, ALB 60, Go 90 and more): be the first to do so. */
const keepAliveMs = 30_000;

/**
 * Of the process, by the anchors and the client certificate that are in them: so the rehearsal makes the one that most
 * stores need, and several registries share it.
 */
const sharedContexts = new LRUCache<string, SecureContext>({ max: 16 });

/** The part of Node's own context that takes one more certificate. */
interface NativeContext {
  addCACert(pem: string): void;
}

/** How a connection is made. */
export interface Route {
  readonly url: URL;
  readonly endpoint: Endpoint;
  /** A host that the registry named: our client certificate is not for it. */
  readonly foreign: boolean;
  /** Addresses beyond this reach are refused; undefined where no check is wanted. */
  readonly reach?: Reach;
}

export class Agents {
  readonly #options: RegistryOptions;
  readonly #proxyFor: EndpointResolver['proxyFor'];
  readonly #dispatchers = new Map<string, Dispatcher>();
  readonly #contexts = new WeakMap<object, Map<string, SecureContext>>();
  readonly #identities = new WeakMap<object, number>();
  #lastIdentity = 0;
  /** Which client certificate is in use, by origin: moved on when the server refuses one. */
  readonly #pairIndex = new Map<string, number>();
  #closed = false;

  constructor(options: RegistryOptions, proxyFor: EndpointResolver['proxyFor']) {
    this.#options = options;
    this.#proxyFor = proxyFor;
  }

  /**
   * The dispatcher for a URL.
   * @throws ImgfsError `denied` for a literal address that the registry must not name, `config` for a bad proxy.
   */
  dispatcherFor(route: Route): Dispatcher {
    if (this.#closed) throw new ImgfsError('interrupted', `${route.url.host}: the store was closed`);
    const { url, endpoint, foreign, reach } = route;
    if (reach !== undefined) this.#checkLiteral(url, reach, endpoint);
    const proxy = this.#proxyFor(url);
    const key = [
      endpoint.origin,
      this.#identify(endpoint.tls.ca),
      endpoint.tls.verify,
      foreign ? 'foreign' : this.#pairKey(endpoint),
      endpoint.connectTimeoutMs,
      reach,
      proxy,
    ].join('|');
    let dispatcher = this.#dispatchers.get(key);
    if (dispatcher === undefined) {
      dispatcher = this.#make(route, proxy);
      this.#dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  /** Use the endpoint's next client certificate; false when all were tried, and the first one is next again. */
  nextClientPair(endpoint: Endpoint): boolean {
    const count = endpoint.tls.clientPairs?.length ?? 0;
    const next = (this.#pairIndex.get(endpoint.origin) ?? 0) + 1;
    this.#pairIndex.set(endpoint.origin, next < count ? next : 0);
    return next < count;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const dispatchers = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()));
  }

  #checkLiteral(url: URL, reach: Reach, endpoint: Endpoint): void {
    const literal = literalAddress(url.hostname);
    if (literal !== undefined && !mayReach(reachOf(literal), reach)) {
      throw forbiddenTarget(url.host, literal, new URL(endpoint.origin).host);
    }
  }

  #make({ url, endpoint, foreign, reach }: Route, proxy: string | undefined): Dispatcher {
    const tls = (): { rejectUnauthorized: boolean; secureContext?: SecureContext } => {
      const secureContext = this.#secureContext(endpoint, !foreign);
      return {
        rejectUnauthorized: endpoint.tls.verify,
        ...(secureContext === undefined ? {} : { secureContext }),
      };
    };
    // Certificates that cannot be used are known before anything is sent; a plain request needs none.
    if (url.protocol === 'https:') tls();
    const timeout = endpoint.connectTimeoutMs ?? this.#options.connectTimeoutMs;
    const common = {
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      maxHeaderSize: caps.headerBytes,
    };
    if (proxy !== undefined) {
      // The proxy resolves the name: only literal addresses could be checked.
      return openProxyAgent({
        ...common,
        uri: proxy,
        proxyTunnel: false,
        requestTls: { ...tls(), timeout },
        proxyTls: { timeout },
      });
    }
    const sender = new URL(endpoint.origin).host;
    const lookup = reach === undefined ? {} : { lookup: checkedLookup(reach, sender) };
    return new Agent({
      ...common,
      connect: pooledConnector({ timeoutMs: timeout, tls, tapsBodies: true, ...lookup }),
    });
  }

  /** A context is made once: it takes 4 ms of the thread, and more with many anchors of the machine's own. */
  #secureContext(endpoint: Endpoint, withClientPair: boolean): SecureContext | undefined {
    const { ca, clientPairs } = endpoint.tls;
    const index = this.#pairIndex.get(endpoint.origin) ?? 0;
    const pair = withClientPair ? clientPairs?.[index] : undefined;
    if (ca === undefined && pair === undefined) return undefined;
    const owner = ca ?? clientPairs ?? endpoint;
    const contexts = this.#contexts.get(owner) ?? new Map<string, SecureContext>();
    this.#contexts.set(owner, contexts);
    const name = pair === undefined ? '' : pair.cert + pair.key;
    const known = contexts.get(name);
    if (known !== undefined) return known;
    try {
      const made = sharedContext(ca ?? [], pair);
      contexts.set(name, made);
      return made;
    } catch (cause) {
      throw new ImgfsError('config', `certificates for ${endpoint.origin} cannot be used: ${String(cause)}`, {
        cause,
        hint: `check the certificate files of ${endpoint.configuredBy ?? endpoint.origin}`,
      });
    }
  }

  #pairKey(endpoint: Endpoint): string {
    const index = this.#pairIndex.get(endpoint.origin) ?? 0;
    const pair = endpoint.tls.clientPairs?.[index];
    return pair === undefined ? 'none' : pair.cert;
  }

  #identify(object: object | undefined): number {
    if (object === undefined) return 0;
    let identity = this.#identities.get(object);
    if (identity === undefined) {
      this.#lastIdentity += 1;
      identity = this.#lastIdentity;
      this.#identities.set(object, identity);
    }
    return identity;
  }
}

/** @throws what OpenSSL says of certificates that it cannot use. */
function sharedContext(
  anchors: readonly string[],
  pair: { readonly cert: string; readonly key: string } | undefined,
): SecureContext {
  const key = JSON.stringify([pair?.cert, pair?.key, ...anchors]);
  const known = sharedContexts.get(key);
  if (known !== undefined) return known;
  const made = createSecureContext(pair === undefined ? {} : { cert: pair.cert, key: pair.key });
  // What Node trusts is in it already, parsed once for the process: `ca` would parse all 144 again (24 ms
  // against 4 for one more). `addCACert` is what `ca` itself is built on.
  for (const anchor of anchors) (made.context as NativeContext).addCACert(anchor);
  sharedContexts.set(key, made);
  return made;
}
