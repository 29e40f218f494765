/** Our registry client, aimed at a test's registry: no file of this machine has a say. */
import type { FoundCredential, CredentialSource } from '../../src/store/registry/credential.js';
import type { Endpoint, EndpointResolver } from '../../src/store/registry/endpoint.js';
import type { RegistryOptions } from '../../src/store/registry/options.js';
import { openRegistryStore, type RegistryStore } from '../../src/store/registry/registry-store.js';

export interface TestClientOptions {
  /** User and password for that host; to all others nobody logs in. */
  readonly login?: { readonly username: string; readonly password: string };
  readonly credential?: FoundCredential['credential'];
  readonly options?: Partial<RegistryOptions>;
  readonly endpoint?: Partial<Endpoint>;
}

export interface TestServer {
  readonly host: string;
  readonly url: string;
  readonly ca?: string | undefined;
}

/** Endpoints as configuration would give them for a registry that is only itself. */
export function plainEndpoints(server: TestServer, change: Partial<Endpoint> = {}): EndpointResolver {
  const ca = server.ca === undefined ? undefined : [server.ca];
  return {
    endpoints: async (_registry, repository) => [
      {
        origin: server.url,
        apiPath: '/v2',
        repository,
        isOrigin: true,
        namespaceQuery: false,
        capabilities: new Set(['pull', 'resolve', 'push'] as const),
        headers: {},
        tls: { verify: true, ...(ca === undefined ? {} : { ca }) },
        allowHttpFallback: false,
        credentialHost: server.host,
        ...change,
      },
    ],
    proxyFor: () => undefined,
    alias: async () => undefined,
  };
}

/** One credential for one host, and nothing for anybody else. */
export function oneCredential(host: string, credential: FoundCredential['credential']): CredentialSource {
  return {
    find: async (asked) => ({
      credential: asked === host ? credential : { kind: 'anonymous' },
      origin: asked === host ? 'test' : 'nowhere',
    }),
  };
}

/** Quick to give up: faults are many, and a test's patience is short. */
export const hastyOptions: Partial<RegistryOptions> = {
  responseTimeoutMs: 400,
  callTimeoutMs: 2_000,
  commitTimeoutMs: 1_000,
  connectTimeoutMs: 500,
  stallWindowMs: 300,
  retries: 2,
  backoffBaseMs: 5,
  backoffCapMs: 20,
};

/** A store for `server`. */
export function openTestStore(server: TestServer, options: TestClientOptions = {}): RegistryStore {
  const { login } = options;
  const credential =
    options.credential ??
    (login === undefined ? { kind: 'anonymous' as const } : { kind: 'basic' as const, ...login });
  return openRegistryStore(server.host, {
    endpoints: plainEndpoints(server, options.endpoint),
    credentials: oneCredential(server.host, credential),
    ...(options.options === undefined ? {} : { options: options.options }),
  });
}
