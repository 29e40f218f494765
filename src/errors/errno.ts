/** From an error to the number the kernel wants. The drivers call this; nothing else needs errno numbers. */
import { constants } from 'node:os';
import { codeFacts, exitCodes, type ErrnoName, type ExitCode } from './codes.js';
import { toImgfsError } from './imgfs-error.js';

/** Positive errno number of this platform for a symbolic name. */
export function errnoNumber(name: ErrnoName): number {
  return constants.errno[name];
}

/** Positive errno for any thrown value; unknown values are defects and read as EIO. */
export function errnoOf(error: unknown): number {
  return errnoNumber(codeFacts[toImgfsError(error).code].errno);
}

/** Exit code of the command line for any thrown value. */
export function exitCodeOf(error: unknown): ExitCode {
  return error === undefined ? exitCodes.ok : codeFacts[toImgfsError(error).code].exit;
}

/** Whether sending the same request again can help. */
export function isRetryable(error: unknown, idempotent: boolean): boolean {
  const { retry } = codeFacts[toImgfsError(error).code];
  return retry === 'always' || (retry === 'idempotent' && idempotent);
}
