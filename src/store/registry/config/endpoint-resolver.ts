/**
 * Where a registry is really reached on this machine.
 *
 * One source speaks for a repository: the `[[registry]]` table of registries.conf that matches it (podman's world),
 * else containerd's hosts.toml, else the registry's own name. Mixing the two would give an order that neither file
 * shows. Certificates come from certs.d whichever it is.
 */
import { LRUCache } from 'lru-cache';
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { isRegistryHost, normalizeRegistry } from '../../../oci/reference.js';
import type { Endpoint, EndpointResolver } from '../endpoint.js';
import { createCertificateReader, type CertificateOptions } from './certs-d.js';
import { createEndpointMaker, type EndpointMaker } from './endpoint-maker.js';
import type { Environment } from './environment.js';
import { createHostsReader, type HostsReader } from './hosts-reader.js';
import { createProxyChooser } from './proxy.js';
import type { RegistryMirror, RegistryTable } from './registries-conf.js';
import { createRegistriesReader, type RegistriesReader } from './registries-files.js';
import { matchRegistry, relocate, type Place } from './registries-match.js';
import { createTrustAnchors } from './trust-anchors.js';

export interface EndpointOptions extends CertificateOptions {
  readonly environment: Environment;
  /**
   * `--tls-verify`. False: certificates are not checked and http is allowed, everywhere. True: both are refused,
   * also where a file or a loopback address would allow them. Undefined: the files decide.
   */
  readonly tlsVerify?: boolean;
  /** How long an answer counts before files are looked at again, in milliseconds. */
  readonly recheckMs?: number;
}

/**
 * An answer takes some 20 calls of the file system, measured 1 ms on an idle machine and 3 ms on a busy one, and a
 * walk through a repository asks for it with every request. Once a second keeps that below 0.3 %, and nobody notices
 * that a new mirror waits so long.
 */
const defaultRecheckMs = 1_000;

/** Repositories in use at one time; an answer is 1 KB. */
const maxRemembered = 1_000;

/** An {@link EndpointResolver} that can also say what short names may mean. */
export interface ConfiguredEndpoints extends EndpointResolver {
  /** As {@link RegistriesReader.expand}: all candidates of a short name, best first. */
  expand(shortName: string): Promise<readonly string[]>;
}

/** Endpoints by the configuration of this machine. A `registries` reader may be shared with the credentials. */
export function createEndpointResolver(
  options: EndpointOptions,
  registries: RegistriesReader = createRegistriesReader(options.environment),
): ConfiguredEndpoints {
  const { environment } = options;
  const certificates = createCertificateReader(environment, options);
  const sources: Sources = {
    registries,
    hosts: createHostsReader(environment, certificates),
    maker: createEndpointMaker(certificates, createTrustAnchors(environment), options.tlsVerify),
  };
  const answers = new LRUCache<string, Promise<readonly Endpoint[]>>({
    max: maxRemembered,
    ttl: options.recheckMs ?? defaultRecheckMs,
  });
  return {
    endpoints: async (registry, repository) => {
      const key = `${registry}/${repository}`;
      const known = options.recheckMs === 0 ? undefined : answers.get(key);
      if (known !== undefined) return await known;
      const work = findEndpoints(sources, { registry: checkRegistry(registry), repository });
      answers.set(key, work);
      work.catch(() => {
        if (answers.peek(key) === work) answers.delete(key);
      });
      return await work;
    },
    proxyFor: createProxyChooser(environment),
    expand: async (shortName) => await registries.expand(shortName),
    alias: async (shortName) => {
      const [first, ...others] = await registries.expand(shortName);
      return others.length === 0 ? first : undefined;
    },
  };
}

interface Sources {
  readonly registries: RegistriesReader;
  readonly hosts: HostsReader;
  readonly maker: EndpointMaker;
}

function checkRegistry(registry: string): string {
  const host = normalizeRegistry(registry);
  if (isRegistryHost(host)) return host;
  throw new ImgfsError('name-invalid', `not a registry: ${JSON.stringify(registry.slice(0, 300))}`);
}

async function findEndpoints(sources: Sources, place: Place): Promise<readonly Endpoint[]> {
  const { tables } = await sources.registries.read();
  const table = matchRegistry(tables, place);
  if (table !== undefined) return await endpointsOfTable(sources.maker, table, place);
  const hosts = await sources.hosts.read(place.registry);
  if (hosts === undefined) return [await sources.maker.own(place)];
  if (!('server' in hosts)) return [await sources.maker.own(place, hosts)];
  const endpoints: Endpoint[] = [];
  for (const host of hosts.hosts)
    endpoints.push(await sources.maker.ofHost(host, place, hosts.origin, false));
  return [...endpoints, await sources.maker.ofHost(hosts.server, place, hosts.origin, true)];
}

async function endpointsOfTable(
  maker: EndpointMaker,
  table: RegistryTable,
  place: Place,
): Promise<readonly Endpoint[]> {
  if (table.blocked) throw blocked(table, place);
  const mirror = async (each: RegistryMirror, capabilities: Endpoint['capabilities']): Promise<Endpoint> =>
    await maker.located(relocate(table, each.location, place), {
      insecure: each.insecure,
      isOrigin: false,
      capabilities,
      configuredBy: table.origin,
    });
  const before: Endpoint[] = [];
  const behind: Endpoint[] = [];
  for (const each of table.mirrors) {
    before.push(await mirror(each, mirrorCapabilities[each.use]));
    // What a tag of such a mirror leads to may not have reached the origin yet.
    if (each.use === 'tag-only') behind.push(await mirror(each, new Set(['pull'])));
  }
  const origin = await maker.located(relocate(table, table.location, place), {
    insecure: table.insecure,
    isOrigin: true,
    capabilities: new Set(['pull', 'resolve', 'push']),
    configuredBy: table.origin,
  });
  return [...before, origin, ...behind];
}

/** Reads by digest need `pull`, reads by tag `resolve`; mirrors take no writes. */
const mirrorCapabilities: Readonly<Record<RegistryMirror['use'], Endpoint['capabilities']>> = {
  all: new Set(['pull', 'resolve'] as const),
  'digest-only': new Set(['pull'] as const),
  'tag-only': new Set(['resolve'] as const),
};

function blocked(table: RegistryTable, place: Place): ImgfsError {
  const name = place.repository === '' ? place.registry : `${place.registry}/${place.repository}`;
  return new ImgfsError('denied', `${name}: the registry ${table.prefix} is blocked in ${table.origin}`, {
    operation: 'choose endpoint',
    host: place.registry,
    reference: name,
    path: table.origin,
    hint: 'remove blocked = true there, if this is your decision to make',
  });
}
