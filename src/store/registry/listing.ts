/**
 * Tags and repositories, page by page (distribution-spec end-8a, end-8b and the catalog of distribution), with an end
 * to whatever a server sends: endless pages, loops, huge pages, links to other hosts.
 */
import { ImgfsError, toImgfsError, type ErrorContext } from '../../errors/imgfs-error.js';
import { isRepositoryName, isTag } from '../../oci/reference.js';
import { createLogger } from '../../observe/log.js';
import type { ListOptions } from '../store.js';
import type { Call, RegistryClient, Reply } from './client.js';
import { readBuffers } from './http/read-buffers.js';
import { NameStream } from './name-stream.js';
import { fetchNextPage, nextPage } from './next-page.js';
import { caps } from './options.js';

const log = createLogger('store');

/** ECR refuses more; fewer only cost round trips. */
const defaultPageSize = 1000;
/** Of a page taken in at once: 1,000 to 3,000 names. */
const batchBytes = 32 * 1024;
/** Pages without a single name that are borne: a filter on the server may leave some empty. */
const maxEmptyPages = 50;

export interface ListPlan {
  readonly call: Omit<Call, 'path'>;
  readonly path: string;
  /** Key of the array in a page. */
  readonly key: 'tags' | 'repositories';
  /** From the name in the page to ours; undefined drops it. */
  readonly accept: (name: string) => string | undefined;
}

function broken(context: ErrorContext, text: string): ImgfsError {
  return new ImgfsError(
    'protocol',
    `${context.operation ?? 'list'} from ${context.host ?? 'registry'}: ${text}`,
    {
      ...context,
      hint: 'report this to the operator of the registry',
    },
  );
}

/** The names of one page, as they arrive: a batch for each chunk. */
async function* pageNames(reply: Reply, key: string): AsyncGenerator<string[]> {
  const stream = new NameStream(key);
  let bytes = 0;
  try {
    for await (const chunk of reply.body) {
      bytes += chunk.length;
      if (bytes > caps.pageBytes)
        throw broken(reply.context, `a page is longer than ${caps.pageBytes} bytes`);
      for (let at = 0; at < chunk.length; at += batchBytes)
        yield stream.push(chunk.subarray(at, at + batchBytes));
      readBuffers.release(chunk);
    }
  } catch (error) {
    if (error instanceof SyntaxError)
      throw broken(reply.context, `a page is not the JSON expected: ${error.message}`);
    throw error;
  } finally {
    reply.body.cancel();
  }
  if (!stream.done || !stream.found) throw broken(reply.context, `a page has no list of ${key}`);
}

/** Names of all pages as the server sends them, in batches. */
async function* allNames(client: RegistryClient, plan: ListPlan, query: string): AsyncGenerator<string[]> {
  const seen = new Set<string>();
  let names = 0;
  let emptyPages = 0;
  let reply = await client.send({ ...plan.call, path: `${plan.path}?${query}` });
  for (let pages = 1; ; pages += 1) {
    const before = names;
    for await (const batch of pageNames(reply, plan.key)) {
      names += batch.length;
      if (names > caps.names) throw broken(reply.context, `more than ${caps.names} names`);
      yield batch;
    }
    const next = nextPage(client, reply);
    if (next === undefined) return;
    emptyPages = names === before ? emptyPages + 1 : 0;
    if (seen.has(next.href)) throw broken(reply.context, 'the pages go round in a circle');
    if (pages >= caps.pages || emptyPages > maxEmptyPages)
      throw broken(reply.context, `no end after ${pages} pages`);
    seen.add(next.href);
    reply = await fetchNextPage(client, reply, next, { ...plan.call, path: plan.path });
  }
}

/** Names that may be waiting for `last` to turn up: more than that, and the server is believed. */
const maxHeld = 100_000;

/**
 * Only names behind `last`, also where the server ignored the wish: then the list begins with names up to `last`,
 * and contains it. A server that sorts in another way is recognised by `last` not turning up, and believed.
 */
