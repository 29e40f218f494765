/** Tags (end-8a, end-8b) and the catalog. */
import { isOldDocker, type RegistryContext } from './context.js';
import { paginate } from './paginate.js';
import { errorReply, jsonReply, type Reply } from './reply.js';
import type { RegistryRequest } from './request.js';

/** Lists are in lexical order of UTF-16 code units: names are ASCII. */
function sorted(names: Iterable<string>): string[] {
  return [...names].sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
}

export function handleTags(context: RegistryContext, request: RegistryRequest, name: string): Reply {
  if (request.method !== 'GET') return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  const repository = context.content.repositories.get(name);
  if (repository === undefined) {
    return errorReply(404, 'NAME_UNKNOWN', 'repository name not known to registry', {}, { name });
  }
  const page = paginate(context, request, sorted(repository.tags.keys()), (tag) => tag, {
    ignoreLength: isOldDocker(context),
  });
  return jsonReply(200, { name, tags: page.items }, page.headers);
}

export function handleCatalog(context: RegistryContext, request: RegistryRequest): Reply {
  if (request.method !== 'GET' || context.options.catalog === false) {
    return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  }
  const names = sorted(context.content.repositories.keys());
  const page = paginate(context, request, names, (name) => name);
  return jsonReply(200, { repositories: page.items }, page.headers);
}
