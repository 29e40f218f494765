/** The request to a token server (distribution's token and OAuth2 token specifications). */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { caps } from '../options.js';
import type { Answer, ExchangeRequest } from '../http/exchange.js';
import { headerValue } from '../http/headers.js';
import { readBody } from '../http/read-body.js';
import { isRedirect } from '../http/redirect.js';
import { errorFromAnswer } from '../http/spec-error.js';
import { basicHeader, type TokenRequest } from './authorizer.js';
import { parseToken, type Token } from './token.js';

export interface TokenTransport {
  readonly userAgent: string;
  readonly responseTimeoutMs: number;
  /** The name under which the user logged in, for messages. */
  readonly registryHost: string;
  /** One request, no redirects, to an address that is checked. */
  send(
    request: Pick<ExchangeRequest, 'method' | 'url' | 'headers' | 'context' | 'timeoutMs'> & {
      body?: Uint8Array;
    },
  ): Promise<Answer>;
}

/** A refresh token goes into the body of a POST, a password into Basic; nobody's: plain GET. */
function requestFor({ realm, service, scopes, credential: { credential } }: TokenRequest): {
  method: 'GET' | 'POST';
  url: URL;
  headers: Record<string, string>;
  body?: Uint8Array;
} {
  if (credential.kind === 'identity-token') {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'imgfs' });
    if (service !== undefined) form.set('service', service);
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    form.set('refresh_token', credential.token);
    return {
      method: 'POST',
      url: realm.url,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: Buffer.from(form.toString()),
    };
  }
  const url = new URL(realm.url);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (credential.kind !== 'basic') return { method: 'GET', url, headers: {} };
  url.searchParams.set('account', credential.username);
  return {
    method: 'GET',
    url,
    headers: { authorization: basicHeader(credential.username, credential.password) },
  };
}

async function refusal(answer: Answer, request: TokenRequest, registryHost: string): Promise<ImgfsError> {
  if (isRedirect(answer.status)) {
    answer.body.cancel();
    return new ImgfsError(
      'protocol',
      `log in at ${registryHost}: the token server redirects, which is refused`,
      {
        ...answer.context,
        hint: 'credentials are not carried to where a token server points: correct the realm of the registry',
      },
    );
  }
  const error = await errorFromAnswer(answer);
  if (answer.status >= 500 || answer.status === 429 || answer.status === 408) return error;
  const anonymous = request.credential.credential.kind === 'anonymous';
  const who = anonymous
    ? 'nobody is logged in'
    : `the credential from ${request.credential.origin} was refused`;
  // Whatever the status is, it is about who asks: a 404 of a token server must never become "no such image".
  return new ImgfsError(answer.status === 403 ? 'denied' : 'unauthorized', `${error.message}: ${who}`, {
    ...error.context,
    cause: error,
    hint: `log in with: imgfs login ${registryHost}`,
  });
}

/**
 * Ask for one token.
 * @throws ImgfsError `unauthorized`, `denied`, `protocol`, and what the connection throws.
 */
export async function fetchToken(request: TokenRequest, transport: TokenTransport): Promise<Token> {
  const { method, url, headers, body } = requestFor(request);
  const requestedAt = Date.now();
  const answer = await transport.send({
    method,
    url,
    headers: {
      'user-agent': transport.userAgent,
      accept: 'application/json',
      'accept-encoding': 'identity',
      ...headers,
    },
    context: { operation: 'log in' },
    timeoutMs: transport.responseTimeoutMs,
    ...(body === undefined ? {} : { body }),
  });
  if (answer.status !== 200) throw await refusal(answer, request, transport.registryHost);
  const bytes = await readBody(answer.body, caps.tokenBytes, transport.responseTimeoutMs, answer.context);
  return parseToken(bytes, requestedAt, headerValue(answer.headers, 'date'), transport.registryHost);
}
