/** From an HTTP status and the registry's own error body (distribution-spec "Error Codes") to an ImgfsError. */
import type { ErrorCode } from '../../../errors/codes.js';
import { escapeControl, ImgfsError } from '../../../errors/imgfs-error.js';
import type { Answer } from './exchange.js';
import { headerValue } from './headers.js';
import { readBeginning } from './read-body.js';
import { parseRetryAfter } from './retry-after.js';
import { caps } from '../options.js';

export interface SpecError {
  /** `MANIFEST_UNKNOWN` and so on; '' when the body is not of the specified form. */
  readonly code: string;
  readonly message: string;
}

/** An error page of 64 KiB is no message. */
const maxMessage = 300;
const errorBodyTimeoutMs = 5000;

function clip(text: string): string {
  const line = escapeControl(text.replace(/\s+/g, ' ').trim());
  return line.length > maxMessage ? `${line.slice(0, maxMessage)}…` : line;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** The first error of a body; bodies of other forms (Harbor, Artifactory, plain text) give their text. */
export function parseSpecError(body: Uint8Array): SpecError | undefined {
  const text = Buffer.from(body).toString('utf8').trim();
  if (text === '') return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    const errors = field(parsed, 'errors');
    const first: unknown = Array.isArray(errors) ? errors[0] : parsed;
    const code = field(first, 'code');
    const message =
      field(first, 'message') ?? field(first, 'details') ?? field(first, 'detail') ?? field(first, 'error');
    return {
      code: typeof code === 'string' && /^[A-Za-z_]{1,64}$/.test(code) ? code.toUpperCase() : '',
      message: clip(typeof message === 'string' ? message : ''),
    };
  } catch {
    return { code: '', message: text.startsWith('<') ? '' : clip(text) };
  }
}

/** Codes that say more than the status they come with. */
const byCode: Readonly<Record<string, ErrorCode>> = {
  TOOMANYREQUESTS: 'rate-limited',
  UNSUPPORTED: 'unsupported',
  NAME_INVALID: 'name-invalid',
  TAG_INVALID: 'name-invalid',
  DIGEST_INVALID: 'digest-mismatch',
  SIZE_INVALID: 'invalid',
  MANIFEST_INVALID: 'invalid',
  MANIFEST_UNVERIFIED: 'invalid',
  MANIFEST_BLOB_UNKNOWN: 'invalid',
};

function codeFor(status: number, specCode: string): ErrorCode {
  // Only the status says that something is not there; a manifest that names a missing blob is another matter.
  if (status === 404 && specCode !== 'MANIFEST_BLOB_UNKNOWN') return 'not-found';
  const special = Object.hasOwn(byCode, specCode) ? byCode[specCode] : undefined;
  if (special !== undefined && status >= 400 && status < 500 && status !== 401) return special;
  if (status === 401) return 'unauthorized';
  if (status === 403 || status === 451) return 'denied';
  if (status === 405) return 'unsupported';
  if (status === 413) return 'too-large';
  if (status === 429) return 'rate-limited';
  if (status === 408 || status === 499 || status === 504) return 'timeout';
  return status >= 500 ? 'unavailable' : 'protocol';
}

function hintFor(code: ErrorCode, host: string | undefined): string | undefined {
  if (code === 'unauthorized') return `log in with: imgfs login ${host ?? '<registry>'}`;
  if (code === 'denied') {
    return `check that your account may do this, or log in with: imgfs login ${host ?? '<registry>'}`;
  }
  if (code === 'rate-limited') return 'wait and try again; logging in raises the limit of most registries';
  if (code === 'unsupported')
    return 'check the address: this registry, or a proxy in front of it, does not do that';
  if (code === 'unavailable' || code === 'timeout') {
    return 'try again later; what is in the cache can be read meanwhile';
  }
  return undefined;
}

const specCodes = new WeakMap<Error, string>();

/** The registry's own code behind an error made here (`BLOB_UPLOAD_UNKNOWN`); '' when there was none. */
export function specCodeOf(error: unknown): string {
  return error instanceof Error ? (specCodes.get(error) ?? '') : '';
}

/** The error for an answer whose status is not one of those wanted. Reads (at most 64 KiB of) the body. */
export async function errorFromAnswer(answer: Answer, hint?: string): Promise<ImgfsError> {
  const body = await readBeginning(answer.body, caps.errorBytes, errorBodyTimeoutMs);
  const spec = parseSpecError(body);
  const code = codeFor(answer.status, spec?.code ?? '');
  const { operation = 'request', host } = answer.context;
  const said = [spec?.code, spec?.message].filter((part) => part !== undefined && part !== '').join(': ');
  const message = `${operation} from ${host}: status ${answer.status}${said === '' ? '' : ` (${said})`}`;
  const next = hint ?? hintFor(code, host);
  const retryAfterMs = parseRetryAfter(headerValue(answer.headers, 'retry-after'));
  const error = new ImgfsError(code, message, {
    ...answer.context,
    ...(next === undefined ? {} : { hint: next }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
  specCodes.set(error, spec?.code ?? '');
  return error;
}
