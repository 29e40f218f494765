/**
 * Where tokens may be asked for, and who may see the password. A realm is a URL chosen by whoever answered with a 401,
 * and every client that followed it blindly was used to reach internal services or to collect credentials.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';

export interface RealmCheck {
  readonly url: URL;
  /** Same scheme, host and port as the registry: no address check, the registry is reached there anyway. */
  readonly sameOrigin: boolean;
  /** The user named this host: no address check either. */
  readonly trusted: boolean;
  /** May the password or refresh token be sent there? Without: anonymous tokens only. */
  readonly maySendSecrets: boolean;
}

/** Token servers known to serve registries of another domain. */
const knownTokenHosts: Readonly<Record<string, readonly string[]>> = {
  'auth.docker.io': ['dhi.io'],
};

/** `co.uk`, `com.au`: a domain of strangers. Short names below a country that are one company's count as such too. */
const publicSuffix = /^[a-z0-9-]{1,3}\.[a-z]{2}$/;

/** `registry-1.docker.io` → `docker.io`; undefined where only a domain that many share would be left. */
function parentDomain(host: string): string | undefined {
  const labels = host.split('.');
  if (labels.length <= 2 || /^[0-9.]+$/.test(host) || host.startsWith('[')) return undefined;
  const parent = labels.slice(1).join('.');
  return publicSuffix.test(parent) ? undefined : parent;
}

/** A neighbour in the registry's own domain: it could as well have asked for the password itself. */
function isNeighbour(tokenHost: string, registryHost: string): boolean {
  const parent = parentDomain(registryHost);
  if (tokenHost === registryHost) return true;
  if (parent !== undefined && (tokenHost === parent || tokenHost.endsWith(`.${parent}`))) return true;
  return knownTokenHosts[tokenHost]?.includes(registryHost) === true;
}

/** True when `url`'s host, with or without its port, is on the list. */
export function isTrustedHost(url: URL, trustedHosts: readonly string[]): boolean {
  return trustedHosts.some((host) => host === url.host || host === url.hostname);
}

/**
 * Resolve and check the realm of a bearer challenge.
 * @throws ImgfsError `protocol` for a realm that is missing or unreadable, `denied` for one that is not safe.
 */
export function checkRealm(
  realm: string | undefined,
  registryUrl: URL,
  trustedHosts: readonly string[],
): RealmCheck {
  const host = registryUrl.host;
  if (realm === undefined || realm === '') {
    throw new ImgfsError('protocol', `log in at ${host}: the registry asks for a token but names no realm`, {
      host,
    });
  }
  let url: URL;
  try {
    url = new URL(realm, registryUrl);
  } catch {
    throw new ImgfsError('protocol', `log in at ${host}: the token realm is no url`, { host });
  }
  url.username = '';
  url.password = '';
  url.hash = '';
  const trusted = isTrustedHost(url, trustedHosts);
  const sameOrigin = url.origin === registryUrl.origin;
  const plain = url.protocol === 'http:' && (sameOrigin || (trusted && registryUrl.protocol === 'http:'));
  if (url.protocol !== 'https:' && !plain) {
    throw new ImgfsError(
      'denied',
      `log in at ${host}: the token server ${url.host} is not reached by https`,
      {
        host,
        hint: `if ${url.host} is the token server of this registry, give it TLS, or name it as a trusted host`,
      },
    );
  }
  const maySendSecrets = sameOrigin || trusted || isNeighbour(url.hostname, registryUrl.hostname);
  return { url, sameOrigin, trusted, maySendSecrets };
}
