/** From the errors of node:fs to ours, for stores that live in files. */
import { ImgfsError, isImgfsError, type ImgfsErrorOptions } from '../errors/imgfs-error.js';
import type { ErrorCode } from '../errors/codes.js';

const codes: Readonly<Record<string, ErrorCode>> = {
  EACCES: 'denied',
  EPERM: 'denied',
  EROFS: 'read-only-store',
  ENOSPC: 'cache-full',
  EDQUOT: 'cache-full',
  ENOTDIR: 'not-dir',
  EISDIR: 'is-dir',
  ENAMETOOLONG: 'name-too-long',
  ELOOP: 'link-loop',
  ESTALE: 'stale',
};

const hints: Readonly<Record<string, string>> = {
  EACCES: 'check who owns the file and its permissions',
  EPERM: 'check who owns the file and its permissions',
  EROFS: 'the file system is mounted read-only: copy the images elsewhere to write',
  ENOSPC: 'make room on the disk of the store',
  EDQUOT: 'make room in the quota of the disk of the store',
  EMFILE: 'raise the limit of open files (ulimit -n)',
  ENFILE: 'raise the limit of open files (fs.file-max)',
};

/** The symbolic code of a node:fs error; undefined for every other value. */
export function fsErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * An ImgfsError for a failed file operation. ENOENT becomes `missing`, by default `unavailable`: a file that ought to
 * be there is an outage of the store, not an answer that something does not exist.
 */
export function fileError(
  error: unknown,
  operation: string,
  path: string,
  options: ImgfsErrorOptions & { readonly missing?: ErrorCode } = {},
): ImgfsError {
  if (isImgfsError(error)) return error;
  const { missing = 'unavailable', ...context } = options;
  const name = fsErrorCode(error);
  if (name === undefined) {
    const aborted = error instanceof Error && error.name === 'AbortError';
    return new ImgfsError(aborted ? 'interrupted' : 'internal', `${operation} ${path}: ${String(error)}`, {
      operation,
      path,
      ...context,
      cause: error,
    });
  }
  const code = name === 'ENOENT' ? missing : (codes[name] ?? 'unavailable');
  const hint = context.hint ?? hints[name];
  return new ImgfsError(code, `${operation} ${path}: ${describe(name, error)}`, {
    operation,
    path,
    ...context,
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}

function describe(name: string, error: unknown): string {
  if (name === 'ENOENT') return 'no such file';
  // `ENOSPC: no space left on device, write` → `no space left on device`
  const text = error instanceof Error ? error.message : '';
  return /^[A-Z0-9]+: ([^,]+)/.exec(text)?.[1] ?? name;
}
