/** How the fault registry is asked to behave. */
import type { SeededFaults } from './seeded.js';

export interface NoAuth {
  readonly kind: 'none';
}

export interface BasicAuth {
  readonly kind: 'basic';
  /** Password by user name. */
  readonly users: Readonly<Record<string, string>>;
}

export interface BearerAuth {
  readonly kind: 'bearer';
  /** Password by user name. */
  readonly users: Readonly<Record<string, string>>;
  /** Give `pull` to those who do not log in. Default false. */
  readonly anonymousPull?: boolean;
  /** `expires_in` of a token in seconds. Default 300. Time passes with `advanceClock`. */
  readonly lifetimeSeconds?: number;
  /** Where the token endpoint is: `same` origin (default), or a server of its own. */
  readonly tokenServer?: 'same' | 'separate';
  /** Realm put into the challenge instead of the true one: for hostile cases. */
  readonly realm?: string;
  readonly service?: string;
  /** Answer with a `refresh_token` when `offline_token=true` is asked, and to POST. Default true. */
  readonly refreshTokens?: boolean;
  /** Give only what this allows, of what a user asks for. Default: everything for users, nothing for others. */
  readonly allow?: (user: string | undefined, repository: string, action: string) => boolean;
  /** Name of the token field in the answer. Default: both. */
  readonly field?: 'token' | 'access_token';
}

export type AuthOptions = NoAuth | BasicAuth | BearerAuth;

export interface RedirectOptions {
  /** Default 307, as distribution does; S3-backed others send 302 or 303. */
  readonly status?: 301 | 302 | 303 | 307 | 308;
  /** Seconds until a signed URL is refused. Default 1200. Time passes with `advanceClock`. */
  readonly expirySeconds?: number;
  /** Redirect HEAD of blobs too (their URLs are signed for HEAD then). Default false. */
  readonly head?: boolean;
}

export interface FaultRegistryOptions {
  /** Serve https with a certificate from a test CA (`registry.ca`); `mutual` wants a client certificate of it too. */
  readonly tls?: boolean | 'mutual';
  /** With `tls`: which of the test certificates. Default `good`. */
  readonly certificate?: 'good' | 'expired' | 'wrongName' | 'untrusted';
  readonly auth?: AuthOptions;
  /** Send blob GETs to a second origin with signed, expiring URLs, which refuses `Authorization` as S3 does. */
  readonly redirectBlobs?: boolean | RedirectOptions;
  /**
   * `spec`: distribution-spec 1.1.1 to the letter. `docker-2.8`: the measured habits of docker-registry 2.8.2:
   * `n` ignored for tags, PATCH out of order accepted and appended, older upload locations 404, delete by tag 400,
   * manifests whose type is not accepted 404, the 416 that announces the blob's length, no referrers.
   */
  readonly dialect?: 'spec' | 'docker-2.8';
  /** The referrers API. Off: 404, so that clients use the fallback tag. Default: as the dialect. */
  readonly referrers?: boolean;
  /** Apply `artifactType` filters and say so. Default true. */
  readonly referrersFilter?: boolean;
  /** Default true. Off: 405 UNSUPPORTED. */
  readonly catalog?: boolean;
  /** Default true. Off: 405 UNSUPPORTED. */
  readonly deletes?: boolean;
  /** `PUT manifests/<digest>?tag=` (end-7b). Default false. */
  readonly tagParameter?: boolean;
  /** Longest page of tags, repositories and referrers; also the length when `n` is missing. Default: no limit. */
  readonly pageSize?: number;
  /** Send Link targets as absolute URLs. Default false. */
  readonly absoluteLinks?: boolean;
  /** Blob ranges. `ignored`: always 200 and the whole (ECR's and some proxies' habit). Default `single`. */
  readonly ranges?: 'single' | 'ignored';
  /** Send `Docker-Content-Digest`. Default true. */
  readonly digestHeader?: boolean;
  /** Sent as `OCI-Chunk-Min-Length` with a new upload, and enforced on all chunks but the last. */
  readonly chunkMinLength?: number;
  /** Mount blobs from other repositories. Default true. Off: 202 and a normal upload. */
  readonly mounts?: boolean;
  /** Single POST with digest (end-4b). Default true. Off: 202, as docker-registry 2.8.2. */
  readonly singlePost?: boolean;
  /** Faults drawn by seed for every request that no scripted fault takes. */
  readonly faults?: SeededFaults;
  /** Port to listen on. Default: any free one. */
  readonly port?: number;
}
