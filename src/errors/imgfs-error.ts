/**
 * The one error class of imgfs.
 *
 * It is thrown where the cause is known, carries a code from the taxonomy, and is turned into an errno or an
 * exit code in one place only (`errno.ts`, `exit-code.ts`). Nothing between those two places translates it.
 */
import type { ErrorCode } from './codes.js';

/** What the failed operation was about. Every field is safe to print: redact before setting it. */
export interface ErrorContext {
  /** What was being done, as a verb phrase: `fetch blob`, `read index.json`. */
  readonly operation?: string;
  /** Method and URL of the request, credentials and query removed (`redactUrl`). */
  readonly request?: string;
  /** Host (and port) that answered, or should have. */
  readonly host?: string;
  /** HTTP status, when there was an answer. */
  readonly status?: number;
  /** Image reference or repository concerned. */
  readonly reference?: string;
  /** Digest concerned. */
  readonly digest?: string;
  /** Path concerned: in the tree or on disk. */
  readonly path?: string;
}

/** What an error carries besides its message. */
export interface ImgfsErrorOptions extends ErrorContext {
  readonly cause?: unknown;
  /** What the reader can do next: one imperative sentence. */
  readonly hint?: string;
  /** Server's wish from `Retry-After`, in milliseconds from now. */
  readonly retryAfterMs?: number;
}

/** An error with a code. `message` is `operation object: cause`, lower case, one line. */
export class ImgfsError extends Error {
  override readonly name = 'ImgfsError';
  readonly code: ErrorCode;
  readonly context: ErrorContext;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;
  /** When it was made, in milliseconds since the epoch: an error may be read later through an xattr. */
  readonly at: number = Date.now();

  constructor(code: ErrorCode, message: string, options: ImgfsErrorOptions = {}) {
    const { cause, hint, retryAfterMs, ...context } = options;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.context = context;
    this.hint = hint;
    this.retryAfterMs = retryAfterMs;
  }
}

/** True for an {@link ImgfsError} with that code (any code when none is given). */
export function isImgfsError(error: unknown, code?: ErrorCode): error is ImgfsError {
  return error instanceof ImgfsError && (code === undefined || error.code === code);
}

/** The error itself when it is ours, else an `internal` one around it. */
export function toImgfsError(error: unknown, operation?: string): ImgfsError {
  if (error instanceof ImgfsError) return error;
  const cause = error instanceof Error ? error : new Error(String(error));
  const code = cause.name === 'AbortError' ? 'interrupted' : 'internal';
  const where = operation === undefined ? '' : `${operation}: `;
  return new ImgfsError(code, `${where}${cause.message}`, {
    cause,
    ...(operation === undefined ? {} : { operation }),
  });
}

/**
 * Code, message, context, next step and causes as plain text: one fact per line, at most `maxCauses` causes.
 * This is what `user.imgfs.error` and the command line show.
 */
export function describeError(error: unknown, maxCauses = 5): string {
  const known = toImgfsError(error);
  const lines = [`${known.code}: ${known.message}`];
  for (const [key, value] of Object.entries(known.context)) {
    if (value !== undefined) lines.push(`${key}: ${String(value)}`);
  }
  let cause: unknown = known.cause;
  for (let depth = 0; depth < maxCauses && cause instanceof Error; depth += 1) {
    if (!known.message.includes(cause.message)) lines.push(`caused by: ${cause.message}`);
    cause = cause.cause;
  }
  if (known.hint !== undefined) lines.push(`next step: ${known.hint}`);
  return lines.map(escapeControl).join('\n');
}

/** Control characters made visible (`\x1b`), so that a hostile server cannot drive a terminal. */
export function escapeControl(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** A URL without user, password, query and fragment: signed URLs and tokens live there. */
export function redactUrl(url: string | URL): string {
  try {
    const parsed = new URL(url);
    parsed.username = '';
    parsed.password = '';
    parsed.hash = '';
    if (parsed.search !== '') parsed.search = '?…';
    return decodeURI(parsed.href.replace('?%E2%80%A6', '?…'));
  } catch {
    return '<unreadable url>';
  }
}
