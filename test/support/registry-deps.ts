/** What a registry store needs, without configuration files: fixed endpoints and one credential. */
import type { Credential } from '../../src/store/registry/credential.js';
import type { Endpoint, EndpointCapability } from '../../src/store/registry/endpoint.js';
import type { RegistryOptions } from '../../src/store/registry/options.js';
import type { RegistryStoreDeps } from '../../src/store/registry/registry-store.js';

export interface EndpointSketch extends Partial<Omit<Endpoint, 'repository' | 'capabilities'>> {
  readonly origin: string;
  readonly capabilities?: readonly EndpointCapability[];
  /** Put before the repository's name. */
  readonly prefix?: string;
}

export interface DepsSketch {
  /** By `credentialHost`; anonymous for all others. */
  readonly credentials?: Readonly<Record<string, Credential>>;
  readonly options?: Partial<RegistryOptions>;
  readonly proxyFor?: (url: URL) => string | undefined;
  /** Called for each look-up: the credential may change. */
  readonly onFind?: (host: string) => void;
}

function endpointFrom(sketch: EndpointSketch, repository: string): Endpoint {
  const { prefix = '', capabilities, ...given } = sketch;
  return {
    apiPath: '/v2',
    isOrigin: true,
    namespaceQuery: false,
    headers: {},
    tls: { verify: true },
    allowHttpFallback: false,
    credentialHost: new URL(sketch.origin).host,
    ...given,
    capabilities: new Set(capabilities ?? ['pull', 'resolve', 'push']),
    repository: repository === '' ? '' : `${prefix}${repository}`,
  };
}

/** Waits of a test: everything that takes seconds in earnest takes tens of milliseconds. */
export const quickOptions: Partial<RegistryOptions> = {
  responseTimeoutMs: 2000,
  callTimeoutMs: 4000,
  commitTimeoutMs: 4000,
  connectTimeoutMs: 2000,
  stallWindowMs: 400,
  backoffBaseMs: 5,
  backoffCapMs: 20,
};

/** Dependencies for `openRegistryStore`, with the quick options unless others are given. */
export function registryDeps(
  endpoints: string | readonly EndpointSketch[],
  sketch: DepsSketch = {},
): RegistryStoreDeps {
  const list = typeof endpoints === 'string' ? [{ origin: endpoints }] : endpoints;
  return {
    endpoints: {
      endpoints: async (_registry, repository) => list.map((one) => endpointFrom(one, repository)),
      proxyFor: sketch.proxyFor ?? (() => undefined),
      alias: async () => undefined,
    },
    credentials: {
      find: async (host) => {
        sketch.onFind?.(host);
        const credential = sketch.credentials?.[host] ?? { kind: 'anonymous' };
        return { credential, origin: 'test' };
      },
    },
    options: { ...quickOptions, ...sketch.options },
  };
}
