/**
 * What a reference that is being typed may become: from pins and names the cache remembers, and from the registry where
 * it answers at once. A shell waits for it at each TAB, so there is a deadline, and no failure is shown.
 */
import type { ContentCache } from '../content/content.js';
import { isRegistryHost, normalizeRegistry } from '../oci/reference.js';
import { transportNames } from '../store/location.js';
import { isRepositoryLister, isTagLister, type ImageStore } from '../store/store.js';

/** As long as one bears a TAB to take. */
const patienceMs = 1_500;
/** More names help nobody at a prompt. */
const maxNames = 200;

export interface CompletionSources {
  readonly content: ContentCache & { pins?(): Promise<readonly { readonly name: string }[]> };
  /** Opens the registry of a host; undefined without a network. */
  readonly registry: (host: string) => Promise<ImageStore>;
  /** Opens a local store: `oci:path`. */
  readonly local: (location: string) => Promise<ImageStore>;
  readonly patienceMs?: number;
}

/** Words that begin with `prefix`, sorted, each once. Never fails. */
export async function completeReference(
  prefix: string,
  sources: CompletionSources,
): Promise<readonly string[]> {
  const signal = AbortSignal.timeout(sources.patienceMs ?? patienceMs);
  const asked = await Promise.all([
    fromPins(sources).catch(() => []),
    fromStores(prefix, sources, signal).catch(() => []),
  ]);
  const words = [...fromTransports(prefix), ...asked.flat()].filter(
    (word) => word.startsWith(prefix) && word !== prefix,
  );
  return [...new Set(words)].sort().slice(0, maxNames);
}

async function fromPins({ content }: CompletionSources): Promise<readonly string[]> {
  return ((await content.pins?.()) ?? []).map(({ name }) => name);
}

function fromTransports(prefix: string): readonly string[] {
  if (prefix.includes(':') || prefix === '') return [];
  return transportNames.map((name) => (name === 'docker' ? 'docker://' : `${name}:`));
}

async function fromStores(
  prefix: string,
  sources: CompletionSources,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const local = /^((?:oci|oci-archive|docker-archive):[^:]+):/.exec(prefix);
  if (local?.[1] !== undefined) return localNames(local[1], sources, signal);
  const scheme = prefix.startsWith('docker://') ? 'docker://' : '';
  const text = prefix.slice(scheme.length);
  const slash = text.indexOf('/');
  if (slash < 0) {
    const hosts = (await sources.content.refs.stores()).map((id) => id.replace(/^docker:\/\//, ''));
    return hosts.filter(isRegistryHost).map((host) => `${scheme}${host}/`);
  }
  const host = text.slice(0, slash);
  if (!isRegistryHost(host)) return [];
  const rest = text.slice(slash + 1);
  const colon = rest.indexOf(':');
  const names =
    colon < 0
      ? repositories(host, rest, sources, signal)
      : tags(host, rest.slice(0, colon), rest.slice(colon + 1), sources, signal);
  const separator = colon < 0 ? '' : `${rest.slice(0, colon)}:`;
  return (await names).map((name) => `${scheme}${host}/${separator}${name}`);
}

const idOf = (host: string): string => `docker://${normalizeRegistry(host)}`;

async function repositories(
  host: string,
  prefix: string,
  { content, registry }: CompletionSources,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const known = [...(await content.refs.repositories(idOf(host)))];
  // With what is remembered there is no need to ask; a catalog may have a million names.
  if (known.some((name) => name.startsWith(prefix))) return known;
  const store = await registry(host);
  return isRepositoryLister(store) ? gather(store.repositories({ signal }), prefix) : [];
}

async function tags(
  host: string,
  repository: string,
  prefix: string,
  { content, registry }: CompletionSources,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const known = await content.refs.tags(idOf(host), repository);
  const store = await registry(host).catch(() => undefined);
  const listed =
    store !== undefined && isTagLister(store) ? await gather(store.tags(repository, { signal }), prefix) : [];
  return [...known, ...listed];
}

async function localNames(
  location: string,
  { local }: CompletionSources,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const store = await local(location);
  try {
    if (!isTagLister(store) || !isRepositoryLister(store)) return [];
    const names: string[] = [];
    for await (const repository of store.repositories({ signal })) {
      for await (const tag of store.tags(repository, { signal })) {
        names.push(`${location}:${repository === '' ? tag : `${repository}:${tag}`}`);
        if (names.length >= maxNames) return names;
      }
    }
    return names;
  } finally {
    await store.close();
  }
}

/** What came until the deadline or the bound; what fails ends it. */
async function gather(names: AsyncIterable<string>, prefix: string): Promise<readonly string[]> {
  const found: string[] = [];
  try {
    for await (const name of names) {
      if (name.startsWith(prefix)) found.push(name);
      if (found.length >= maxNames) break;
    }
  } catch {
    // A shell has no use for the reason.
  }
  return found;
}
