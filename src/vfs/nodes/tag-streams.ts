/** Streams of names for listings: tags from the store, or what is remembered when it cannot be reached. */
import { isImgfsError } from '../../errors/imgfs-error.js';
import { isUnreachable } from '../../image/tag-resolver.js';
import { createLogger } from '../../observe/log.js';
import { isTagLister, type ImageStore } from '../../store/store.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { ListedChild, StreamStart } from '../node.js';
import type { TreeContext } from '../tree-context.js';

const log = createLogger('vfs');

/** Names of a stream as directories, without those that are listed already and without names no file can have. */
export async function* asDirectories(
  names: AsyncIterable<string>,
  without: ReadonlySet<string> = new Set(),
): AsyncGenerator<ListedChild, void> {
  let previous: string | undefined;
  for await (const text of names) {
    if (text === previous || without.has(text) || !isFileName(text)) continue;
    previous = text;
    yield { name: nameFromText(text), type: 'directory' };
  }
}

function isFileName(text: string): boolean {
  return (
    text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text) && nameFromText(text).length <= 255
  );
}

/**
 * Tags of a repository in the store's order.
 * @throws ImgfsError `not-found` when the store says that there is no such repository; any other when it gave no
 *   answer and nothing is remembered.
 */
export async function* tagNames(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  start: StreamStart,
): AsyncGenerator<string, void> {
  if (!isTagLister(store)) return;
  let yielded = false;
  try {
    const last = start.last === undefined ? {} : { last: nameToText(start.last) };
    for await (const tag of store.tags(repository, { ...last, signal: start.signal })) {
      if (!yielded) context.images.names.confirm(store, repository);
      yielded = true;
      yield tag;
    }
  } catch (error) {
    if (isImgfsError(error, 'not-found')) context.images.names.forget(store, repository);
    if (isImgfsError(error, 'unsupported')) return;
    if (yielded || !isUnreachable(error)) throw error;
    const remembered = await rememberedTags(context, store, repository, start.last);
    if (remembered.length === 0) throw error;
    log.info('listing the tags that are remembered', { store: store.id, repository, error: String(error) });
    yield* remembered;
  }
}

async function rememberedTags(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  last: Name | undefined,
): Promise<readonly string[]> {
  const known = [...(await context.content.refs.tags(store.id, repository))].sort();
  const after = last === undefined ? undefined : nameToText(last);
  return after === undefined ? known : known.filter((tag) => tag > after);
}
