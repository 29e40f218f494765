/**
 * Search. Docker Hub has `GET /v1/search?q=…&n=…` (the one part of the first API that lives on; containers/image and
 * `docker search` use it); no other registry does, and there the catalog is looked through.
 */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { asObject, optionalArray, optionalString, type JsonObject } from '../../oci/json-fields.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { dockerHub, isRepositoryName } from '../../oci/reference.js';
import type { SearchHit, SearchOptions } from '../store.js';
import type { Call, RegistryClient } from './client.js';
import type { Endpoint } from './endpoint.js';
import { readBody } from './http/read-body.js';
import { listRepositories } from './listing.js';
import { caps } from './options.js';

const defaultLimit = 25;
/** What Docker Hub gives in one answer. */
const maxHubHits = 100;
const maxTermLength = 200;

/** @throws ImgfsError `invalid` for an empty term; `unsupported` where there is neither search nor catalog. */
export async function* searchRegistry(
  client: RegistryClient,
  term: string,
  options: SearchOptions,
): AsyncGenerator<SearchHit> {
  const wanted = term.trim();
  if (wanted === '' || wanted.length > maxTermLength)
    throw new ImgfsError('invalid', `search ${client.registry}: the term is empty or too long`);
  const limit = options.limit ?? defaultLimit;
  if (client.registry === dockerHub) yield* (await searchHub(client, wanted, limit, options)).slice(0, limit);
  else yield* searchCatalog(client, wanted, limit, options);
}

async function searchHub(
  client: RegistryClient,
  term: string,
  limit: number,
  { signal }: SearchOptions,
): Promise<readonly SearchHit[]> {
  const endpoint = (await client.endpoints(undefined, 'resolve')).find(({ isOrigin }) => isOrigin);
  if (endpoint === undefined)
    throw new ImgfsError('unsupported', `search ${client.registry}: only mirrors are configured`);
  const query = new URLSearchParams({ q: term, n: String(Math.min(limit, maxHubHits)) });
  const url = new URL(`/v1/search?${query.toString()}`, searchOrigin(endpoint));
  const call: Call = {
    ...(signal === undefined ? {} : { signal }),
    operation: 'search',
    method: 'GET',
    repository: undefined,
    path: '/',
    url,
    capability: 'resolve',
    access: 'none',
    headers: { accept: 'application/json' },
    expect: [200],
    hint: 'name the repository in full',
  };
  // The index is another host than the registry: it gets no credentials, and needs none.
  const isOwn = url.origin === new URL(endpoint.origin).origin;
  const reply = isOwn ? await client.sendTo(endpoint, call) : await client.sendAbroad(url.href, call);
  if (reply === undefined)
    throw new ImgfsError('unavailable', `search ${client.registry}: ${url.host} does not answer`, {
      host: url.host,
      hint: 'try again, or name the repository in full',
    });
  const bytes = await readBody(reply.body, caps.manifestBytes, client.options.callTimeoutMs, reply.context);
  try {
    const what = 'search result';
    const document = asObject(parseUntrustedJson(bytes, { what, maxBytes: caps.manifestBytes }), what);
    return (optionalArray(document, 'results', what) ?? []).flatMap((hit) => hitOf(asObject(hit, what)));
  } catch (error) {
    if (!isImgfsError(error)) throw error;
    throw new ImgfsError('protocol', `search ${client.registry}: ${error.message}`, {
      ...reply.context,
      cause: error,
    });
  }
}

/** The registry of Docker Hub has no search; its index beside it has. Elsewhere (tests, mirrors) it is one host. */
function searchOrigin({ origin }: Endpoint): string {
  return new URL(origin).hostname === 'registry-1.docker.io' ? 'https://index.docker.io' : origin;
}

function hitOf(hit: JsonObject): SearchHit[] {
  const text = optionalString(hit, 'name', 'search result') ?? '';
  const name = text.includes('/') ? text : `library/${text}`;
  if (!isRepositoryName(name)) return [];
  const description = optionalString(hit, 'description', 'search result');
  const stars = hit['star_count'];
  const official = hit['is_official'];
  return [
    {
      name,
      ...(description === undefined || description === '' ? {} : { description }),
      ...(typeof stars === 'number' ? { stars } : {}),
      ...(typeof official === 'boolean' ? { official } : {}),
    },
  ];
}

async function* searchCatalog(
  client: RegistryClient,
  term: string,
  limit: number,
  { signal }: SearchOptions,
): AsyncGenerator<SearchHit> {
  const lower = term.toLowerCase();
  let hits = 0;
  for await (const name of listRepositories(client, signal === undefined ? {} : { signal })) {
    if (!name.includes(lower)) continue;
    yield { name };
    hits += 1;
    if (hits >= limit) return;
  }
}
