/** From an entry of a credential file to the credential it holds, and back. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import type { Credential } from '../credential.js';
import type { AuthEntry } from './auth-document.js';

/**
 * The credential of an entry. A bearer token counts before a refresh token, and that before a password, as in the
 * Docker engine.
 * @throws ImgfsError `config` naming `origin` and the key when `auth` is damaged: trying without it would end in a
 *   401 that hides the reason.
 */
export function credentialOf(entry: AuthEntry, origin: string): Credential {
  if (entry.registryToken !== undefined) return { kind: 'registry-token', token: entry.registryToken };
  if (entry.identityToken !== undefined) return { kind: 'identity-token', token: entry.identityToken };
  if (entry.auth !== undefined) return decodeAuth(entry.auth, entry.key, origin);
  if (entry.username === undefined) return { kind: 'anonymous' };
  return { kind: 'basic', username: entry.username, password: entry.password ?? '' };
}

/** `auth`: base64 of `user:password`; trailing NULs of the password are padding of old Docker versions. */
function decodeAuth(auth: string, key: string, origin: string): Credential {
  const compact = auth.replaceAll(/\s/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(compact) || compact.replace(/=+$/, '').length % 4 === 1) {
    throw damaged(key, origin, '"auth" is not base64');
  }
  const text = Buffer.from(compact, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon <= 0) throw damaged(key, origin, '"auth" is not "user:password"');
  return {
    kind: 'basic',
    username: text.slice(0, colon),
    // oxlint-disable-next-line no-control-regex -- the padding is NUL bytes
    password: text.slice(colon + 1).replace(/\u0000+$/, ''),
  };
}

function damaged(key: string, origin: string, why: string): ImgfsError {
  return new ImgfsError('config', `cannot use ${origin}: entry ${JSON.stringify(key)}: ${why}`, {
    operation: 'read credentials',
    path: origin,
    hint: `log in to ${key} again`,
  });
}

/** What is written for a credential; undefined for anonymous. The fields are those of Docker's AuthConfig. */
export function entryFields(credential: Credential): Readonly<Record<string, string>> | undefined {
  switch (credential.kind) {
    case 'anonymous':
      return undefined;
    case 'basic':
      return {
        auth: Buffer.from(`${credential.username}:${credential.password}`, 'utf8').toString('base64'),
      };
    case 'identity-token':
      // The other tools expect a user name in `auth` even where only the token counts.
      return {
        auth: Buffer.from(`${tokenUser}:`, 'utf8').toString('base64'),
        identitytoken: credential.token,
      };
    case 'registry-token':
      return { registrytoken: credential.token };
  }
}

/** Azure's convention for a login that has only a refresh token. */
const tokenUser = '00000000-0000-0000-0000-000000000000';
