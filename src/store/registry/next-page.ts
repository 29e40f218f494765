/** The next page of a list, from the registry's own link: servers differ in how they spell the cursor. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Call, RegistryClient, Reply } from './client.js';
import { headerValues } from './http/headers.js';
import { nextLink } from './http/link.js';

/**
 * URL of the next page, always at the endpoint itself; undefined at the end.
 * @throws ImgfsError `protocol` for a link that leads to another host.
 */
export function nextPage(client: RegistryClient, reply: Reply): URL | undefined {
  const link = nextLink(headerValues(reply.headers, 'link'));
  if (link === undefined || link === '') return undefined;
  const base = client.urlOf(reply.endpoint, '/');
  const url = URL.canParse(link, reply.url.href) ? new URL(link, reply.url) : undefined;
  if (url?.hostname !== base.hostname) {
    const { operation = 'list', host } = reply.context;
    const where = url === undefined ? 'no url' : `on another host (${url.host})`;
    throw new ImgfsError('protocol', `${operation} from ${host}: the next page is ${where}`, {
      ...reply.context,
      hint: 'report this to the operator of the registry',
    });
  }
  // A registry behind a TLS proxy may believe that it is reached by http, or at another port: the path is what counts.
  return new URL(url.pathname + url.search, base.origin);
}

/**
 * Ask for the next page of the endpoint that named it: a cursor means something to that one only.
 * @throws ImgfsError `protocol` where there is no such page: the list exists, so its rest is not "not found".
 */
export async function fetchNextPage(
  client: RegistryClient,
  before: Reply,
  url: URL,
  call: Omit<Call, 'url'>,
): Promise<Reply> {
  try {
    return await client.sendTo(before.endpoint, { ...call, url });
  } catch (error) {
    if (!isImgfsError(error, 'not-found')) throw error;
    const { status: _, ...context } = error.context;
    throw new ImgfsError('protocol', `${error.message}: the next page does not exist`, {
      ...context,
      cause: error,
      hint: 'report this to the operator of the registry',
    });
  }
}
