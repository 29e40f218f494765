/** What a request needs (distribution's `appendAccessRecords`) and how scopes are written. */
import type { Route } from './paths.js';
import { queryOf, type RegistryRequest } from './request.js';

export interface Scope {
  /** `repository:library/alpine` or `registry:catalog`. */
  readonly resource: string;
  readonly actions: readonly string[];
}

/** Parse `repository:name:pull,push`; the name may hold colons (a host with port). */
export function parseScope(text: string): Scope | undefined {
  const first = text.indexOf(':');
  const last = text.lastIndexOf(':');
  if (first < 0 || last <= first) return undefined;
  return { resource: text.slice(0, last), actions: text.slice(last + 1).split(',') };
}

export function formatScopes(scopes: readonly Scope[]): string {
  return scopes.map(({ resource, actions }) => `${resource}:${actions.join(',')}`).join(' ');
}

function actionsFor(method: string): readonly string[] {
  if (method === 'GET' || method === 'HEAD') return ['pull'];
  return method === 'DELETE' ? ['delete'] : ['pull', 'push'];
}

/** Scopes without which the request is refused; none for `/v2/`, which any token opens. */
export function neededScopes(route: Route, request: RegistryRequest): readonly Scope[] {
  if (route.kind === 'catalog') return [{ resource: 'registry:catalog', actions: ['*'] }];
  if (!('repository' in route)) return [];
  // Cancelling an upload and asking how far it is are part of pushing.
  const actions = route.kind === 'upload' ? ['pull', 'push'] : actionsFor(request.method);
  const own = { resource: `repository:${route.repository}`, actions };
  const from = route.kind === 'uploads' ? queryOf(request, 'from') : undefined;
  return from === undefined ? [own] : [own, { resource: `repository:${from}`, actions: ['pull'] }];
}
