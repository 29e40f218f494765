/** Reading bodies in tests. */
import assert from 'node:assert/strict';
import { isImgfsError } from '../../src/errors/imgfs-error.js';
import type { ErrorCode } from '../../src/errors/codes.js';
import type { Body, ByteRange } from '../../src/store/store.js';

/** All bytes of a body. */
export async function readBody(body: Body): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of body.chunks) parts.push(Uint8Array.from(chunk));
  return Buffer.concat(parts);
}

/** The bytes of `range`, out of a body that may hold more (a server may ignore the range). */
export async function readRange(body: Body, range: ByteRange): Promise<Buffer> {
  assert.ok(body.start <= range.start, `body starts at ${body.start}, behind ${range.start}`);
  const bytes = await readBody(body);
  return bytes.subarray(range.start - body.start, range.end - body.start);
}

/** Equal bytes; a difference is told by its place, not by two long dumps (which take seconds to make). */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what = 'bytes'): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const length = Math.min(actual.length, expected.length);
  let at = 0;
  while (at < length && actual[at] === expected[at]) at += 1;
  assert.fail(`${what} differ at offset ${at}: lengths ${actual.length} and ${expected.length}`);
}

/** Everything an async iterable yields, up to `limit` items. */
export async function collect<T>(items: AsyncIterable<T>, limit = 1_000_000): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) {
    all.push(item);
    if (all.length >= limit) break;
  }
  return all;
}

/** The action fails with an ImgfsError of one of these codes. */
export async function rejectsWith(action: Promise<unknown>, ...codes: ErrorCode[]): Promise<void> {
  await assert.rejects(action, (error: unknown) => {
    assert.ok(isImgfsError(error), `not an ImgfsError: ${String(error)}`);
    assert.ok(codes.includes(error.code), `${error.code} is none of ${codes.join(', ')}: ${error.message}`);
    return true;
  });
}
