/** The configuration files and the client together, against real servers on loopback. */
import assert from 'node:assert/strict';
import { createServer, connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { parseLoginScope, storeCredential } from '../../../../../src/store/registry/config/login.js';
import { openRegistryConfig } from '../../../../../src/store/registry/config/registry-config.js';
import type { Environment } from '../../../../../src/store/registry/config/environment.js';
import { openRegistryStore, type RegistryStore } from '../../../../../src/store/registry/registry-store.js';
import {
  startFaultRegistry,
  testCertificates,
  type FaultRegistry,
  type FaultRegistryOptions,
} from '../../../../support/fault-registry/index.js';
import { basic, makeMachine } from './machine.js';

const timeout = 30_000;
const manifestType = 'application/vnd.oci.image.index.v1+json';
const manifest = Buffer.from(`{"schemaVersion":2,"mediaType":"${manifestType}","manifests":[]}`);

/** A registry with one tag `v1` in `team/app`. */
async function start(t: TestContext, options: FaultRegistryOptions = {}): Promise<FaultRegistry> {
  const registry = await startFaultRegistry(options);
  t.after(() => registry.close());
  registry.putManifest('team/app', manifest, manifestType, ['v1']);
  return registry;
}

interface Opened {
  readonly store: RegistryStore;
  readonly config: ReturnType<typeof openRegistryConfig>;
}

function open(t: TestContext, environment: Environment, registry: string): Opened {
  const config = openRegistryConfig({ environment, recheckMs: 0 });
  const store = openRegistryStore(registry, {
    endpoints: config.endpoints,
    credentials: config.credentials,
    options: { retries: 0 },
  });
  t.after(() => store.close());
  return { store, config };
}

const resolve = async ({ store }: Opened, repository = 'team/app') =>
  (await store.resolve({ repository, tag: 'v1' })).descriptor.size;

test(
  'certificates of certs.d open a registry that wants both, and a login counts at once',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    const { ca, client } = await testCertificates();
    const registry = await start(t, { tls: 'mutual', auth: { kind: 'basic', users: { alice: 'pw' } } });
    const opened = open(t, machine.environment, registry.host);
    await assert.rejects(resolve(opened), (error) => isImgfsError(error, 'unavailable'));
    machine.write(`etc/containers/certs.d/${registry.host}/ca.crt`, ca);
    machine.write(`etc/containers/certs.d/${registry.host}/me.cert`, client.cert);
    machine.write(`etc/containers/certs.d/${registry.host}/me.key`, client.key);
    await assert.rejects(resolve(opened), (error) => isImgfsError(error, 'unauthorized'));
    const alice = { kind: 'basic', username: 'alice', password: 'pw' } as const;
    await storeCredential(parseLoginScope(registry.host), alice, opened.config.authOptions);
    assert.equal(await resolve(opened), manifest.length);
  },
);

test('trust anchors of the machine open a registry', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const { ca } = await testCertificates();
  const registry = await start(t, { tls: true });
  machine.write('etc/ssl/certs/ca-certificates.crt', ca);
  assert.equal(await resolve(open(t, machine.environment, registry.host)), manifest.length);
});

test('a credential helper is asked for the registry', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const registry = await start(t, { auth: { kind: 'bearer', users: { bob: 'pw' } } });
  machine.helper('a', `[ "$(cat)" = ${registry.host} ] && echo '{"Username":"bob","Secret":"pw"}'`);
  machine.write('~/.docker/config.json', { credHelpers: { [registry.host]: 'a' } });
  assert.equal(await resolve(open(t, machine.environment, registry.host)), manifest.length);
});

