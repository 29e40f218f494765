/** Pages of a list by `n` and `last`, with the Link header of RFC 8288 (distribution-spec, "Listing Tags"). */
import type { RegistryContext } from './context.js';
import type { Headers } from './reply.js';
import { queryOf, type RegistryRequest } from './request.js';

export interface Page<T> {
  readonly items: readonly T[];
  readonly headers: Headers;
}

export interface PaginateOptions {
  /** docker-registry 2.8.2 sends all tags whatever `n` says. */
  readonly ignoreLength?: boolean;
}

/** `items` must be in the order of the list; `keyOf` gives what `last` compares with. */
export function paginate<T>(
  context: RegistryContext,
  request: RegistryRequest,
  items: readonly T[],
  keyOf: (item: T) => string,
  options: PaginateOptions = {},
): Page<T> {
  if (options.ignoreLength === true) return { items, headers: {} };
  const last = queryOf(request, 'last');
  const start = last === undefined ? 0 : startBehind(items, keyOf, last);
  const wanted = queryOf(request, 'n');
  const length = Math.min(
    wanted === undefined || !/^\d+$/.test(wanted) ? Infinity : Number(wanted),
    context.options.pageSize ?? Infinity,
  );
  const page = items.slice(start, start + length);
  const final = page.at(-1);
  if (final === undefined || start + length >= items.length) return { items: page, headers: {} };
  const query = new URLSearchParams(request.query);
  query.set('last', keyOf(final));
  query.set('n', String(length));
  const base = context.options.absoluteLinks === true ? request.origin : '';
  return { items: page, headers: { Link: `<${base}${request.path}?${query.toString()}>; rel="next"` } };
}

/** Index of the first item behind `last`: by position when it is in the list, else by order. */
function startBehind<T>(items: readonly T[], keyOf: (item: T) => string, last: string): number {
  const exact = items.findIndex((item) => keyOf(item) === last);
  if (exact >= 0) return exact + 1;
  const next = items.findIndex((item) => keyOf(item) > last);
  return next < 0 ? items.length : next;
}
