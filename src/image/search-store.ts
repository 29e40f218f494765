/** Searching any store: by its own search where it has one, else through the names it lists. */
import { ImgfsError } from '../errors/imgfs-error.js';
import {
  isRepositoryLister,
  isSearcher,
  type ImageStore,
  type SearchHit,
  type SearchOptions,
} from '../store/store.js';

/** As many hits as Docker Hub gives on a page. */
const defaultLimit = 25;

/** @throws ImgfsError `unsupported` where there is neither a search nor a list; `invalid` for an empty term. */
export async function* searchStore(
  store: ImageStore,
  term: string,
  options: SearchOptions = {},
): AsyncGenerator<SearchHit, void> {
  if (isSearcher(store)) return yield* store.search(term, options);
  if (!isRepositoryLister(store))
    throw new ImgfsError('unsupported', `${store.id} does not list repositories`);
  const { limit = defaultLimit, ...list } = options;
  const wanted = term.trim().toLowerCase();
  if (wanted === '') throw new ImgfsError('invalid', `search ${store.id}: the term is empty`);
  let hits = 0;
  for await (const name of store.repositories(list)) {
    if (hits >= limit) return;
    if (!name.includes(wanted)) continue;
    hits += 1;
    yield { name };
  }
}
