/** Credentials, and where they come from. Secrets never reach a log, an error or the virtual tree. */
import type { CallOptions } from '../store.js';

/** How to prove who we are. Secret. */
export type Credential =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** OAuth2 refresh token (`identitytoken`, or helper user `<token>`). */
  | { readonly kind: 'identity-token'; readonly token: string }
  /** Bearer token to send as it is (`registrytoken`). */
  | { readonly kind: 'registry-token'; readonly token: string };

/** A credential, and where it was found. */
export interface FoundCredential {
  readonly credential: Credential;
  /** File and key, or helper, that gave it: safe to print. */
  readonly origin: string;
}

/** Finds the credential for a host. */
export interface CredentialSource {
  /**
   * The most specific credential for `host/repository`; anonymous when there is none. Read anew on each call
   * (files are re-read when they change): a login while mounted takes effect at the next 401.
   * @throws ImgfsError `config` for an unreadable file or helper, naming it.
   */
  find(host: string, repository: string | undefined, options?: CallOptions): Promise<FoundCredential>;
}
