import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createEndpointResolver } from '../../../../../src/store/registry/config/endpoint-resolver.js';
import { createTrustAnchors } from '../../../../../src/store/registry/config/trust-anchors.js';
import { testCertificates } from '../../../../support/fault-registry/certificates.js';
import { makeMachine } from './machine.js';

const timeout = 20_000;

test("the first folder of certificates that exists is used, the user's own first", { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca, client } = await testCertificates();
  const tls = async (host = 'a.io:5000') => {
    const resolver = createEndpointResolver({ environment: machine.environment });
    return (await resolver.endpoints(host, 'x'))[0];
  };
  assert.equal((await tls())?.tls.ca, undefined);
  machine.write('etc/docker/certs.d/a.io:5000/ca.crt', ca);
  assert.deepEqual((await tls())?.tls.ca, [ca.trim()]);
  assert.equal((await tls())?.configuredBy, machine.path('etc/docker/certs.d/a.io:5000'));
  machine.write('etc/containers/certs.d/a.io:5000/client.cert', client.cert);
  machine.write('etc/containers/certs.d/a.io:5000/client.key', client.key);
  assert.equal((await tls())?.tls.ca, undefined);
  assert.deepEqual((await tls())?.tls.clientPairs, [client]);
  mkdirSync(machine.path('~/.config/containers/certs.d/a.io:5000'), { recursive: true });
  assert.equal((await tls())?.tls.clientPairs, undefined);
  assert.equal((await tls('a.io'))?.tls.ca, undefined);
});

test('the Hub has its certificates under its own name, mirrors under theirs', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca, client } = await testCertificates();
  machine.write(
    'etc/containers/registries.conf',
    '[[registry]]\nlocation="docker.io"\n[[registry.mirror]]\nlocation="m.io/x"\n',
  );
  machine.write('etc/containers/certs.d/docker.io/ca.crt', ca);
  machine.write('etc/containers/certs.d/m.io/client.cert', client.cert);
  machine.write('etc/containers/certs.d/m.io/client.key', client.key);
  const resolver = createEndpointResolver({ environment: machine.environment });
  const [mirror, origin] = await resolver.endpoints('docker.io', 'x/y');
  assert.deepEqual([mirror?.tls.ca, mirror?.tls.clientPairs], [undefined, [client]]);
  assert.deepEqual([origin?.tls.ca, origin?.tls.clientPairs], [[ca.trim()], undefined]);
});

test('--cert-dir is used for every registry', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca } = await testCertificates();
  machine.write('mine/ca.crt', `${ca}${ca}`);
  const resolver = createEndpointResolver({ environment: machine.environment, certDir: 'mine' });
  for (const host of ['a.io', 'b.io:1']) {
    assert.deepEqual((await resolver.endpoints(host, 'x'))[0]?.tls.ca, [ca.trim()]);
  }
  const gone = createEndpointResolver({ environment: machine.environment, certDir: 'gone' });
  await assert.rejects(gone.endpoints('a.io', 'x'), /--cert-dir names no folder/);
});

test('lists of certificates stay the same object while the files do', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca, client, untrusted } = await testCertificates();
  machine.write('etc/docker/certs.d/a.io/ca.crt', ca);
  machine.write('etc/docker/certs.d/a.io/b.cert', client.cert);
  machine.write('etc/docker/certs.d/a.io/b.key', client.key);
  const resolver = createEndpointResolver({ environment: machine.environment, recheckMs: 0 });
  const tls = async () => (await resolver.endpoints('a.io', 'x'))[0]?.tls;
  const before = await tls();
  const after = await tls();
  assert.equal(after?.ca, before?.ca);
  assert.equal(after?.clientPairs, before?.clientPairs);
  machine.write('etc/docker/certs.d/a.io/ca.crt', untrusted.cert);
  assert.deepEqual((await tls())?.ca, [untrusted.cert.trim()]);
});

