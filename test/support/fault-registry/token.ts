/** The token endpoint: distribution's token spec (GET with Basic) and OAuth2 (POST with refresh token or password). */
import { randomBytes } from 'node:crypto';
import { checkedUser, mayDo } from './auth.js';
import type { RegistryContext } from './context.js';
import type { BearerAuth } from './options.js';
import { errorReply, jsonReply, type Reply } from './reply.js';
import { queryOf, type RegistryRequest } from './request.js';
import { parseScope } from './scopes.js';

const defaultLifetimeSeconds = 300;

type Grants = ReadonlyMap<string, ReadonlySet<string>>;

function granted(auth: BearerAuth, user: string | undefined, wanted: readonly string[]): Grants {
  const grants = new Map<string, Set<string>>();
  for (const scope of wanted.flatMap((text) => parseScope(text) ?? [])) {
    const name = scope.resource.slice(scope.resource.indexOf(':') + 1);
    const actions = scope.actions.filter((action) => mayDo(auth, user, name, action));
    const known = grants.get(scope.resource) ?? new Set<string>();
    for (const action of actions) known.add(action);
    grants.set(scope.resource, known);
  }
  return grants;
}

function issue(
  context: RegistryContext,
  auth: BearerAuth,
  user: string | undefined,
  wanted: readonly string[],
  withRefresh: boolean,
): Reply {
  const token = randomBytes(24).toString('base64url');
  const lifetime = auth.lifetimeSeconds ?? defaultLifetimeSeconds;
  const expiresAt = context.now() + lifetime * 1000;
  context.tokens.set(token, { user, grants: granted(auth, user, wanted), expiresAt });
  const answer: Record<string, unknown> = {
    expires_in: lifetime,
    issued_at: new Date(context.now()).toISOString(),
  };
  for (const field of auth.field === undefined ? ['token', 'access_token'] : [auth.field]) {
    answer[field] = token;
  }
  if (withRefresh && user !== undefined && auth.refreshTokens !== false) {
    const refresh = randomBytes(24).toString('base64url');
    context.refreshTokens.set(refresh, user);
    answer['refresh_token'] = refresh;
  }
  return jsonReply(200, answer);
}

function scopesOf(parameters: URLSearchParams): string[] {
  return parameters.getAll('scope').flatMap((value) => value.split(' ').filter((part) => part !== ''));
}

function denied(): Reply {
  return errorReply(401, 'UNAUTHORIZED', 'incorrect username or password');
}

async function oauth(context: RegistryContext, auth: BearerAuth, request: RegistryRequest): Promise<Reply> {
  const body = await request.body(1024 * 1024);
  const form = new URLSearchParams(Buffer.from(body ?? []).toString('utf8'));
  const wanted = scopesOf(form);
  if (form.get('grant_type') === 'refresh_token') {
    const user = context.refreshTokens.get(form.get('refresh_token') ?? '');
    return user === undefined ? denied() : issue(context, auth, user, wanted, false);
  }
  const user = form.get('username') ?? '';
  const right = Object.hasOwn(auth.users, user) && auth.users[user] === form.get('password');
  return right ? issue(context, auth, user, wanted, form.get('access_type') === 'offline') : denied();
}

export async function handleToken(context: RegistryContext, request: RegistryRequest): Promise<Reply> {
  const { auth } = context.options;
  if (auth?.kind !== 'bearer') return errorReply(404, 'UNKNOWN', 'page not found');
  if (request.method === 'POST') return oauth(context, auth, request);
  if (request.method !== 'GET') return errorReply(405, 'UNSUPPORTED', 'the operation is unsupported');
  const header = request.headers['authorization'];
  const user = checkedUser(auth.users, header);
  if (header !== undefined && user === undefined) return denied();
  return issue(context, auth, user, scopesOf(request.query), queryOf(request, 'offline_token') === 'true');
}
