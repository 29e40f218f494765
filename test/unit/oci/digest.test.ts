import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../src/errors/imgfs-error.js';
import {
  createDigester,
  digestAlgorithm,
  digestHex,
  digestOf,
  isDigest,
  parseDigest,
} from '../../../src/oci/digest.js';

// Published vectors: FIPS 180-4 "abc" and the BLAKE3 test vectors (empty input).
const abc = Buffer.from('abc');

describe('digestOf', () => {
  it('agrees with published vectors', () => {
    assert.equal(digestOf(abc), 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    assert.equal(
      digestOf(abc, 'sha512'),
      'sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    );
    assert.equal(
      digestOf(new Uint8Array(), 'blake3'),
      'blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    );
  });

  it('does not depend on how the bytes are cut', () => {
    const algorithm = fc.constantFrom('sha256', 'sha512', 'blake3');
    fc.assert(
      fc.property(algorithm, fc.array(fc.uint8Array({ maxLength: 200 })), (name, chunks) => {
        const digester = createDigester(name);
        for (const chunk of chunks) digester.update(chunk);
        const whole = digestOf(Buffer.concat(chunks), name);
        assert.equal(digester.digest(), whole);
        assert.ok(isDigest(whole));
        assert.equal(`${digestAlgorithm(whole)}:${digestHex(whole)}`, whole);
      }),
    );
  });
});

describe('isDigest', () => {
  const hex = 'a'.repeat(64);
  const wrong: readonly unknown[] = [
    '',
    ':',
    hex,
    `sha256:${hex}a`,
    `sha256:${hex.slice(1)}`,
    `sha256:${hex.slice(1)}A`,
    `sha256:${hex.slice(1)}g`,
    `sha256:${hex.slice(1)}\n`,
    `SHA256:${hex}`,
    `sha512:${hex}`,
    `md5:${'a'.repeat(32)}`,
    `sha384:${'a'.repeat(96)}`,
    `__proto__:${hex}`,
    `constructor:${hex}`,
    `sha256:../../${'a'.repeat(58)}`,
    ` sha256:${hex}`,
    undefined,
    null,
    42,
    { toString: () => `sha256:${hex}` },
  ];
  for (const text of wrong) {
    it(`refuses ${JSON.stringify(text) ?? 'undefined'}`, () => assert.equal(isDigest(text), false));
  }
  it('gives a clear error through parseDigest', () => {
    assert.throws(
      () => parseDigest('latest'),
      (error) => isImgfsError(error, 'invalid') && error.hint?.includes('sha256:') === true,
    );
  });
});
