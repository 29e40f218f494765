import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { parseDurationMs } from '../../../../../src/store/registry/config/duration.js';
import { createEndpointResolver } from '../../../../../src/store/registry/config/endpoint-resolver.js';
import { parseHostsToml } from '../../../../../src/store/registry/config/hosts-toml.js';
import type { Endpoint } from '../../../../../src/store/registry/endpoint.js';
import { testCertificates } from '../../../../support/fault-registry/certificates.js';
import { makeMachine, type Machine } from './machine.js';

const timeout = 20_000;
const root = 'etc/containerd/certs.d';

async function ask(machine: Machine, host: string, repository = 'x/y'): Promise<readonly Endpoint[]> {
  return await createEndpointResolver({ environment: machine.environment }).endpoints(host, repository);
}

const brief = (endpoint: Endpoint): string =>
  [
    `${endpoint.origin}${endpoint.apiPath}`,
    [...endpoint.capabilities].join('+'),
    endpoint.isOrigin ? 'origin' : 'mirror',
    ...(endpoint.namespaceQuery ? ['ns'] : []),
    ...(endpoint.tls.verify ? [] : ['unverified']),
  ].join(' ');

test('mirrors in the order of the file, then the server', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const path = machine.write(
    `${root}/docker.io/hosts.toml`,
    `server = "https://registry-1.docker.io"
[host."https://zzz.example.com"]
  capabilities = ["pull"]
  dial_timeout = "1.5s"
[host."https://aaa.internal:8443/us"]
  capabilities = ["pull", "resolve", "referrers"]
  skip_verify = true
  [host."https://aaa.internal:8443/us".header]
    X-Custom = ["a", "b"]
    authorization = "Basic c2VjcmV0"
[host."http://plain.example.com:80/v2"]
[host."https://odd.example.com/v2/upstream/"]
  override_path = true
[host."https://root.example.com"]
  override_path = true
`,
  );
  const endpoints = await ask(machine, 'docker.io');
  assert.deepEqual(endpoints.map(brief), [
    'https://zzz.example.com/v2 pull mirror ns',
    'https://aaa.internal:8443/us/v2 pull+resolve mirror ns unverified',
    'http://plain.example.com/v2 pull+resolve+push mirror ns',
    'https://odd.example.com/v2/upstream pull+resolve+push mirror ns',
    'https://root.example.com pull+resolve+push mirror ns',
    'https://registry-1.docker.io/v2 pull+resolve+push origin',
  ]);
  assert.deepEqual(endpoints[1]?.headers, { 'x-custom': 'a, b', authorization: 'Basic c2VjcmV0' });
  assert.equal(endpoints[0]?.connectTimeoutMs, 1500);
  assert.deepEqual(
    endpoints.map((endpoint) => endpoint.credentialHost),
    [
      'zzz.example.com',
      'aaa.internal:8443',
      'plain.example.com',
      'odd.example.com',
      'root.example.com',
      'docker.io',
    ],
  );
  assert.ok(endpoints.every((endpoint) => endpoint.repository === 'x/y' && endpoint.configuredBy === path));
  assert.ok(endpoints.every((endpoint) => !endpoint.allowHttpFallback));
});

test(
  'without a server the registry itself comes last, with the settings at the top',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    machine.write(
      `${root}/a.io_5000_/hosts.toml`,
      'skip_verify = true\ncapabilities = ["pull"]\n[header]\nx-top = "1"\n[host."https://m.io"]\ncapabilities=["pull"]\n',
    );
    const endpoints = await ask(machine, 'a.io:5000');
    assert.deepEqual(endpoints.map(brief), [
      'https://m.io/v2 pull mirror ns',
      'https://a.io:5000/v2 pull+resolve+push origin unverified',
    ]);
    assert.deepEqual(endpoints[1]?.headers, { 'x-top': '1' });
  },
);

test('the folder is host_port_, then host:port, then _default', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const first = async (host: string) => (await ask(machine, host))[0]?.origin;
  machine.write(`${root}/_default/hosts.toml`, 'server = "https://default.io"');
  assert.equal(await first('a.io:5000'), 'https://default.io');
  assert.equal((await ask(machine, 'a.io:5000'))[0]?.namespaceQuery, true);
  machine.write(`${root}/a.io:5000/hosts.toml`, 'server = "https://colon.io"');
  assert.equal(await first('a.io:5000'), 'https://colon.io');
  machine.write(`${root}/a.io_5000_/hosts.toml`, 'server = "underscore.io"');
  assert.equal(await first('a.io:5000'), 'https://underscore.io');
  assert.equal(await first('a.io'), 'https://default.io');
});

