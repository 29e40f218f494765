/** Names directly below a name, out of a registry's catalog: streamed, so that a large catalog is never held. */
import { isImgfsError } from '../errors/imgfs-error.js';
import { isRepositoryLister, type CallOptions, type ImageStore } from '../store/store.js';
import { isRefusal } from './repository-probe.js';

/**
 * Names passed over before the first match: what a server sends that ignores `last`. Twenty pages of 1,000; a
 * longer catalog that cannot be entered in the middle is not worth a listing.
 */
const maxSkipped = 20_000;

/** Components remembered to list each once; 10 MB. Behind that only neighbours are compared. */
const maxDistinct = 100_000;

/**
 * Each component directly below `parent` once, in the catalog's order; `learn` is told every full name seen.
 * A registry that has no catalog, or none for us, has no children to tell: the stream ends.
 * @throws ImgfsError when the store gave no answer.
 */
export async function* catalogChildren(
  store: ImageStore,
  parent: string,
  options: CallOptions & { readonly learn?: (repository: string) => void } = {},
): AsyncGenerator<string, void> {
  if (!isRepositoryLister(store)) return;
  const prefix = parent === '' ? '' : `${parent}/`;
  const seen = new Set<string>();
  let skipped = 0;
  let previous = '';
  try {
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    for await (const name of store.repositories({ ...signal, ...(prefix === '' ? {} : { last: prefix }) })) {
      if (!name.startsWith(prefix) || name === prefix) {
        skipped += 1;
        if (previous !== '' || skipped > maxSkipped) return;
        continue;
      }
      options.learn?.(name);
      const component = name.slice(prefix.length).split('/', 1)[0] ?? '';
      if (component === '' || component === previous || seen.has(component)) continue;
      previous = component;
      if (seen.size < maxDistinct) seen.add(component);
      yield component;
    }
  } catch (error) {
    if (!isImgfsError(error, 'not-found') && !isRefusal(error)) throw error;
  }
}
