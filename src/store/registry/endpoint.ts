/**
 * Where a registry is really reached: the seam between configuration (mirrors, certificates, proxies, blocks)
 * and the client that sends requests.
 */

/**
 * What may be asked of an endpoint (the words of containerd's hosts.toml): `resolve` answers a tag, `pull` answers
 * what has a digest, `push` takes writes. Mirrors of `registries.conf` have `pull` and `resolve`; one that is
 * `digest-only` has no `resolve`.
 */
export type EndpointCapability = 'pull' | 'resolve' | 'push';

/** How to speak TLS with a host. */
export interface EndpointTls {
  /**
   * Trust anchors, PEM, to be added to `tls.rootCertificates`: those of the machine (and of `SSL_CERT_FILE`) that
   * Node does not bring along, and those configured for this host. Undefined: Node's own are enough. The array is
   * the same object as long as the files are unchanged. Keep the `SecureContext` made from it: with a list of 144
   * anchors, making one takes 20 ms of the thread, and `tls.connect({ ca })` would make one for each connection.
   */
  readonly ca?: readonly string[];
  /** Client certificates, PEM, tried in order. */
  readonly clientPairs?: readonly { readonly cert: string; readonly key: string }[];
  /** False only when the user asked for it: `--tls-verify=false`, `insecure`, `skip_verify`. */
  readonly verify: boolean;
}

/** One place at which a registry, or a mirror of it, is reached. */
export interface Endpoint {
  /** `https://host:port`, no path. Plain http only where configuration or the user allows it. */
  readonly origin: string;
  /** Path before the repository: `/v2` unless hosts.toml says `override_path`. */
  readonly apiPath: string;
  /**
   * Whole repository name to ask for at this endpoint, after rewriting by `registries.conf` (whose `location` may
   * replace any leading part of the name); '' where no repository was asked about.
   */
  readonly repository: string;
  /**
   * True for the registry itself, also where `registries.conf` moved it to another location; false for mirrors,
   * which get no credentials of the origin.
   */
  readonly isOrigin: boolean;
  /** Send `?ns=<registry>` (containerd's proxy convention). */
  readonly namespaceQuery: boolean;
  readonly capabilities: ReadonlySet<EndpointCapability>;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: EndpointTls;
  /** Try http when https cannot be spoken there: registries marked insecure, and loopback ones as Docker does. */
  readonly allowHttpFallback: boolean;
  /** Host name under which credentials are looked up, with `repository`: a mirror has credentials of its own. */
  readonly credentialHost: string;
  /** Limit for making a connection, in milliseconds (`dial_timeout` of hosts.toml); undefined: the client's own. */
  readonly connectTimeoutMs?: number;
  /** Which file said so, for `auth why` and messages. */
  readonly configuredBy?: string;
}

/** From a registry to the places to ask, in order. */
export interface EndpointResolver {
  /**
   * Endpoints in the order to try for a read: take those that have the capability needed. The origin
   * (`isOrigin`) comes behind its mirrors; only a mirror that is `tag-only` appears once more behind it, with
   * `pull` alone, for content that the origin does not have.
   * @throws ImgfsError `denied` when `registries.conf` blocks it; `config` when a file cannot be used.
   */
  endpoints(registry: string, repository: string): Promise<readonly Endpoint[]>;
  /**
   * Proxy for a URL by HTTP(S)_PROXY, ALL_PROXY and NO_PROXY (upper and lower case); undefined for none.
   * The URL may hold a password: never print it.
   * @throws ImgfsError `config` when the variable holds no URL of an http or https proxy.
   */
  proxyFor(url: URL): string | undefined;
  /** Unqualified and alias names (`registries.conf` aliases): expanded `host/repo`, or undefined. */
  alias(shortName: string): Promise<string | undefined>;
}
