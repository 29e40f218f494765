/**
 * What one may ask a store or a repository by a path: `@all`, pages of names, a search, what the store can do. These
 * directories can be looked up and are not listed: each asks the store for something dear.
 */
import { allManifests } from '../../image/all-manifests.js';
import { searchStore } from '../../image/search-store.js';
import { storeCapabilities } from '../../store/capabilities.js';
import { LayoutStore } from '../../store/layout/layout-store.js';
import {
  isRateLimited,
  isRepositoryLister,
  isTagLister,
  type CallOptions,
  type ImageStore,
  type ListOptions,
} from '../../store/store.js';
import { nameToText } from '../name.js';
import type { DirectoryNode, Found, VfsNode } from '../node.js';
import { safeComponent } from '../safe-name.js';
import type { TreeContext } from '../tree-context.js';
import { missing, toNs } from './answers.js';
import { LiveFile } from './bytes-file.js';
import { DigestDirectory } from './digest-directories.js';
import { repositoryDigests } from './found-images.js';
import { LazyDirectory } from './lazy-directory.js';
import { LinkNode } from './link-file.js';
import { StaticDirectory } from './static-directory.js';

/** A store or one repository of it. */
export interface ServicePlace {
  readonly open: () => Promise<ImageStore>;
  /** `''` at the root of a store. */
  readonly repository: string;
  /** Registries have no images at their root. */
  readonly isRegistryRoot: boolean;
}

/** A page that is asked for is held in memory. */
const maxPage = 10_000;
const defaultPage = 1_000;

/** The directory of that name, if it is one of these; names begin with `@`. */
export function storeService(
  context: TreeContext,
  place: ServicePlace,
  name: string,
): DirectoryNode | undefined {
  const [head = '', ...options] = name.split(',');
  const page = pageOf(options);
  if (page === undefined) return undefined;
  const isRoot = place.repository === '';
  if (head === '@tags' && options.length > 0 && !place.isRegistryRoot) return tagPage(context, place, page);
  if (head === '@repos' && isRoot) return repositoryPage(context, place, page);
  if (options.length > 0) return undefined;
  if (head === '@all' && !place.isRegistryRoot) return everyManifest(context, place);
  if (head === '@search' && isRoot) return searches(context, place);
  return head === '@store' && isRoot ? storeFacts(context, place) : undefined;
}

interface Page extends ListOptions {
  readonly limit: number;
}

/** `last=v1,n=50`, in any order; a comma or slash in a name is escaped as in a URL. */
function pageOf(options: readonly string[]): Page | undefined {
  let [last, limit]: [string | undefined, number] = [undefined, defaultPage];
  for (const option of options) {
    const [, key, value = ''] = /^(last|n)=(.+)$/.exec(option) ?? [];
    if (key === 'n' && /^[1-9][0-9]{0,4}$/.test(value) && Number(value) <= maxPage) limit = Number(value);
    else if (key === 'last') {
      try {
        last = decodeURIComponent(value);
      } catch {
        return undefined;
      }
    } else return undefined;
  }
  return { limit, pageSize: limit, ...(last === undefined ? {} : { last }) };
}

async function firstOf(names: AsyncIterable<string>, limit: number): Promise<readonly string[]> {
  const page: string[] = [];
  for await (const name of names) {
    page.push(name);
    if (page.length >= limit) break;
  }
  return page;
}

/** Names as links to where they are: one look at a page costs no look at its tags. */
function links(
  context: TreeContext,
  load: (options: CallOptions) => Promise<readonly string[]>,
  up: string,
): DirectoryNode {
  const nodes = async (options: CallOptions): Promise<ReadonlyMap<string, VfsNode>> => {
    const names = await load(options);
    const { namespaceMs } = context.lifetimes;
    return new Map(
      names.map((name) => [
        nameToText(safeComponent(name)),
        new LinkNode(`${up}${name}`, namespaceMs, context.mountTimeNs),
      ]),
    );
  };
  return new LazyDirectory(context, nodes, { ttlMs: context.lifetimes.namespaceMs });
}

function tagPage(
  context: TreeContext,
  { open, repository }: ServicePlace,
  { limit, ...list }: Page,
): DirectoryNode {
  const load = async (options: CallOptions): Promise<readonly string[]> => {
    const store = await open();
    return isTagLister(store) ? firstOf(store.tags(repository, { ...list, ...options }), limit) : [];
  };
  return links(context, load, '../@tags/');
}

function repositoryPage(
  context: TreeContext,
  { open }: ServicePlace,
  { limit, ...list }: Page,
): DirectoryNode {
  const load = async (options: CallOptions): Promise<readonly string[]> => {
    const store = await open();
    return isRepositoryLister(store) ? firstOf(store.repositories({ ...list, ...options }), limit) : [];
  };
  return links(context, load, '../');
}

function everyManifest(context: TreeContext, { open, repository }: ServicePlace): DirectoryNode {
  return new DigestDirectory(context, {
    ...repositoryDigests(context, open, repository),
    list: async (options) => {
      const found = [];
      for await (const { descriptor } of allManifests(context.images, await open(), repository, options))
        found.push({ digest: descriptor.digest });
      return found;
    },
  });
}

/** `@search/<term>/`: each hit a link to the repository. */
function searches(context: TreeContext, { open }: ServicePlace): DirectoryNode {
  const { immutableMs } = context.lifetimes;
  const empty = new StaticDirectory(new Map(), immutableMs, context.mountTimeNs);
  return {
    type: 'directory',
    attrTtlMs: immutableMs,
    stat: () => empty.stat(),
    list: () => ({ children: [], immutable: false }),
    lookup: (name): Found => {
      const term = nameToText(name);
      if (term.trim() === '' || term.startsWith('.')) return missing(immutableMs);
      const load = async (options: CallOptions): Promise<readonly string[]> => {
        const hits: string[] = [];
        for await (const hit of searchStore(await open(), term, { ...options, limit: 100 }))
          hits.push(hit.name);
        return hits;
      };
      return { node: links(context, load, '../../'), entryTtlMs: context.lifetimes.namespaceMs };
    },
  };
}

/** `@store/`: what the store can do, how many requests are left, and what a collector would remove. */
function storeFacts(context: TreeContext, { open }: ServicePlace): DirectoryNode {
  const now = (): bigint => toNs(context.now());
  const text = (value: unknown): Uint8Array => Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
  const capabilities = new LiveFile(async () => text(storeCapabilities(await open())), now);
  const rateLimit = new LiveFile(async () => {
    const store = await open();
    return text((isRateLimited(store) ? store.rateLimit() : undefined) ?? {});
  }, now);
  const load = async (): Promise<ReadonlyMap<string, VfsNode>> => {
    const store = await open();
    const files = new Map<string, VfsNode>([
      ['capabilities.json', capabilities],
      ['rate-limit.json', rateLimit],
    ]);
    if (store instanceof LayoutStore)
      files.set(
        'garbage.json',
        new LiveFile(async (options) => text(await store.collectGarbage({ ...options, dryRun: true })), now),
      );
    return files;
  };
  return new LazyDirectory(context, load);
}
