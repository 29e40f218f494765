/** Tokens: the answer of a token server, checked, with the time until which it may be used. */
import { ImgfsError } from '../../../errors/imgfs-error.js';
import { parseUntrustedJson } from '../../../oci/json.js';
import { caps } from '../options.js';

export interface Token {
  readonly value: string;
  /** As `Date.now()`. */
  readonly expiresAt: number;
  /** A new refresh token, where the server rotates them. */
  readonly refreshToken?: string;
}

/** The token specification's default, and its least: shorter ones would be asked for at every request. */
const minLifetimeSeconds = 60;
/** A token is not used in its last moments: a tenth of its life, 30 s at most. */
const maxMarginMs = 30_000;
/** A header line of 32 KiB is what servers take at the very most. */
const maxTokenLength = 32 * 1024;

function usable(value: unknown): value is string {
  // Only what may stand in a header line: anything else would be an injection.
  return typeof value === 'string' && value.length <= maxTokenLength && /^[\x21-\x7e]+$/.test(value);
}

/** Age of a token by the server's own clock: ours may be wrong. */
function ageMs(issuedAt: unknown, dateHeader: string | undefined): number {
  const issued = typeof issuedAt === 'string' ? Date.parse(issuedAt) : Number.NaN;
  const served = dateHeader === undefined ? Number.NaN : Date.parse(dateHeader);
  return Number.isNaN(issued) || Number.isNaN(served) ? 0 : Math.max(served - issued, 0);
}

/**
 * Read a token answer (`token` or `access_token`, `expires_in`, `issued_at`, `refresh_token`).
 * @param requestedAt when the request was sent: the token is at least as old as the answer took.
 * @throws ImgfsError `protocol` when there is no usable token in it.
 */
export function parseToken(
  body: Uint8Array,
  requestedAt: number,
  dateHeader: string | undefined,
  host: string,
): Token {
  let parsed: unknown;
  try {
    parsed = parseUntrustedJson(body, { what: 'token', maxBytes: caps.tokenBytes });
  } catch {
    throw new ImgfsError('protocol', `log in at ${host}: the answer of the token server is not JSON`, {
      host,
    });
  }
  const fields = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>;
  const value = [fields['token'], fields['access_token']].find(usable);
  if (value === undefined) {
    throw new ImgfsError('protocol', `log in at ${host}: the token server gave no usable token`, { host });
  }
  const lifetime = fields['expires_in'];
  const seconds =
    typeof lifetime === 'number' && lifetime > minLifetimeSeconds ? lifetime : minLifetimeSeconds;
  const lifetimeMs = Math.min(seconds, 86_400) * 1000;
  const marginMs = Math.min(lifetimeMs / 10, maxMarginMs);
  const refreshToken = fields['refresh_token'];
  return {
    value,
    expiresAt: requestedAt + lifetimeMs - marginMs - ageMs(fields['issued_at'], dateHeader),
    ...(usable(refreshToken) ? { refreshToken } : {}),
  };
}
