/** What went wrong below HTTP, as an ImgfsError: DNS, TCP, TLS, proxies, undici's own errors. */
import { ImgfsError, isImgfsError, type ErrorContext } from '../../../errors/imgfs-error.js';
import type { ErrorCode } from '../../../errors/codes.js';

const plainHint =
  'a registry without TLS must be marked insecure (registries.conf), or use --tls-verify=false';

interface Known {
  readonly code: ErrorCode;
  readonly text: string;
  readonly hint?: string;
}

const certificateHint =
  'put the CA certificate of the registry into certs.d/<host>/ca.crt, or use --tls-verify=false if you must';
/** Codes for which another next step is right. */
const certificateHints: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED:
    'check the clock of this machine; if it is right, the registry must renew its certificate',
  CERT_NOT_YET_VALID: 'check the clock of this machine',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'use the name that the certificate is for, or have the registry issue one for this name',
};
const certificateCodes = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

const known: Readonly<Record<string, Known>> = {
  ENOTFOUND: {
    code: 'unavailable',
    text: 'the host name cannot be resolved',
    hint: 'check the spelling of the host, and the network',
  },
  EAI_AGAIN: {
    code: 'unavailable',
    text: 'the name server does not answer',
    hint: 'check the network and try again',
  },
  ECONNREFUSED: {
    code: 'unavailable',
    text: 'connection refused',
    hint: 'check that the registry runs and that the port is right',
  },
  ECONNRESET: {
    code: 'unavailable',
    text: 'connection reset',
    hint: `try again; ${plainHint}`,
  },
  EPIPE: { code: 'unavailable', text: 'connection closed while sending' },
  EHOSTUNREACH: { code: 'unavailable', text: 'no route to the host' },
  ENETUNREACH: { code: 'unavailable', text: 'no route to the network' },
  EMFILE: {
    code: 'unavailable',
    text: 'too many open files here',
    hint: 'raise the limit with ulimit -n',
  },
  ETIMEDOUT: { code: 'timeout', text: 'the connection timed out' },
  UND_ERR_CONNECT_TIMEOUT: { code: 'timeout', text: 'no connection within the limit' },
  UND_ERR_HEADERS_TIMEOUT: { code: 'timeout', text: 'no answer within the limit' },
  UND_ERR_BODY_TIMEOUT: { code: 'timeout', text: 'the answer stalled' },
  UND_ERR_HEADERS_OVERFLOW: { code: 'protocol', text: 'the response headers are too large' },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: {
    code: 'unavailable',
    text: 'the answer ended before its announced length',
  },
  UND_ERR_SOCKET: { code: 'unavailable', text: 'the server closed the connection' },
  UND_ERR_DESTROYED: { code: 'interrupted', text: 'the store was closed' },
  UND_ERR_CLOSED: { code: 'interrupted', text: 'the store was closed' },
};

/** The codes found on an error, its causes and the members of an AggregateError. */
function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (!(value instanceof Error) || depth > 4) return;
    if ('code' in value && typeof value.code === 'string') codes.push(value.code);
    visit(value.cause, depth + 1);
    if (value instanceof AggregateError)
      for (const inner of value.errors.slice(0, 8)) visit(inner, depth + 1);
  };
  visit(error, 0);
  return codes;
}

/** Where TLS met something that is not TLS: reason to try http where that is allowed, and only there. */
export function isNotTls(error: unknown): boolean {
  return codesOf(error).some(
    (code) =>
      code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
      code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' ||
      code === 'ERR_SSL_HTTP_REQUEST' ||
      code === 'EPROTO' ||
      code === 'ECONNREFUSED' ||
      code === 'ECONNRESET' ||
      code === 'UND_ERR_SOCKET',
  );
}

/**
 * The peer did not like our certificate, or the want of one: reason to try the next pair. In TLS 1.3 it may just hang
 * up, after our side of the handshake is done.
 */
export function isClientCertificateRefused(error: unknown): boolean {
  const codes = codesOf(error);
  if (codes.includes('UND_ERR_SOCKET') || codes.includes('ECONNRESET')) return true;
  return codes.some((code) =>
    /^ERR_SSL_(?:TLSV1[0-9]*_ALERT|SSLV3_ALERT)_(?:CERTIFICATE_REQUIRED|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|UNSUPPORTED_CERTIFICATE)$/.test(
      code,
    ),
  );
}

/** Trying the same again cannot help: the other side's certificate will not change in a second. */
export function isPermanent(error: unknown): boolean {
  return codesOf(error).some((code) => certificateCodes.has(code) || code === 'ENOTFOUND');
}

function describe(error: Error, codes: readonly string[]): Known {
  const certificate = codes.find((code) => certificateCodes.has(code));
  if (certificate !== undefined) {
    const text = `the certificate is not trusted (${certificate}: ${error.message})`;
    const hint = Object.hasOwn(certificateHints, certificate) ? certificateHints[certificate] : undefined;
    return { code: 'unavailable', text, hint: hint ?? certificateHint };
  }
  if (codes.some((code) => code.startsWith('HPE_')) || error.name === 'HTTPParserError') {
    const hint = 'check the port: something else than a registry answers there';
    return { code: 'protocol', text: `not an HTTP answer (${error.message})`, hint };
  }
  if (error.message.startsWith('Proxy response')) {
    return {
      code: 'unavailable',
      text: `the proxy refused the connection (${error.message})`,
      hint: 'check HTTPS_PROXY and NO_PROXY',
    };
  }
  for (const code of codes) {
    const entry = Object.hasOwn(known, code) ? known[code] : undefined;
    if (entry !== undefined) return entry;
  }
  if (codes.some((code) => code.startsWith('ERR_SSL') || code === 'EPROTO')) {
    return {
      code: 'unavailable',
      text: `TLS failed (${error.message})`,
      hint: plainHint,
    };
  }
  return { code: 'unavailable', text: error.message === '' ? 'connection failed' : error.message };
}

/** Put a name to whatever undici or the socket threw. Our own errors stay as they are. */
export function connectionError(error: unknown, context: ErrorContext): ImgfsError {
  const cause = error instanceof Error ? error : new Error(String(error));
  if (isImgfsError(cause)) return cause;
  if (isImgfsError(cause.cause)) return cause.cause;
  const { code, text, hint } = describe(cause, codesOf(cause));
  const message = `${context.operation ?? 'request'} from ${context.host ?? 'registry'}: ${text}`;
  return new ImgfsError(code, message, { ...context, cause, ...(hint === undefined ? {} : { hint }) });
}
