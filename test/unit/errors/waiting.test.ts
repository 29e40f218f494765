/** What an abort and an absence become. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { abortError, untilAborted } from '../../../src/errors/aborted.js';
import { ifMissing, isThere } from '../../../src/errors/if-missing.js';
import { ImgfsError, isImgfsError } from '../../../src/errors/imgfs-error.js';

const never = new Promise<never>(() => {});

test('an abort ends the wait, and only the wait', async () => {
  const controller = new AbortController();
  const waiting = untilAborted(never, controller.signal);
  controller.abort();
  await assert.rejects(waiting, (error) => isImgfsError(error, 'interrupted'));
  await assert.rejects(untilAborted(never, controller.signal), (error) => isImgfsError(error, 'interrupted'));
  assert.equal(await untilAborted(Promise.resolve(1), undefined), 1);
  const own = new ImgfsError('usage', 'own');
  await assert.rejects(
    untilAborted(never, controller.signal, () => own),
    (error) => error === own,
  );
});

test('a deadline is a timeout, and an error of ours stays what it is', () => {
  const timedOut = new DOMException('late', 'TimeoutError');
  assert.equal(abortError(AbortSignal.abort(timedOut)).code, 'timeout');
  const own = new ImgfsError('denied', 'own');
  assert.equal(abortError(AbortSignal.abort(own)), own);
});

test('only not-found is absence', async () => {
  const missing = new ImgfsError('not-found', 'gone');
  const outage = new ImgfsError('unavailable', 'down');
  assert.equal(await ifMissing(Promise.reject(missing), 7), 7);
  assert.equal(await isThere(Promise.reject(missing)), false);
  assert.equal(await isThere(Promise.resolve(undefined)), true);
  await assert.rejects(ifMissing(Promise.reject(outage), 7), (error) => error === outage);
  await assert.rejects(isThere(Promise.reject(outage)), (error) => error === outage);
});