test('every mistake is named', { timeout }, async (t) => {
  const { ca, client, good } = await testCertificates();
  const cases: [string, Record<string, string>, RegExp][] = [
    ['a certificate alone', { 'c.cert': client.cert }, /c\.cert: its partner c\.key is missing/],
    ['a key alone', { 'c.key': client.key }, /c\.key: its partner c\.cert is missing/],
    [
      'the key of another',
      { 'c.cert': client.cert, 'c.key': good.key },
      /c\.key: it is not the key of .*c\.cert/,
    ],
    ['no key at all', { 'c.cert': client.cert, 'c.key': 'x' }, /c\.key: it holds no private key/],
    [
      'an authority as a client certificate',
      { 'c.cert': 'x', 'c.key': client.key },
      /c\.cert: it holds no certificate/,
    ],
    ['an empty authority', { 'c.crt': '' }, /c\.crt: it holds no certificate in PEM form/],
    [
      'a damaged authority',
      { 'c.crt': ca.replace(/[A-Za-z]{20}/, 'AAAAAAAAAAAAAAAAAAAA') },
      /damaged certificate/,
    ],
  ];
  for (const [what, files, pattern] of cases) {
    const machine = makeMachine(t);
    for (const [name, text] of Object.entries(files)) machine.write(`etc/docker/certs.d/a.io/${name}`, text);
    const resolver = createEndpointResolver({ environment: machine.environment });
    await assert.rejects(resolver.endpoints('a.io', 'x'), (error) => {
      assert.ok(isImgfsError(error, 'config'), what);
      assert.match(error.message, pattern, what);
      assert.doesNotMatch(error.message, /PRIVATE/);
      return true;
    });
  }
});

test('an encrypted key is named as such', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { client } = await testCertificates();
  const plain = machine.write('plain.key', client.key);
  const arguments_ = ['pkcs8', '-topk8', '-in', plain, '-passout', 'pass:x'];
  machine.write('etc/docker/certs.d/a.io/c.key', execFileSync('openssl', arguments_, { encoding: 'utf8' }));
  machine.write('etc/docker/certs.d/a.io/c.cert', client.cert);
  const resolver = createEndpointResolver({ environment: machine.environment });
  await assert.rejects(resolver.endpoints('a.io', 'x'), /the key is encrypted/);
});

const known = (rootCertificates[0] ?? '').trim();

test('only what Node does not trust already is added', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca } = await testCertificates();
  machine.write(
    'etc/ssl/certs/ca-certificates.crt',
    `# comment\n${known}\n${ca}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
  );
  machine.write('etc/pki/tls/certs/ca-bundle.crt', 'never looked at');
  assert.deepEqual(await createTrustAnchors(machine.environment).read(), [ca.trim()]);
  const resolver = createEndpointResolver({ environment: machine.environment });
  assert.deepEqual((await resolver.endpoints('a.io', 'x'))[0]?.tls.ca, [ca.trim()]);
});

test("a machine whose list is Node's adds nothing", { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('etc/ssl/certs/ca-certificates.crt', known.replaceAll('\n', '\r\n'));
  assert.deepEqual(await createTrustAnchors(machine.environment).read(), []);
});

test('SSL_CERT_FILE, SSL_CERT_DIR and NODE_EXTRA_CA_CERTS', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca, untrusted, good } = await testCertificates();
  machine.write('etc/ssl/certs/ca-certificates.crt', good.cert);
  const file = machine.write('mine.pem', ca);
  const extra = machine.write('extra.pem', untrusted.cert);
  machine.write('folder/deadbeef.0', good.cert);
  symlinkSync('nowhere', machine.path('folder/dangling.0'));
  mkdirSync(machine.path('folder/sub'));
  machine.write('folder/README', 'no certificate');
  const read = async (variables: Record<string, string>) =>
    await createTrustAnchors(machine.with(variables)).read();
  assert.deepEqual(await read({}), [good.cert.trim()]);
  assert.deepEqual(await read({ SSL_CERT_FILE: file }), [ca.trim()]);
  assert.deepEqual(await read({ SSL_CERT_FILE: file, SSL_CERT_DIR: `rel:${machine.path('folder')}` }), [
    ca.trim(),
    good.cert.trim(),
  ]);
  assert.deepEqual(await read({ SSL_CERT_FILE: file, NODE_EXTRA_CA_CERTS: extra }), [
    ca.trim(),
    untrusted.cert.trim(),
  ]);
  assert.deepEqual(await read({ NODE_EXTRA_CA_CERTS: '/nowhere' }), [good.cert.trim()]);
  await assert.rejects(read({ SSL_CERT_FILE: '/nowhere' }), /no such file, and SSL_CERT_FILE names it/);
  await assert.rejects(read({ SSL_CERT_FILE: machine.path('folder/README') }), /no certificate in PEM form/);
});

test('without a bundle the folder of the machine is read', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca } = await testCertificates();
  machine.write('etc/ssl/certs/a1b2c3d4.0', ca);
  machine.write('etc/ssl/certs/again.pem', ca);
  assert.deepEqual(await createTrustAnchors(machine.environment).read(), [ca.trim()]);
});