test('a mirror is asked first and gets no credentials of the origin', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const origin = await start(t, { auth: { kind: 'basic', users: { alice: 'origin' } } });
  const mirror = await start(t, { auth: { kind: 'basic', users: { bob: 'mirror' } } });
  mirror.putManifest('copy/team/app', manifest, manifestType, ['v1']);
  machine.write(
    'etc/containers/registries.conf',
    `[[registry]]
prefix = "images.invalid"
location = "${origin.host}"
insecure = true
[[registry.mirror]]
location = "${mirror.host}/copy"
insecure = true
`,
  );
  machine.write('run-user/containers/auth.json', {
    auths: {
      [origin.host]: { auth: basic('alice', 'origin') },
      'images.invalid': { auth: basic('x', 'secret') },
    },
  });
  const opened = open(t, machine.environment, 'images.invalid');
  assert.equal(await resolve(opened), manifest.length, 'the mirror refuses, the origin answers');
  assert.ok(mirror.requests.length > 0);
  assert.ok(mirror.requests.every(({ headers }) => headers['authorization'] === undefined));
  const sent = origin.requests.map(({ headers }) => headers['authorization']).filter(Boolean);
  assert.ok(sent.length > 0 && sent.every((header) => header === `Basic ${basic('alice', 'origin')}`));

  await storeCredential(
    parseLoginScope(`${mirror.host}/copy`),
    { kind: 'basic', username: 'bob', password: 'mirror' },
    opened.config.authOptions,
  );
  const again = open(t, machine.environment, 'images.invalid');
  origin.forgetRequests();
  assert.equal(await resolve(again), manifest.length);
  assert.equal(origin.requests.length, 0, 'with a login of its own the mirror answers');
});

test('hosts.toml: namespace query, headers and the way back to the server', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const [mirror, server] = [await start(t), await start(t)];
  server.putManifest('only/here', manifest, manifestType, ['v1']);
  machine.write(
    'etc/containerd/certs.d/images.invalid/hosts.toml',
    `server = "${server.url}"
[host."${mirror.url}"]
  capabilities = ["pull", "resolve"]
  [host."${mirror.url}".header]
    x-team = "blue"
`,
  );
  const opened = open(t, machine.environment, 'images.invalid');
  assert.equal(await resolve(opened), manifest.length);
  const [request] = mirror.requests;
  assert.equal(request?.query.get('ns'), 'images.invalid');
  assert.equal(request?.headers['x-team'], 'blue');
  assert.equal(server.requests.length, 0);
  assert.equal(await resolve(opened, 'only/here'), manifest.length);
  assert.ok(server.requests.every(({ headers }) => headers['x-team'] === undefined));
});

test(
  'a certificate that nobody vouches for is refused, unless the registry is marked insecure',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    const registry = await start(t, { tls: true, certificate: 'untrusted' });
    const opened = open(t, machine.environment, registry.host);
    await assert.rejects(resolve(opened), (error) => {
      assert.ok(isImgfsError(error, 'unavailable'));
      assert.match(`${error.message} ${error.hint}`, /certificate|certs\.d/i);
      return true;
    });
    machine.write(
      'etc/containers/registries.conf',
      `[[registry]]\nlocation="${registry.host}"\ninsecure=true\n`,
    );
    assert.equal(await resolve(opened), manifest.length);
  },
);

test(
  'a proxy carries what is not on this machine, and its password goes nowhere else',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    const registry = await start(t, { tls: true });
    const asked: string[] = [];
    const proxy = createServer((socket) => {
      socket.once('data', (head) => {
        asked.push(head.toString('latin1'));
        const [, port = ''] = registry.host.split(':');
        const upstream = connect(Number(port), '127.0.0.1', () => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          upstream.pipe(socket).pipe(upstream);
        });
        for (const end of [socket, upstream]) end.on('error', () => socket.destroy());
      });
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    t.after(() => {
      proxy.close();
    });
    const { port } = proxy.address() as AddressInfo;
    machine.write(
      'etc/containers/registries.conf',
      '[[registry]]\nlocation="images.invalid"\ninsecure=true\n',
    );
    const environment = machine.with({ HTTPS_PROXY: `http://u:hunter2@127.0.0.1:${port}` });
    assert.equal(await resolve(open(t, environment, 'images.invalid')), manifest.length);
    assert.match(asked[0] ?? '', /^CONNECT images\.invalid:443 HTTP\/1\.1/);
    assert.ok(asked[0]?.includes(basic('u', 'hunter2')));
    assert.ok(registry.requests.every(({ headers }) => !JSON.stringify(headers).includes('hunter2')));
    assert.ok(registry.requests.every(({ headers }) => headers['proxy-authorization'] === undefined));
  },
);
