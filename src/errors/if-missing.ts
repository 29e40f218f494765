/** Where absence is an answer: `not-found` becomes a value, every other failure stays one. */
import { isImgfsError } from './imgfs-error.js';

/**
 * What the promise resolves to, or `missing` when the store says that it is not there.
 * @throws what the promise rejects with, but for `not-found`: an outage is never taken for absence.
 */
export async function ifMissing<Value, Missing>(
  promise: Promise<Value>,
  missing: Missing,
): Promise<Value | Missing> {
  try {
    return await promise;
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return missing;
    throw error;
  }
}

/** True when the promise resolves, false when the store says that it is not there. @throws as {@link ifMissing}. */
export function isThere(promise: Promise<unknown>): Promise<boolean> {
  return ifMissing(
    promise.then(() => true),
    false,
  );
}
