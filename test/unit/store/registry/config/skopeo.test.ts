/** skopeo reads and writes the same files: it is asked, and has to agree. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAuthSource } from '../../../../../src/store/registry/config/auth-file.js';
import { createEndpointResolver } from '../../../../../src/store/registry/config/endpoint-resolver.js';
import {
  eraseCredential,
  parseLoginScope,
  storeCredential,
} from '../../../../../src/store/registry/config/login.js';
import { run } from '../../../../support/child.js';
import { startDockerRegistry } from '../../../../support/docker-registry.js';
import { makeMachine, type Machine } from './machine.js';

const timeout = 60_000;
/** Output of skopeo, whether it succeeds or not; of this machine it sees only the given one. */
async function skopeo(machine: Machine, ...parameters: string[]): Promise<{ ok: boolean; text: string }> {
  const others = ['REGISTRY_AUTH_FILE', 'DOCKER_CONFIG', 'XDG_CONFIG_HOME', 'CONTAINERS_REGISTRIES_CONF'];
  const env = {
    ...Object.fromEntries(others.map((name) => [name, undefined])),
    HOME: machine.path('home'),
    XDG_RUNTIME_DIR: machine.path('run-user'),
  };
  const { code, stdout, stderr } = await run('skopeo', ['--insecure-policy', ...parameters], { env });
  return { ok: code === 0, text: stdout + stderr };
}

/** Every location is a port of loopback where nobody listens: refused at once, and skopeo goes on to the next. */
const configuration = `
[[registry]]
prefix = "example.invalid/foo"
location = "127.0.0.1:1/bar"
[[registry.mirror]]
location = "127.0.0.1:2/mirror-for-foo"
[[registry.mirror]]
location = "127.0.0.1:3/mirrors/foo"
insecure = true
[[registry]]
prefix = "example.invalid/foo/deep"
location = "127.0.0.1:7/d"
[[registry]]
prefix = "*.wild.invalid"
location = "127.0.0.1:4/w"
[[registry]]
prefix = "deep.wild.invalid"
location = "127.0.0.1:5"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:6/hub"
[[registry]]
prefix = "b.invalid"
location = "127.0.0.1:8"
mirror-by-digest-only = true
[[registry.mirror]]
location = "127.0.0.1:9/m"
`;
const digest = `sha256:${'ab'.repeat(32)}`;

test('mirrors and locations are those that skopeo tries, in its order', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const file = machine.write('~/.config/containers/registries.conf', configuration);
  const resolver = createEndpointResolver({ environment: machine.environment });
  const names: [string, string][] = [
    ['example.invalid', 'foo/image'],
    ['example.invalid', 'foo/deep/x'],
    ['example.invalid', 'foobar'],
    ['x.wild.invalid', 'n'],
    ['deep.wild.invalid', 'n'],
    ['docker.io', 'library/alpine'],
    ['b.invalid', 'x'],
  ];
  for (const [registry, repository] of names) {
    for (const [suffix, capability] of [
      [':t', 'resolve'],
      [`@${digest}`, 'pull'],
    ] as const) {
      const name = `docker://${registry}/${repository}${suffix}`;
      const { text } = await skopeo(machine, '--debug', `--registries-conf=${file}`, 'inspect', name);
      const theirs = [...text.matchAll(/Trying to access \\?"([^"\\]+)/g)].map((match) => match[1]);
      const ours = (await resolver.endpoints(registry, repository))
        .filter((endpoint) => endpoint.capabilities.has(capability))
        .map((endpoint) => `${endpoint.credentialHost}/${endpoint.repository}${suffix}`);
      assert.deepEqual(ours, theirs, name);
    }
  }
});

test('a login of ours serves skopeo, and a login of skopeo serves us', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const server = await startDockerRegistry({ users: { alice: 'wonder:land' } });
  t.after(() => server.close());
  const options = { environment: machine.environment };
  const scope = parseLoginScope(server.host);
  const credential = { kind: 'basic', username: 'alice', password: 'wonder:land' } as const;
  const listTags = async () =>
    (await skopeo(machine, 'list-tags', '--tls-verify=false', `docker://${server.host}/x/y`)).text;

  assert.match(await listTags(), /authentication required|unauthorized/);
  await storeCredential(scope, credential, options);
  assert.match(await listTags(), /404/);
  assert.equal((await skopeo(machine, 'login', '--get-login', server.host)).text.trim(), 'alice');
  await eraseCredential(scope, options);
  assert.match(await listTags(), /authentication required|unauthorized/);

  const login = ['login', '--tls-verify=false', '-u', 'alice', '-p', 'wonder:land', server.host];
  assert.ok((await skopeo(machine, ...login)).ok);
  assert.deepEqual((await createAuthSource(options).find(server.host, 'x/y')).credential, credential);
  assert.ok((await skopeo(machine, 'logout', server.host)).ok);
  assert.equal((await createAuthSource(options).find(server.host, 'x/y')).credential.kind, 'anonymous');
});
