import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readBufferBytes, ReadBuffers } from '../../../../../src/store/registry/http/read-buffers.js';

function filledBuffer(buffers: ReadBuffers): Uint8Array {
  const buffer = buffers.take();
  buffers.filled(buffer, readBufferBytes);
  buffers.seal(buffer);
  return buffer;
}

test('a buffer is used again when all that was read into it came back', () => {
  const buffers = new ReadBuffers();
  const first = filledBuffer(buffers);
  buffers.release(first.subarray(0, 1000));
  assert.notEqual(buffers.take().buffer, first.buffer);
  buffers.release(first.subarray(1000));
  assert.equal(buffers.take().buffer, first.buffer);
});

test('a buffer that is still read into is not used again', () => {
  const buffers = new ReadBuffers();
  const first = buffers.take();
  buffers.filled(first, 1000);
  buffers.release(first.subarray(0, 1000));
  assert.notEqual(buffers.take().buffer, first.buffer);
  buffers.seal(first);
  assert.equal(buffers.take().buffer, first.buffer);
});

test('what was only partly given back (headers, frames of chunks, a kept piece) is left alone', () => {
  const buffers = new ReadBuffers();
  const first = filledBuffer(buffers);
  buffers.release(first.subarray(200));
  assert.notEqual(buffers.take().buffer, first.buffer);
});

test('memory of others is left alone, and what nobody uses is bounded', () => {
  const buffers = new ReadBuffers();
  const foreign = new Uint8Array(readBufferBytes);
  buffers.release(foreign);
  assert.notEqual(buffers.take().buffer, foreign.buffer);
  const many = Array.from({ length: 100 }, () => filledBuffer(buffers));
  for (const buffer of many) buffers.release(buffer);
  const known = new Set(many.map(({ buffer }) => buffer));
  const again = Array.from({ length: 100 }, () => buffers.take());
  assert.equal(again.filter(({ buffer }) => known.has(buffer)).length, (8 << 20) / readBufferBytes);
});
