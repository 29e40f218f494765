/**
 * The taxonomy: every way in which imgfs can fail, and for each code its errno, its exit code and whether
 * trying again can help. This table is the only place where the three meet.
 *
 * Choices that are arguable: EACCES rather than EIO for a login problem, EBUSY for a rate limit and ETIMEDOUT
 * for a deadline tell the user what to do; EIO for everything would hide it. ENOSYS is never used: the kernel
 * remembers it for the whole connection and stops asking, also for other stores.
 */

/** Symbolic errno names; `errno.ts` turns them into this platform's numbers. */
export type ErrnoName =
  | 'EACCES'
  | 'EBADF'
  | 'EBUSY'
  | 'EEXIST'
  | 'EFBIG'
  | 'EINTR'
  | 'EINVAL'
  | 'EIO'
  | 'EISDIR'
  | 'ELOOP'
  | 'ENAMETOOLONG'
  | 'ENODATA'
  | 'ENOENT'
  | 'ENOSPC'
  | 'ENOTDIR'
  | 'ENOTEMPTY'
  | 'EOPNOTSUPP'
  | 'EPERM'
  | 'ERANGE'
  | 'EROFS'
  | 'ESTALE'
  | 'ETIMEDOUT'
  | 'EXDEV';

/** Exit codes of the command line. Stable: scripts depend on them. */
export const exitCodes = {
  ok: 0,
  other: 1,
  usage: 2,
  notFound: 3,
  auth: 4,
  retryable: 5,
  integrity: 6,
  mountUnavailable: 7,
} as const;

/** The exit codes of the command, as numbers. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

interface CodeFacts {
  readonly errno: ErrnoName;
  readonly exit: ExitCode;
  /** `always`: safe to send the same request again. `idempotent`: only if it changes nothing. */
  readonly retry: 'never' | 'always' | 'idempotent';
  readonly meaning: string;
}

/** The table. Adding a code means adding a row here, nowhere else. */
export const codeFacts = {
  'not-found': {
    errno: 'ENOENT',
    exit: exitCodes.notFound,
    retry: 'never',
    meaning: 'the store said that this does not exist',
  },
  unauthorized: {
    errno: 'EACCES',
    exit: exitCodes.auth,
    retry: 'never',
    meaning: '401 after every credential was tried',
  },
  denied: {
    errno: 'EACCES',
    exit: exitCodes.auth,
    retry: 'never',
    meaning: '403, or a permission missing on this machine',
  },
  'rate-limited': {
    errno: 'EBUSY',
    exit: exitCodes.retryable,
    retry: 'always',
    meaning: '429 after the retry budget',
  },
  timeout: {
    errno: 'ETIMEDOUT',
    exit: exitCodes.retryable,
    retry: 'always',
    meaning: 'a deadline or minimum throughput was missed',
  },
  unavailable: {
    errno: 'EIO',
    exit: exitCodes.retryable,
    retry: 'idempotent',
    meaning: 'no connection, or 5xx',
  },
  offline: {
    errno: 'EIO',
    exit: exitCodes.retryable,
    retry: 'never',
    meaning: 'not in the cache, and the network is switched off',
  },
  protocol: {
    errno: 'EIO',
    exit: exitCodes.other,
    retry: 'idempotent',
    meaning: 'the server broke the protocol',
  },
  integrity: {
    errno: 'EIO',
    exit: exitCodes.integrity,
    retry: 'never',
    meaning: 'bytes do not match their digest or size',
  },
  'invalid-content': {
    errno: 'EIO',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'verified bytes that are malformed or refused',
  },
  'digest-mismatch': {
    errno: 'EINVAL',
    exit: exitCodes.integrity,
    retry: 'never',
    meaning: 'written content is not what its name says',
  },
  stale: {
    errno: 'ESTALE',
    exit: exitCodes.retryable,
    retry: 'never',
    meaning: 'the store changed under an open handle',
  },
  immutable: {
    errno: 'EPERM',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'content under a digest never changes',
  },
  forbidden: {
    errno: 'EPERM',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'needs an option that was not given at mount',
  },
  'read-only-store': {
    errno: 'EROFS',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'the store or the mount takes no writes',
  },
  unsupported: {
    errno: 'EOPNOTSUPP',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'the store or this build cannot do it',
  },
  'non-sequential-write': {
    errno: 'EINVAL',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'a write out of order where order matters',
  },
  'too-large': { errno: 'EFBIG', exit: exitCodes.other, retry: 'never', meaning: 'over a documented cap' },
  invalid: {
    errno: 'EINVAL',
    exit: exitCodes.usage,
    retry: 'never',
    meaning: 'an argument that cannot be meant',
  },
  'name-invalid': {
    errno: 'EINVAL',
    exit: exitCodes.usage,
    retry: 'never',
    meaning: 'not a legal name here',
  },
  'name-too-long': {
    errno: 'ENAMETOOLONG',
    exit: exitCodes.usage,
    retry: 'never',
    meaning: 'longer than the store or kernel allows',
  },
  exists: { errno: 'EEXIST', exit: exitCodes.other, retry: 'never', meaning: 'already there' },
  busy: {
    errno: 'EBUSY',
    exit: exitCodes.retryable,
    retry: 'never',
    meaning: 'in use by somebody else at the moment',
  },
  'not-empty': {
    errno: 'ENOTEMPTY',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'directory is not empty',
  },
  'is-dir': {
    errno: 'EISDIR',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'a directory where a file is needed',
  },
  'not-dir': {
    errno: 'ENOTDIR',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'a file where a directory is needed',
  },
  'cross-device': { errno: 'EXDEV', exit: exitCodes.other, retry: 'never', meaning: 'between two stores' },
  'link-loop': { errno: 'ELOOP', exit: exitCodes.other, retry: 'never', meaning: 'too many symbolic links' },
  'no-attribute': {
    errno: 'ENODATA',
    exit: exitCodes.notFound,
    retry: 'never',
    meaning: 'no such extended attribute',
  },
  'buffer-too-small': {
    errno: 'ERANGE',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'reply does not fit the caller',
  },
  'bad-handle': {
    errno: 'EBADF',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'released or wrong file handle',
  },
  interrupted: { errno: 'EINTR', exit: exitCodes.other, retry: 'never', meaning: 'the caller gave up' },
  'cache-full': {
    errno: 'ENOSPC',
    exit: exitCodes.other,
    retry: 'never',
    meaning: 'no room on the cache disk',
  },
  'mount-unavailable': {
    errno: 'EIO',
    exit: exitCodes.mountUnavailable,
    retry: 'never',
    meaning: 'FUSE or the mount point cannot be used',
  },
  config: {
    errno: 'EINVAL',
    exit: exitCodes.usage,
    retry: 'never',
    meaning: 'a configuration file that cannot be used',
  },
  usage: {
    errno: 'EINVAL',
    exit: exitCodes.usage,
    retry: 'never',
    meaning: 'wrong words on the command line',
  },
  internal: { errno: 'EIO', exit: exitCodes.other, retry: 'never', meaning: 'a defect of imgfs' },
} as const satisfies Record<string, CodeFacts>;

/** What went wrong, in one word: the key of the table of errors. */
export type ErrorCode = keyof typeof codeFacts;
