import { ImgfsError, isImgfsError, type ErrorContext } from './imgfs-error.js';

/**
 * The same failure with more said about it: what it was about, where that is not known yet, and a next step in place of a
 * general one. What is no error of ours stays as it is.
 */
export function explained(error: unknown, { hint, ...context }: ErrorContext & { hint?: string }): unknown {
  if (!isImgfsError(error)) return error;
  const next = hint ?? error.hint;
  return new ImgfsError(error.code, error.message, {
    ...context,
    ...error.context,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
    ...(next === undefined ? {} : { hint: next }),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}
