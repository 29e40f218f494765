/** Whatever stands in a file: the answer is a value or a `config` error on one line, soon. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { parseAuthDocument } from '../../../../../src/store/registry/config/auth-document.js';
import { credentialOf } from '../../../../../src/store/registry/config/auth-entry.js';
import { normalizeKey } from '../../../../../src/store/registry/config/auth-key.js';
import { parseHostsToml } from '../../../../../src/store/registry/config/hosts-toml.js';
import { parseCertificates } from '../../../../../src/store/registry/config/pem.js';
import { parseRegistriesConf } from '../../../../../src/store/registry/config/registries-conf.js';

const timeout = 20_000;

function holds(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    assert.ok(isImgfsError(error, 'config'), String(error));
    assert.doesNotMatch(error.message, /\n/);
    assert.ok(error.message.length < 2_000);
  }
}

/** Keys and values that mean something, and some that mean trouble, in any arrangement. */
const words =
  'auths credHelpers credsStore auth identitytoken a.io https://a.io/v1/ __proto__ constructor registry mirror ' +
  'location prefix *.a.io insecure aliases x host server https://m.io ca client header capabilities dial_timeout ' +
  'YTpi pull';
const word = fc.constantFrom('', ...words.split(' '));
const { value: json } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    word,
    fc.constantFrom(null, true, 5, ''),
    fc.dictionary(word, tie('value'), { maxKeys: 4 }),
    fc.array(tie('value'), { maxLength: 3 }),
  ),
}));
const line = fc.oneof(
  fc.tuple(word, json).map(([key, value]) => `${JSON.stringify(key)} = ${JSON.stringify(value) ?? '1'}`),
  fc.constantFrom(
    '[[registry]]',
    '[[registry.mirror]]',
    '[aliases]',
    '[host."https://m.io"]',
    '[header]',
    '[a',
    '"',
  ),
);
const toml = fc.array(line, { maxLength: 8 }).map((lines) => lines.join('\n').replaceAll('":', '" ='));

test('credential files', { timeout }, () => {
  const text = fc.oneof(
    json.map((value) => JSON.stringify(value) ?? ''),
    fc.string(),
  );
  fc.assert(
    fc.property(text, fc.constantFrom('docker' as const, 'legacy' as const), (content, format) => {
      holds(() => {
        const { auths } = parseAuthDocument(content, '/f', format);
        for (const entry of auths.values()) holds(() => credentialOf(entry, '/f'));
      });
    }),
    { numRuns: 2_000 },
  );
});

test('registries.conf and hosts.toml', { timeout }, () => {
  fc.assert(
    fc.property(fc.oneof(toml, fc.string()), (content) => {
      holds(() => parseRegistriesConf(Buffer.from(content), '/f'));
      holds(() => parseHostsToml(Buffer.from(content), '/f', '/'));
    }),
    { numRuns: 2_000 },
  );
});

test('bytes that are no text', { timeout }, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      holds(() => parseRegistriesConf(Buffer.from(bytes), '/f'));
      holds(() => parseCertificates(Buffer.from(bytes), '/f'));
      holds(() => parseAuthDocument(Buffer.from(bytes).toString('utf8'), '/f', 'docker'));
    }),
  );
});

test('the largest files take no time to speak of', { timeout }, () => {
  const large = (piece: string) => piece.repeat(Math.floor((1 << 20) / piece.length));
  const before = performance.now();
  holds(() => parseCertificates(Buffer.from(large('-----BEGIN CERTIFICATE-----\n')), '/f'));
  holds(() => parseAuthDocument(large('['), '/f', 'docker'));
  holds(() => parseRegistriesConf(Buffer.from(`a = ${large('[')}`), '/f'));
  holds(() => parseRegistriesConf(Buffer.from(large('[a.b]\n')), '/f'));
  const tables = Array.from({ length: 30_000 }, (_, at) => `[[registry]]\nlocation="a${at}.io"\n`);
  assert.equal(parseRegistriesConf(Buffer.from(tables.join('')), '/f').registries.length, 30_000);
  for (const text of ['/', ':', 'a/', 'https://']) normalizeKey(large(text));
  // Anything quadratic takes minutes at this size.
  assert.ok(performance.now() - before < 10_000);
});

test('a key normalized twice is the key normalized once', { timeout }, () => {
  const part = fc.constantFrom(
    'https://',
    'http://',
    'A.io',
    'docker.io',
    'index.docker.io',
    ':5000',
    '/',
    'v1/',
    'x',
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const once = normalizeKey(parts.join(''));
      if (!once.includes('://') && !/\/v[12]$/.test(once)) assert.equal(normalizeKey(once), once);
    }),
  );
});
