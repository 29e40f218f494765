/** Who may do what: basic and bearer, checked before any handler runs (RFC 7617, RFC 6750, distribution's token spec). */
import type { IssuedToken, RegistryContext } from './context.js';
import type { AuthOptions, BearerAuth } from './options.js';
import type { Route } from './paths.js';
import { errorReply, type Reply } from './reply.js';
import type { RegistryRequest } from './request.js';
import { formatScopes, neededScopes, type Scope } from './scopes.js';

/** Name and password of a Basic header. */
export function basicCredentials(header: string | undefined): { user: string; password: string } | undefined {
  const match = /^basic +([A-Za-z0-9+/=]+)$/i.exec(header ?? '');
  if (match === null) return undefined;
  const text = Buffer.from(match[1] ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** The user, when the password is right. */
export function checkedUser(
  users: Readonly<Record<string, string>>,
  header: string | undefined,
): string | undefined {
  const given = basicCredentials(header);
  return given !== undefined && Object.hasOwn(users, given.user) && users[given.user] === given.password
    ? given.user
    : undefined;
}

/** What bearer permits `user` to do. */
export function mayDo(
  auth: BearerAuth,
  user: string | undefined,
  repository: string,
  action: string,
): boolean {
  if (auth.allow !== undefined) return auth.allow(user, repository, action);
  return user !== undefined || (auth.anonymousPull === true && action === 'pull');
}

function unauthorized(challenge: string): Reply {
  return errorReply(401, 'UNAUTHORIZED', 'authentication required', { 'WWW-Authenticate': challenge });
}

function bearerChallenge(
  context: RegistryContext,
  auth: BearerAuth,
  scopes: readonly Scope[],
  error?: 'invalid_token' | 'insufficient_scope',
): Reply {
  const realm = auth.realm ?? `${context.origins.token}/token`;
  const parts = [`realm="${realm}"`, `service="${auth.service ?? 'fault-registry'}"`];
  if (scopes.length > 0) parts.push(`scope="${formatScopes(scopes)}"`);
  if (error !== undefined) parts.push(`error="${error}"`);
  return unauthorized(`Bearer ${parts.join(',')}`);
}

function covers(token: IssuedToken, scope: Scope): boolean {
  const granted = token.grants.get(scope.resource);
  return granted !== undefined && scope.actions.every((action) => granted.has(action) || granted.has('*'));
}

function checkBearer(
  context: RegistryContext,
  auth: BearerAuth,
  request: RegistryRequest,
  scopes: readonly Scope[],
): Reply | undefined {
  const match = /^bearer +(\S+)$/i.exec(request.headers['authorization'] ?? '');
  if (match === null) return bearerChallenge(context, auth, scopes);
  const token = context.tokens.get(match[1] ?? '');
  if (token === undefined || context.now() >= token.expiresAt) {
    return bearerChallenge(context, auth, scopes, 'invalid_token');
  }
  if (scopes.every((scope) => covers(token, scope))) return undefined;
  return bearerChallenge(context, auth, scopes, 'insufficient_scope');
}

/** The refusal, or undefined when the request may go on. */
export function refuse(context: RegistryContext, request: RegistryRequest, route: Route): Reply | undefined {
  const auth: AuthOptions = context.options.auth ?? { kind: 'none' };
  switch (auth.kind) {
    case 'none':
      return undefined;
    case 'basic':
      return checkedUser(auth.users, request.headers['authorization']) === undefined
        ? unauthorized('Basic realm="fault-registry"')
        : undefined;
    case 'bearer':
      return route.kind === 'token'
        ? undefined
        : checkBearer(context, auth, request, neededScopes(route, request));
  }
}