test('a table of registries.conf that matches speaks alone', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write(`${root}/_default/hosts.toml`, '[host."https://m.io"]');
  machine.write('etc/containers/registries.conf', '[[registry]]\nlocation="a.io"\n');
  assert.equal((await ask(machine, 'a.io')).length, 1);
  assert.equal((await ask(machine, 'b.io')).length, 2);
});

test('certificates: of the file, of a folder without file, and of certs.d', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca, client, untrusted } = await testCertificates();
  machine.write(`${root}/a.io/ca.pem`, ca);
  machine.write(`${root}/a.io/both.pem`, client.cert + client.key);
  machine.write(`${root}/a.io/c.pem`, client.cert);
  machine.write(`${root}/a.io/k.pem`, client.key);
  machine.write('etc/docker/certs.d/m.io/ca.crt', untrusted.cert);
  const both = client.cert + client.key;
  machine.write(
    `${root}/a.io/hosts.toml`,
    `[host."https://m.io"]
ca = "ca.pem"
client = "both.pem"
[host."https://n.io"]
ca = ["ca.pem"]
client = ["both.pem"]
[host."https://o.io"]
client = [["c.pem", "k.pem"], ["both.pem", ""]]
`,
  );
  const [m, n, o] = await ask(machine, 'a.io');
  assert.deepEqual(m?.tls.ca, [ca.trim(), untrusted.cert.trim()]);
  assert.deepEqual(m?.tls.clientPairs, [{ cert: both, key: both }]);
  assert.deepEqual(n?.tls.ca, [ca.trim()]);
  assert.deepEqual(o?.tls.clientPairs, [client, { cert: both, key: both }]);
  machine.write(`${root}/b.io/ca.crt`, ca);
  assert.deepEqual((await ask(machine, 'b.io'))[0]?.tls.ca, [ca.trim()]);
  machine.write(`${root}/c.io/hosts.toml`, '');
  machine.write(`${root}/c.io/ca.crt`, ca);
  assert.deepEqual((await ask(machine, 'c.io'))[0]?.tls.ca, [ca.trim()]);
  machine.write(`${root}/d.io/hosts.toml`, 'ca = "gone.pem"');
  await assert.rejects(ask(machine, 'd.io'), /gone\.pem: there is no such file, and hosts\.toml names it/);
});

const refused: [string, string, RegExp][] = [
  ['no TOML', 'server = https://a.io', /not TOML|line 1/],
  ['an unknown capability', 'capabilities = ["delete"]', /"delete" is unknown/],
  ['capabilities of a wrong type', 'capabilities = "pull"', /is not an array of strings/],
  ['an address with a password', 'server = "https://u:hunter2@a.io"', /without user and query/],
  ['an address that is none', '[host."https://"]', /an address looks like/],
  [
    'mirrors of mirrors',
    '[host."https://a.io"]\n[host."https://a.io".host."https://b.io"]',
    /no mirrors of its own/,
  ],
  ['a header that ends early', '[header]\nx = "a\\r\\nhunter2: b"', /no text that a header can hold/],
  ['a header of the connection', '[header]\nHost = "a.io"', /"Host" cannot be set/],
  ['a header name that is none', '[header]\n"a b" = "x"', /"a b" cannot be set/],
  ['a client that is a number', 'client = [[1, 2]]', /client: is neither/],
  ['a timeout that is none', 'dial_timeout = "soon"', /"soon" is no duration/],
];
for (const [what, text, pattern] of refused) {
  test(`hosts.toml: ${what} is refused`, { timeout }, () => {
    assert.throws(
      () => parseHostsToml(Buffer.from(text), '/x/hosts.toml', '/x'),
      (error) => {
        assert.ok(isImgfsError(error, 'config'), String(error));
        assert.match(error.message, pattern);
        assert.doesNotMatch(error.message, /hunter2|\n/);
        return true;
      },
    );
  });
}

test('durations of Go', { timeout }, () => {
  assert.equal(parseDurationMs('1s'), 1_000);
  assert.equal(parseDurationMs('1m30s'), 90_000);
  assert.equal(parseDurationMs('1.5h'), 5_400_000);
  assert.equal(parseDurationMs('250ms'), 250);
  for (const text of ['', '5', 's', '-1s', '1d', '0s', '1 s', '1s x', '..s']) {
    assert.equal(parseDurationMs(text), undefined, text);
  }
});
