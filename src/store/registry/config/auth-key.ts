/** Keys of credential files: which entries may speak for a repository, best first. */
import { dockerHub, normalizeRegistry } from '../../../oci/reference.js';

/** The key under which Docker keeps the login of Docker Hub, in its files and in every credential helper. */
export const dockerHubServer = 'https://index.docker.io/v1/';

/**
 * The keys to look for, most specific first: `host/a/b`, `host/a`, `host` (containers-auth.json(5)).
 * `host` is normalized (`docker.io` for all names of Docker Hub).
 */
export function keyLookupOrder(host: string, repository: string | undefined): readonly string[] {
  const registry = normalizeRegistry(host);
  const keys: string[] = [];
  let rest = repository ?? '';
  while (rest !== '') {
    keys.push(`${registry}/${rest}`);
    rest = rest.slice(0, Math.max(0, rest.lastIndexOf('/')));
  }
  keys.push(registry);
  return keys;
}

/**
 * One spelling for a key as it stands in a file: lower case, the host normalized. Keys that are URLs name their
 * host alone, whatever their path (Docker and its API paths `/v1/`, `/v2/`); so do all keys of a `.dockercfg`.
 */
export function normalizeKey(key: string, legacy = false): string {
  const lower = key.toLowerCase();
  const bare = lower.replace(/^https?:\/\//, '');
  const isUrl = bare !== lower;
  const path = isUrl ? bare : bare.replace(/\/v[12]\/$/, '').replace(/\/+$/, '');
  const slash = path.indexOf('/');
  const host = normalizeRegistry(slash < 0 ? path : path.slice(0, slash));
  return isUrl || legacy || slash < 0 ? host : host + path.slice(slash);
}

/** How a registry is named to a credential helper, in the order to try: Docker's spelling of the Hub, and podman's. */
export function helperServers(host: string): readonly string[] {
  const registry = normalizeRegistry(host);
  return registry === dockerHub ? [dockerHubServer, dockerHub] : [registry];
}
