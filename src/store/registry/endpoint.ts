/**
 * Where a registry is really reached: the seam between configuration (mirrors, certificates, proxies, blocks)
 * and the client that sends requests.
 */

/** containerd hosts.toml capabilities; `registries.conf` mirrors have `pull` and `resolve`. */
export type EndpointCapability = 'pull' | 'resolve' | 'push';

export interface EndpointTls {
  /** Extra trust anchors, PEM. Undefined: the system's (and `SSL_CERT_FILE`). */
  readonly ca?: readonly string[];
  /** Client certificates, PEM, tried in order. */
  readonly clientPairs?: readonly { readonly cert: string; readonly key: string }[];
  /** False only when the user asked for it: `--tls-verify=false`, `insecure`, `skip_verify`. */
  readonly verify: boolean;
}

export interface Endpoint {
  /** `https://host:port`, no path. Plain http only where configuration or the user allows it. */
  readonly origin: string;
  /** Path before the repository: `/v2` unless hosts.toml says `override_path`. */
  readonly apiPath: string;
  /** Put before the repository name (`registries.conf` location with a path); '' normally, else ends in `/`. */
  readonly repositoryPrefix: string;
  /** Repository name to ask for at this endpoint, after rewriting by `registries.conf`. */
  readonly repository: string;
  /** True for the registry itself; mirrors get no credentials of the origin and an `ns=` query where wanted. */
  readonly isOrigin: boolean;
  /** Send `?ns=<registry>` (containerd's proxy convention). */
  readonly namespaceQuery: boolean;
  readonly capabilities: ReadonlySet<EndpointCapability>;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: EndpointTls;
  /** Try http when https cannot be spoken there: registries marked insecure, and loopback ones as Docker does. */
  readonly allowHttpFallback: boolean;
  /** Host name under which credentials are looked up. */
  readonly credentialHost: string;
  /** Which file said so, for `auth why` and messages. */
  readonly configuredBy?: string;
}

export interface EndpointResolver {
  /**
   * Endpoints in the order to try, the origin last.
   * @throws ImgfsError `denied` when `registries.conf` blocks it; `config` when a file cannot be used.
   */
  endpoints(registry: string, repository: string): Promise<readonly Endpoint[]>;
  /** Proxy for a URL by HTTP(S)_PROXY and NO_PROXY (upper and lower case); undefined for none. */
  proxyFor(url: URL): string | undefined;
  /** Unqualified and alias names (`registries.conf` aliases): expanded `host/repo`, or undefined. */
  alias(shortName: string): Promise<string | undefined>;
}