class Behind {
  readonly #last: string | undefined;
  #held: string[] | undefined;

  constructor(last: string | undefined) {
    this.#last = last;
    this.#held = last === undefined ? undefined : [];
  }

  take(names: string[]): string[] {
    if (this.#held === undefined || this.#last === undefined) return names;
    for (const [index, name] of names.entries()) {
      if (name === this.#last) {
        this.#held = undefined;
        return names.slice(index + 1);
      }
      if (name > this.#last || this.#held.length >= maxHeld) {
        return [...this.rest(), ...names.slice(index)];
      }
      this.#held.push(name);
    }
    return [];
  }

  /** What was held back in vain. */
  rest(): string[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    return held;
  }
}

/** Names of a listing, checked, without repetitions of the last one. */
async function* listNames(
  client: RegistryClient,
  plan: ListPlan,
  options: ListOptions,
): AsyncGenerator<string> {
  const query = new URLSearchParams({
    n: String(Math.min(options.pageSize ?? defaultPageSize, defaultPageSize)),
  });
  if (options.last !== undefined) query.set('last', options.last);
  const behind = new Behind(options.last);
  let dropped = 0;
  let previous: string | undefined;
  const accepted = (raw: string): string | undefined => {
    const name = plan.accept(raw);
    if (name === undefined) dropped += 1;
    if (name === undefined || name === previous) return undefined;
    previous = name;
    return name;
  };
  try {
    for await (const batch of allNames(client, plan, query.toString())) {
      for (const raw of behind.take(batch)) {
        const name = accepted(raw);
        if (name !== undefined) yield name;
      }
    }
    for (const raw of behind.rest()) {
      const name = accepted(raw);
      if (name !== undefined) yield name;
    }
  } finally {
    if (dropped > 0) {
      log.info('names left out of a listing', { registry: client.registry, path: plan.path, dropped });
    }
  }
}

/** Tags. Digests stored as tags (Artifactory), nulls (Nexus) and names that are no tags are left out. */
export function listTags(
  client: RegistryClient,
  repository: string,
  options: ListOptions,
): AsyncGenerator<string> {
  const call = {
    ...callOptions(options),
    operation: 'list tags',
    method: 'GET',
    repository,
    capability: 'resolve',
    access: 'pull',
    headers: { accept: 'application/json' },
    expect: [200],
    context: { reference: `${client.registry}/${repository}` },
  } as const;
  return listNames(
    client,
    { call, path: '/tags/list', key: 'tags', accept: (name) => (isTag(name) ? name : undefined) },
    options,
  );
}

/** Statuses by which registries say that they have no catalog. */
const noCatalog = new Set([404, 405, 501]);

/**
 * Repositories of the registry.
 * @throws ImgfsError `unsupported` where there is no catalog, `unauthorized` or `denied` where it is closed to us.
 */
export async function* listRepositories(
  client: RegistryClient,
  options: ListOptions,
): AsyncGenerator<string> {
  const hint = 'name the repository in full; most public registries do not list theirs';
  const call = {
    ...callOptions(options),
    operation: 'list repositories',
    method: 'GET',
    repository: undefined,
    capability: 'resolve',
    access: 'catalog',
    headers: { accept: 'application/json' },
    expect: [200],
    hint,
  } as const;
  const accept = (name: string): string | undefined => (isRepositoryName(name) ? name : undefined);
  try {
    yield* listNames(client, { call, path: '/_catalog', key: 'repositories', accept }, options);
  } catch (thrown) {
    const error = toImgfsError(thrown);
    if (error.context.status === undefined || !noCatalog.has(error.context.status)) throw error;
    throw new ImgfsError('unsupported', `${client.registry} has no list of its repositories`, {
      ...error.context,
      cause: error,
      hint,
    });
  }
}

function callOptions({ signal, priority }: ListOptions): Pick<ListOptions, 'signal' | 'priority'> {
  return { ...(signal === undefined ? {} : { signal }), ...(priority === undefined ? {} : { priority }) };
}
