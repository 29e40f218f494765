import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError, ImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { Pacer, type Slot } from '../../../../../src/store/registry/http/pacer.js';
import {
  backoffMs,
  mayRetry,
  RetryBudget,
  withRetries,
} from '../../../../../src/store/registry/http/retry.js';
import { StallWatch } from '../../../../../src/store/registry/http/stall-watch.js';

const timeout = 10_000;
const tick = (ms = 5): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('interactive requests go first, prefetches leave room', { timeout }, async () => {
  const pacer = new Pacer({ concurrency: 3, prefetchConcurrency: 1 });
  const order: string[] = [];
  const slots: Slot[] = [];
  const ask = (name: string, priority: 'interactive' | 'prefetch'): void => {
    void pacer.acquire(priority, 5000).then((slot) => {
      order.push(name);
      slots.push(slot);
    });
  };
  ask('p1', 'prefetch');
  ask('p2', 'prefetch');
  ask('i1', 'interactive');
  ask('i2', 'interactive');
  ask('i3', 'interactive');
  await tick();
  assert.deepEqual(order, ['p1', 'i1', 'i2']);
  slots[1]?.release();
  slots[1]?.release();
  await tick();
  assert.deepEqual(order, ['p1', 'i1', 'i2', 'i3'], 'a slot is given back once');
  slots[2]?.release();
  await tick();
  assert.equal(order.length, 4, 'a second prefetch waits although there is room');
  slots[0]?.release();
  await tick();
  assert.equal(order.at(-1), 'p2');
});

test('a lent slot serves others, and is taken back without waiting', { timeout }, async () => {
  const pacer = new Pacer({ concurrency: 1, prefetchConcurrency: 1 });
  const first = await pacer.acquire('interactive', 1000);
  first.lend();
  const second = await pacer.acquire('interactive', 1000);
  first.takeBack();
  assert.equal(pacer.active, 2);
  first.release();
  second.release();
  assert.equal(pacer.active, 0);
});

test('waiting ends by signal and by time, and leaves nothing behind', { timeout }, async () => {
  const pacer = new Pacer({ concurrency: 1, prefetchConcurrency: 1 });
  const held = await pacer.acquire('interactive', 1000);
  await assert.rejects(pacer.acquire('interactive', 20), (error) => isImgfsError(error, 'timeout'));
  const abort = new AbortController();
  const waiting = pacer.acquire('interactive', 1000, abort.signal);
  abort.abort();
  await assert.rejects(waiting, (error) => isImgfsError(error, 'interrupted'));
  held.release();
  assert.equal(pacer.active, 0);
  (await pacer.acquire('interactive', 1000)).release();
});

test('a host that wants a pause gets it', { timeout }, async () => {
  const pacer = new Pacer({ concurrency: 1, prefetchConcurrency: 1 });
  pacer.defer(60);
  const startedAt = Date.now();
  (await pacer.acquire('interactive', 1000)).release();
  assert.ok(Date.now() - startedAt >= 55);
});

const limits = { retries: 3, backoffBaseMs: 1, backoffCapMs: 4 };

test('backoff grows, is capped, and scatters', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 9].map((attempt) => backoffMs(attempt, limits, () => 1)),
    [1, 2, 4, 4, 4],
  );
  assert.equal(
    backoffMs(2, limits, () => 0),
    2,
  );
});

test('what is tried again', () => {
  const error = (code: ConstructorParameters<typeof ImgfsError>[0], status?: number): ImgfsError =>
    new ImgfsError(code, 'x', status === undefined ? {} : { status });
  assert.equal(mayRetry(error('unavailable', 503), true), true);
  assert.equal(mayRetry(error('unavailable', 501), true), false);
  assert.equal(mayRetry(error('unavailable'), true), true);
  assert.equal(mayRetry(error('unavailable'), false), false);
  assert.equal(mayRetry(error('rate-limited', 429), false), true);
  for (const code of ['not-found', 'unauthorized', 'denied', 'integrity', 'interrupted'] as const) {
    assert.equal(mayRetry(error(code), true), false, code);
  }
});

test('the budget ends retries for everyone, and success fills it again', { timeout }, async () => {
  const budget = new RetryBudget(2);
  const options = { limits, budget, idempotent: true, deadlineAt: Date.now() + 5000 };
  let attempts = 0;
  const fail = async (): Promise<never> => {
    attempts += 1;
    throw new ImgfsError('unavailable', 'x');
  };
  await assert.rejects(withRetries(fail, options));
  assert.equal(attempts, 3);
  await assert.rejects(withRetries(fail, options));
  assert.equal(attempts, 4);
  for (let at = 0; at < 10; at += 1) await withRetries(async () => undefined, options);
  await assert.rejects(withRetries(fail, options));
  assert.equal(attempts, 6);
});

test('the stall watch: a drip ends, a pause does not, a burst counts', { timeout }, async () => {
  let stalled = 0;
  const watch = new StallWatch({ windowMs: 80, minBytesPerSecond: 1000 }, () => {
    stalled += 1;
  });
  watch.start();
  watch.add(40);
  await tick(40);
  watch.stop();
  await tick(200);
  assert.equal(stalled, 0, 'time held up by the consumer does not count');
  watch.start();
  const feeding = setInterval(() => watch.add(100), 10);
  await tick(200);
  assert.equal(stalled, 0);
  clearInterval(feeding);
  await tick(250);
  assert.equal(stalled, 1);
});
