import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContentRange, parseUploadRange } from '../../../../../src/store/registry/http/content-range.js';
import { nextLink } from '../../../../../src/store/registry/http/link.js';
import { parseRetryAfter } from '../../../../../src/store/registry/http/retry-after.js';
import { parseSpecError } from '../../../../../src/store/registry/http/spec-error.js';

test('Retry-After in seconds and as a date', () => {
  const now = Date.parse('2030-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('120', now), 120_000);
  assert.equal(parseRetryAfter(' 0 ', now), 0);
  assert.equal(parseRetryAfter('Tue, 01 Jan 2030 00:00:30 GMT', now), 30_000);
  assert.equal(parseRetryAfter('Tuesday, 01-Jan-30 00:00:30 GMT', now), 30_000);
  assert.equal(parseRetryAfter('Mon, 31 Dec 2029 23:59:00 GMT', now), 0);
  assert.equal(parseRetryAfter('999999999', now), 86_400_000);
  for (const value of [undefined, '', '-3', '1.5', 'soon', '12345678901', '1e3'])
    assert.equal(parseRetryAfter(value, now), undefined);
});

test('Content-Range', () => {
  assert.deepEqual(parseContentRange('bytes 0-9/100'), { start: 0, end: 10, totalSize: 100 });
  assert.deepEqual(parseContentRange('bytes 5-9/*'), { start: 5, end: 10, totalSize: undefined });
  assert.deepEqual(parseContentRange('bytes */100'), { start: undefined, end: undefined, totalSize: 100 });
  for (const value of [
    undefined,
    '',
    'bytes',
    'bytes 9-5/100',
    'bytes 0-100/100',
    'bytes */*',
    'bytes -5/10',
    'items 0-1/2',
  ]) {
    assert.equal(parseContentRange(value), undefined, String(value));
  }
});

test('Range of an upload', () => {
  assert.equal(parseUploadRange('0-0'), 1);
  assert.equal(parseUploadRange('0-1023'), 1024);
  assert.equal(parseUploadRange('bytes=0-1023'), 1024);
  for (const value of [undefined, '', '5-9', '0-', '0-x']) assert.equal(parseUploadRange(value), undefined);
});

test('Link', () => {
  assert.equal(nextLink(['</v2/_catalog?last=b&n=2>; rel="next"']), '/v2/_catalog?last=b&n=2');
  assert.equal(nextLink(['<a>; rel="prev", <b?x=1,2>; rel=next']), 'b?x=1,2');
  assert.equal(nextLink(['<a>; title="x"; rel="last next"']), 'a');
  assert.equal(nextLink(['<a>; rel="prev"', '<b>;rel=NEXT']), 'b');
  for (const values of [[], [''], ['<a>'], ['<a>; rel="nextish"'], ['a; rel="next"']])
    assert.equal(nextLink(values), undefined);
  const startedAt = Date.now();
  nextLink(['<'.repeat(30_000), `<a>${'; rel='.repeat(5000)}`, `<a>; rel="${'x '.repeat(15_000)}`]);
  assert.ok(Date.now() - startedAt < 1000);
});

test('error bodies of every kind', () => {
  const parse = (text: string): unknown => parseSpecError(Buffer.from(text));
  assert.deepEqual(parse('{"errors":[{"code":"NAME_UNKNOWN","message":"no\\nsuch"}]}'), {
    code: 'NAME_UNKNOWN',
    message: 'no such',
  });
  assert.deepEqual(parse('{"details":"incorrect username or password"}'), {
    code: '',
    message: 'incorrect username or password',
  });
  assert.deepEqual(parse('404 page not found\n'), { code: '', message: '404 page not found' });
  assert.deepEqual(parse('<html>'), { code: '', message: '' });
  assert.deepEqual(parse('{"errors":[]}'), { code: '', message: '' });
  assert.deepEqual(parse('{"errors":[{"code":"A\\u001b[2J","message":7}]}'), { code: '', message: '' });
  assert.equal(parse(''), undefined);
});
