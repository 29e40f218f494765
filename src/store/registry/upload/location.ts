/** `Location` of an upload session: opaque, changes with every answer, and not to be believed in its host. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { Digest } from '../../../oci/digest.js';
import type { RegistryClient, Reply } from '../client.js';
import { headerValue } from '../http/headers.js';

/**
 * Where the session is reached from here: the path and query given, at the endpoint itself. Registries behind a TLS
 * proxy name themselves with http or an inner port; the host must be the same.
 * @throws ImgfsError `protocol` when it is missing or names another host.
 */
export function uploadLocation(client: RegistryClient, reply: Reply): URL | undefined {
  const text = headerValue(reply.headers, 'location');
  if (text === undefined || text === '') return undefined;
  const base = client.urlOf(reply.endpoint, '/');
  const url = URL.canParse(text, reply.url.href) ? new URL(text, reply.url) : undefined;
  if (url === undefined || url.hostname !== base.hostname || !/^https?:$/.test(url.protocol)) {
    const where = url === undefined ? 'a location that is no url' : `another host (${url.host})`;
    throw new ImgfsError('protocol', `upload to ${base.host}: the registry sends the upload to ${where}`, {
      ...reply.context,
      hint: 'set the external URL in the configuration of the registry (http.host, or relativeurls: true)',
    });
  }
  return new URL(url.pathname + url.search, base.origin);
}

/** The location with the digest that commits it; the query it has is kept as it is. */
export function commitUrl(location: URL, digest: Digest): URL {
  const url = new URL(location);
  const separator = url.search === '' ? '?' : '&';
  url.search = `${url.search}${separator}digest=${encodeURIComponent(digest)}`;
  return url;
}
