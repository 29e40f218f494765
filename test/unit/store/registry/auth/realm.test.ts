import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { checkRealm } from '../../../../../src/store/registry/auth/realm.js';

const registry = new URL('https://registry-1.docker.io/v2/');

test('who may see the password', () => {
  const cases: [string, string, boolean][] = [
    ['https://registry-1.docker.io/v2/', 'https://auth.docker.io/token', true],
    ['https://r.example:5000/', 'https://r.example:5000/auth', true],
    ['https://r.example:5000/', '/auth', true],
    ['https://r.example:5000/', 'https://r.example/auth', true],
    ['https://registry.gitlab.example/', 'https://gitlab.example/jwt/auth', true],
    ['https://registry.gitlab.com/', 'https://gitlab.com/jwt/auth', true],
    ['https://dhi.io/', 'https://auth.docker.io/token', true],
    ['https://ghcr.io/', 'https://evil.example/token', false],
    ['https://ghcr.io/', 'https://ghcr.io.evil.example/token', false],
    ['https://ghcr.io/', 'https://evil.io/token', false],
    ['https://a.b.example/', 'https://xb.example/token', false],
    ['https://firm.co.uk/', 'https://evil.co.uk/token', false],
    ['https://registry.firm.co.uk/', 'https://auth.firm.co.uk/token', true],
    ['https://10.0.0.1/', 'https://9.0.0.1/token', false],
  ];
  for (const [from, realm, expected] of cases) {
    assert.equal(checkRealm(realm, new URL(from), []).maySendSecrets, expected, `${from} ${realm}`);
  }
});

test('realms that are refused', () => {
  const refused = [
    'http://auth.docker.io/token',
    'ftp://x/',
    'file:///etc/passwd',
    'javascript:1',
    'data:,x',
  ];
  for (const realm of refused) {
    assert.throws(
      () => checkRealm(realm, registry, []),
      (error) => isImgfsError(error, 'denied'),
      realm,
    );
  }
  for (const realm of [undefined, '', 'https://', 'http://[::1']) {
    assert.throws(
      () => checkRealm(realm, registry, []),
      (error) => isImgfsError(error, 'protocol'),
      String(realm),
    );
  }
  assert.throws(() => checkRealm('http://r.example/', new URL('https://r.example/'), []));
  assert.throws(() => checkRealm('http://t.example/', new URL('https://r.example/'), ['t.example']));
});

test('plain http is for the very same origin, or for a host that is trusted by a registry without TLS', () => {
  const plain = new URL('http://r.example:5000/');
  assert.equal(checkRealm('http://r.example:5000/token', plain, []).sameOrigin, true);
  assert.throws(() => checkRealm('http://r.example:5001/token', plain, []));
  assert.equal(checkRealm('http://r.example:5001/token', plain, ['r.example:5001']).trusted, true);
});

test('user and password in a realm are dropped', () => {
  assert.equal(
    checkRealm('https://u:p@auth.docker.io/t#x', registry, []).url.href,
    'https://auth.docker.io/t',
  );
});
