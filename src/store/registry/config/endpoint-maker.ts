/** From a place and what the files say about it to an {@link Endpoint}. */
import { dockerHub, normalizeRegistry } from '../../../oci/reference.js';
import type { Endpoint, EndpointTls } from '../endpoint.js';
import type { CertificateReader, ClientPair, HostCertificates } from './certs-d.js';
import type { ReadyHost } from './hosts-reader.js';
import { isLoopback } from './proxy.js';
import type { Place } from './registries-match.js';
import type { TrustAnchors } from './trust-anchors.js';

/** What registries.conf says of a location. */
export interface LocationFacts {
  readonly insecure: boolean;
  readonly isOrigin: boolean;
  readonly capabilities: Endpoint['capabilities'];
  readonly configuredBy?: string;
}

export interface EndpointMaker {
  /** The registry itself, without configuration but for certificates a folder of containerd may have. */
  own(place: Place, certificates?: HostCertificates): Promise<Endpoint>;
  /** A location of registries.conf. */
  located(place: Place, facts: LocationFacts): Promise<Endpoint>;
  /** A host of hosts.toml. */
  ofHost(host: ReadyHost, place: Place, configuredBy: string, isOrigin: boolean): Promise<Endpoint>;
}

/** The host that answers for Docker Hub; `docker.io` itself is a web site. */
const dockerHubServer = 'registry-1.docker.io';

/** Everything a registry can do. */
const everything: Endpoint['capabilities'] = new Set(['pull', 'resolve', 'push'] as const);

/** @param tlsVerify `--tls-verify`, when it was given. */
export function createEndpointMaker(
  certificates: CertificateReader,
  anchors: TrustAnchors,
  tlsVerify: boolean | undefined,
): EndpointMaker {
  const joinAnchors = createJoiner<string>((pem) => pem);
  const joinPairs = createJoiner<ClientPair>((pair) => pair.cert + pair.key);
  const tlsOf = async (verify: boolean, parts: readonly TlsParts[]): Promise<EndpointTls> => {
    const ca = joinAnchors([await anchors.read(), ...parts.map((part) => part.ca)]);
    const clientPairs = joinPairs(parts.map((part) => part.clientPairs));
    return {
      verify: tlsVerify ?? verify,
      ...(ca === undefined ? {} : { ca }),
      ...(clientPairs === undefined ? {} : { clientPairs }),
    };
  };
  const located = async (place: Place, facts: LocationFacts, more?: HostCertificates): Promise<Endpoint> => {
    const configured = (await certificates.forHost(place.registry)) ?? more;
    const configuredBy = facts.configuredBy ?? configured?.origin;
    return {
      origin: `https://${serverOf(place.registry)}`,
      apiPath: '/v2',
      repository: place.repository,
      isOrigin: facts.isOrigin,
      namespaceQuery: false,
      capabilities: facts.capabilities,
      headers: {},
      tls: await tlsOf(!facts.insecure, configured === undefined ? [] : [configured]),
      allowHttpFallback:
        tlsVerify === undefined ? facts.insecure || isLoopback(hostName(place.registry)) : !tlsVerify,
      credentialHost: place.registry,
      ...(configuredBy === undefined ? {} : { configuredBy }),
    };
  };
  return {
    located,
    own: async (place, more) =>
      await located(place, { insecure: false, isOrigin: true, capabilities: everything }, more),
    ofHost: async (host, place, configuredBy, isOrigin) => {
      const { entry } = host;
      const server = entry.origin === undefined ? place.registry : withoutDefaultPort(entry.origin);
      const plain = entry.origin?.startsWith('http:') === true;
      const base = await located(
        { ...place, registry: server },
        {
          insecure: entry.skipVerify ?? false,
          isOrigin,
          // containerd does not look at the capabilities of a file that leaves the server to its default.
          capabilities: entry.origin === undefined ? everything : entry.capabilities,
          configuredBy,
        },
      );
      const own = await certificates.forHost(server);
      return {
        ...base,
        origin: plain ? `http://${serverOf(server)}` : base.origin,
        apiPath: entry.apiPath,
        namespaceQuery: serverOf(server) !== serverOf(place.registry),
        headers: entry.headers,
        tls: await tlsOf(base.tls.verify, own === undefined ? [host] : [host, own]),
        // `skip_verify` is about certificates; only an address with http:// asks for http.
        allowHttpFallback: tlsVerify === undefined ? isLoopback(hostName(server)) : !tlsVerify,
        ...(entry.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: entry.connectTimeoutMs }),
      };
    },
  };
}

interface TlsParts {
  readonly ca: readonly string[];
  readonly clientPairs: readonly ClientPair[];
}

/** Name and port to connect to. */
function serverOf(registry: string): string {
  return registry === dockerHub ? dockerHubServer : registry;
}

/** `host[:port]` of an origin, as references write it. */
function withoutDefaultPort(origin: string): string {
  return normalizeRegistry(new URL(origin).host);
}

/** The host of `host[:port]`, without brackets. */
function hostName(registry: string): string {
  return registry.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
}

/**
 * Lists joined into one, without doubles. Equal items give the same array, so that a client can keep what it made of
 * it. Undefined for an empty list.
 */
function createJoiner<T>(
  textOf: (item: T) => string,
): (lists: readonly (readonly T[])[]) => readonly T[] | undefined {
  const known = new Map<string, readonly T[]>();
  return (lists) => {
    const unique = new Map(lists.flat().map((item) => [textOf(item), item]));
    if (unique.size === 0) return undefined;
    const key = [...unique.keys()].join('\n');
    const before = known.get(key);
    if (before !== undefined) return before;
    // Only changed files leave an old entry behind; a few of them are no load.
    if (known.size > 100) known.clear();
    const made = [...unique.values()];
    known.set(key, made);
    return made;
  };
}
