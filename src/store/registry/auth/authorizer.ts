/**
 * The `Authorization` header of one endpoint: learnt from its challenges, kept per scope until it expires.
 *
 * The first request goes out bare. Its 401 tells the scheme; from then on every request carries its header from the
 * beginning, and a new scope costs one token request but no further 401.
 */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { createLogger } from '../../../observe/log.js';
import type { CredentialSource, FoundCredential } from '../credential.js';
import type { Endpoint } from '../endpoint.js';
import { headerValues, type ResponseHeaders } from '../http/headers.js';
import { parseChallenges, type Challenge } from './challenge.js';
import { checkRealm, type RealmCheck } from './realm.js';
import { splitScopes } from './scope.js';
import type { Token } from './token.js';

const log = createLogger('store');

/** What a token is asked for. */
export interface TokenRequest {
  readonly realm: RealmCheck;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly credential: FoundCredential;
}

/** Sends the request to the token server: given by the client, which owns connections and retries. */
export type TokenFetcher = (request: TokenRequest) => Promise<Token>;

type Scheme =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic' }
  | { readonly kind: 'bearer'; readonly realm: RealmCheck; readonly service: string | undefined };

/** Tokens kept for one endpoint: a walk over thousands of repositories must not keep them all. */
const maxTokens = 256;

export interface AuthorizerDeps {
  readonly endpoint: Endpoint;
  readonly credentials: CredentialSource;
  readonly trustedHosts: readonly string[];
  readonly fetchToken: TokenFetcher;
}

export class Authorizer {
  readonly #deps: AuthorizerDeps;
  readonly #tokens = new Map<string, Promise<Token>>();
  #scheme: Scheme = { kind: 'none' };
  /** Basic headers by repository: a registry may have several credentials (`host/namespace`). */
  readonly #basic = new Map<string, string | undefined>();
  /** Refresh tokens that the server gave in exchange for ours, by the one they replace. */
  readonly #rotated = new Map<string, string>();
  /** Where the credential last used came from: for messages. */
  credentialOrigin: string | undefined;

  constructor(deps: AuthorizerDeps) {
    this.#deps = deps;
  }

  /** The header for a request, or undefined while the endpoint has asked for none. */
  async header(repository: string | undefined, scopes: readonly string[]): Promise<string | undefined> {
    switch (this.#scheme.kind) {
      case 'none':
        return undefined;
      case 'basic':
        return this.#basic.get(repository ?? '') ?? this.#keepBasic(repository);
      case 'bearer':
        return `Bearer ${(await this.#token(this.#scheme, repository, scopes)).value}`;
    }
  }

  /**
   * Learn from a 401 (or a 403 with `insufficient_scope`) and give the header for another try; undefined when nothing
   * is left to try.
   * @param sent the header that was refused
   * @param registryUrl the URL that answered, against which a relative realm is resolved
   */
  async renew(
    headers: ResponseHeaders,
    registryUrl: URL,
    sent: string | undefined,
    repository: string | undefined,
    scopes: readonly string[],
  ): Promise<string | undefined> {
    const challenges = parseChallenges(headerValues(headers, 'www-authenticate'));
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const basic = challenges.find(({ scheme }) => scheme === 'basic');
    if (bearer !== undefined) return this.#renewBearer(bearer, registryUrl, sent, repository, scopes);
    if (basic === undefined) return undefined;
    this.#scheme = { kind: 'basic' };
    const fresh = await this.#keepBasic(repository);
    return fresh === sent ? undefined : fresh;
  }

  async #renewBearer(
    challenge: Challenge,
    registryUrl: URL,
    sent: string | undefined,
    repository: string | undefined,
    scopes: readonly string[],
  ): Promise<string | undefined> {
    const realm = checkRealm(challenge.parameters.get('realm'), registryUrl, this.#deps.trustedHosts);
    const scheme = { kind: 'bearer', realm, service: challenge.parameters.get('service') } as const;
    this.#scheme = scheme;
    const asked = splitScopes(challenge.parameters.get('scope') ?? '');
    const insufficient = challenge.parameters.get('error')?.toLowerCase() === 'insufficient_scope';
    // The scopes we know are those of the request; the server's words count where it says that they do not do.
    const wanted = insufficient && asked.length > 0 ? [...new Set([...scopes, ...asked])] : scopes;
    const effective = wanted.length > 0 ? wanted : asked;
    await this.#forget(this.#key(scheme, effective), sent);
    const token = await this.#token(scheme, repository, effective);
    // Asked for the same again, the wider token is at hand and the 401 is not repeated.
    if (effective !== scopes) this.#tokens.set(this.#key(scheme, scopes), Promise.resolve(token));
    const fresh = `Bearer ${token.value}`;
    return fresh === sent ? undefined : fresh;
  }

  /** Drop a token that was refused, unless another request has replaced it already. */
  async #forget(key: string, sent: string | undefined): Promise<void> {
    const kept = this.#tokens.get(key);
    if (kept === undefined || sent === undefined) return;
    const token = await kept.catch(() => undefined);
    if (`Bearer ${token?.value}` === sent && this.#tokens.get(key) === kept) this.#tokens.delete(key);
  }

  async #keepBasic(repository: string | undefined): Promise<string | undefined> {
    const header = await this.#basicHeader(repository);
    this.#basic.set(repository ?? '', header);
    dropOldest(this.#basic);
    return header;
  }

  async #basicHeader(repository: string | undefined): Promise<string | undefined> {
    const { credential } = await this.#find(repository);
    switch (credential.kind) {
      case 'basic':
        return basicHeader(credential.username, credential.password);
      case 'identity-token':
        // What Docker does for registries that take the token as a password.
        return basicHeader('<token>', credential.token);
      case 'registry-token':
        return `Bearer ${credential.token}`;
      case 'anonymous':
        return undefined;
    }
  }

  async #token(
    scheme: Scheme & { kind: 'bearer' },
    repository: string | undefined,
    scopes: readonly string[],
  ): Promise<Token> {
    const key = this.#key(scheme, scopes);
    const kept = this.#tokens.get(key);
    if (kept !== undefined) {
      const token = await kept;
      if (token.expiresAt > Date.now()) return token;
      // Someone else may have put a new one there while we waited.
      if (this.#tokens.get(key) === kept) this.#tokens.delete(key);
    }
    return this.#tokens.get(key) ?? this.#fetch(key, scheme, repository, scopes);
  }

  #fetch(
    key: string,
    scheme: Scheme & { kind: 'bearer' },
    repository: string | undefined,
    scopes: readonly string[],
  ): Promise<Token> {
    const pending = this.#obtain(scheme, repository, scopes);
    this.#tokens.set(key, pending);
    dropOldest(this.#tokens);
    pending.catch(() => {
      if (this.#tokens.get(key) === pending) this.#tokens.delete(key);
    });
    return pending;
  }

  async #obtain(
    { realm, service }: Scheme & { kind: 'bearer' },
    repository: string | undefined,
    scopes: readonly string[],
  ): Promise<Token> {
    const found = await this.#find(repository);
    const { credential } = found;
    if (credential.kind === 'registry-token') return { value: credential.token, expiresAt: Infinity };
    if (credential.kind !== 'anonymous' && !realm.maySendSecrets) throw this.#strangerAsks(realm);
    const rotated = credential.kind === 'identity-token' ? this.#rotated.get(credential.token) : undefined;
    const current: FoundCredential =
      rotated === undefined ? found : { ...found, credential: { kind: 'identity-token', token: rotated } };
    const token = await this.#deps.fetchToken({ realm, service, scopes, credential: current });
    if (credential.kind === 'identity-token' && token.refreshToken !== undefined) {
      this.#rotated.set(credential.token, token.refreshToken);
    }
    return token;
  }

  #strangerAsks(realm: RealmCheck): ImgfsError {
    const { credentialHost } = this.#deps.endpoint;
    return new ImgfsError(
      'denied',
      `log in at ${credentialHost}: the registry wants its password sent to ${realm.url.host}, which is not known to belong to it`,
      {
        host: realm.url.host,
        hint: `if ${realm.url.host} is the token server of ${credentialHost}, name it as a trusted host; or log out to go on anonymously`,
      },
    );
  }

  async #find(repository: string | undefined): Promise<FoundCredential> {
    const found = await this.#deps.credentials.find(this.#deps.endpoint.credentialHost, repository);
    const origin = found.credential.kind === 'anonymous' ? undefined : found.origin;
    if (origin !== this.credentialOrigin) {
      log.debug('credential', { host: this.#deps.endpoint.credentialHost, origin: origin ?? 'none' });
    }
    this.credentialOrigin = origin;
    return found;
  }

  #key(scheme: Scheme & { kind: 'bearer' }, scopes: readonly string[]): string {
    return [scheme.realm.url.href, scheme.service ?? '', ...[...scopes].sort()].join(' ');
  }
}

function dropOldest(map: Map<string, unknown>): void {
  const oldest = map.keys().next();
  if (map.size > maxTokens && oldest.done !== true) map.delete(oldest.value);
}

/** RFC 7617 with UTF-8. */
export function basicHeader(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
