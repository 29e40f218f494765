import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createAuthSource } from '../../../../../src/store/registry/config/auth-file.js';
import type { Environment } from '../../../../../src/store/registry/config/environment.js';
import type { Credential } from '../../../../../src/store/registry/credential.js';
import { basic, makeMachine } from './machine.js';

const timeout = 5_000;
const user = (username: string, password = 'p'): Credential => ({ kind: 'basic', username, password });

async function find(environment: Environment, host: string, repository?: string, authFile?: string) {
  const source = createAuthSource({ environment, ...(authFile === undefined ? {} : { authFile }) });
  return await source.find(host, repository);
}

test('nothing configured is anonymous', { timeout }, async (t) => {
  const { environment } = makeMachine(t);
  const { credential, origin } = await find(environment, 'quay.io', 'a/b');
  assert.deepEqual(credential, { kind: 'anonymous' });
  assert.equal(origin, 'no credentials found');
});

test('files are searched in the order of containers-auth.json(5)', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const entry = (name: string) => ({ auths: { 'quay.io': { auth: basic(name, 'p') } } });
  const places: [string, object][] = [
    ['~/.dockercfg', { 'https://quay.io/v1/': { auth: basic('legacy', 'p') } }],
    ['~/.docker/config.json', entry('docker')],
    ['~/.config/containers/auth.json', entry('config')],
    ['run-user/containers/auth.json', entry('runtime')],
  ];
  for (const [path, content] of places) {
    const written = machine.write(path, content);
    const expected = JSON.stringify(content).includes('auths') ? (content as never) : undefined;
    const { credential, origin } = await find(machine.environment, 'quay.io', 'a/b');
    assert.ok(origin.startsWith(written), `${origin} of ${written} ${String(expected)}`);
    assert.equal(credential.kind, 'basic');
  }
});

test('without XDG_RUNTIME_DIR the file of the user below /run is read', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run/containers/1234/auth.json', { auths: { 'quay.io': { auth: basic('run', 'p') } } });
  const environment = machine.with({ XDG_RUNTIME_DIR: '' });
  assert.deepEqual((await find(environment, 'quay.io')).credential, user('run'));
  const elsewhere = { ...environment, platform: 'darwin' as const };
  assert.equal((await find(elsewhere, 'quay.io')).credential.kind, 'anonymous');
});

test('an explicit file is the only one, and has to exist', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('~/.docker/config.json', { auths: { 'quay.io': { auth: basic('docker', 'p') } } });
  machine.write('mine.json', { auths: { 'ghcr.io': { auth: basic('mine', 'p') } } });
  assert.deepEqual((await find(machine.environment, 'ghcr.io', 'x', 'mine.json')).credential, user('mine'));
  assert.equal((await find(machine.environment, 'quay.io', 'x', 'mine.json')).credential.kind, 'anonymous');
  const byVariable = machine.with({ REGISTRY_AUTH_FILE: machine.path('mine.json') });
  assert.deepEqual((await find(byVariable, 'ghcr.io')).credential, user('mine'));
  await assert.rejects(find(machine.environment, 'quay.io', 'x', 'none.json'), (error) => {
    assert.ok(isImgfsError(error, 'config'));
    assert.match(error.message, /none\.json: there is no such file, and --authfile names it/);
    return true;
  });
  assert.equal((await find(machine.environment, 'quay.io', 'x', '/dev/null')).credential.kind, 'anonymous');
});

test('DOCKER_AUTH_CONFIG and DOCKER_CONFIG come before the default files', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run-user/containers/auth.json', { auths: { 'quay.io': { auth: basic('runtime', 'p') } } });
  machine.write('dc/config.json', { auths: { 'quay.io': { auth: basic('dc', 'p') } } });
  machine.write('~/.docker/config.json', { auths: { 'only.home': { auth: basic('home', 'p') } } });
  const folder = { DOCKER_CONFIG: machine.path('dc') };
  assert.deepEqual((await find(machine.with(folder), 'quay.io')).credential, user('dc'));
  assert.equal((await find(machine.with(folder), 'only.home')).credential.kind, 'anonymous');
  const inline = { ...folder, DOCKER_AUTH_CONFIG: `{"auths":{"quay.io":{"auth":"${basic('env', 'p')}"}}}` };
  assert.deepEqual((await find(machine.with(inline), 'quay.io')).credential, user('env'));
  await assert.rejects(find(machine.with({ DOCKER_AUTH_CONFIG: '{secret' }), 'quay.io'), (error) => {
    assert.ok(isImgfsError(error, 'config'));
    assert.match(error.message, /\$DOCKER_AUTH_CONFIG: it is not valid JSON/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

test('the most specific key wins', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const auths = Object.fromEntries(
    ['quay.io', 'quay.io/a', 'quay.io/a/b', 'quay.io/a/bc', 'localhost:5000/x'].map((key) => [
      key,
      { auth: basic(key.replaceAll(':', '_'), 'p') },
    ]),
  );
  machine.write('run-user/containers/auth.json', { auths });
  const name = async (host: string, repository?: string) => {
    const { credential } = await find(machine.environment, host, repository);
    return credential.kind === 'basic' ? credential.username : credential.kind;
  };
  assert.equal(await name('quay.io', 'a/b'), 'quay.io/a/b');
  assert.equal(await name('quay.io', 'a/b/c/d'), 'quay.io/a/b');
  assert.equal(await name('quay.io', 'a/x'), 'quay.io/a');
  assert.equal(await name('quay.io', 'ab'), 'quay.io');
  assert.equal(await name('quay.io'), 'quay.io');
  assert.equal(await name('quay.io:443', 'a/b'), 'anonymous');
  assert.equal(await name('localhost:5000', 'x/y'), 'localhost_5000/x');
  assert.equal(await name('localhost:5000', 'y'), 'anonymous');
});

for (const key of [
  'docker.io',
  'https://index.docker.io/v1/',
  'index.docker.io',
  'https://registry-1.docker.io',
  'registry-1.docker.io/v2/',
]) {
  test(`the login of Docker Hub is found under ${key}`, { timeout }, async (t) => {
    const machine = makeMachine(t);
    machine.write('~/.docker/config.json', { auths: { [key]: { auth: basic('hub', 'p') } } });
    for (const host of ['docker.io', 'index.docker.io', 'registry-1.docker.io']) {
      assert.deepEqual((await find(machine.environment, host, 'library/alpine')).credential, user('hub'));
    }
    assert.equal((await find(machine.environment, 'quay.io')).credential.kind, 'anonymous');
  });
}

test('keys that are URLs, in any case, name their host; an exact key comes first', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const auths = {
    'https://Reg.Example:5000/v2/': { auth: basic('url', 'p') },
    'docker.io/v1/': {},
    'https://index.docker.io/v1/': { auth: basic('old', 'p') },
    'docker.io': { auth: basic('new', 'p') },
  };
  machine.write('~/.docker/config.json', { auths });
  assert.deepEqual((await find(machine.environment, 'reg.example:5000', 'x')).credential, user('url'));
  assert.deepEqual((await find(machine.environment, 'docker.io', 'x/y')).credential, user('new'));
});

test('every kind of entry is understood', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('~/.docker/config.json', {
    auths: {
      'a.io': { auth: basic('u', 'p:with:colons\0\0'), email: 'x@y' },
      'b.io': { username: 'u', password: 'p' },
      'c.io': { auth: basic('u', ''), identitytoken: 'refresh' },
      'd.io': { registrytoken: 'bearer' },
      'e.io': {},
      'f.io': { auth: '' },
      'g.io': { auth: 'dTpw' },
      'h.io': { auth: Buffer.from('ü:ä').toString('base64') },
      __proto__: { auth: basic('u', 'p') },
    },
  });
  const of = async (host: string) => (await find(machine.environment, host)).credential;
  assert.deepEqual(await of('a.io'), user('u', 'p:with:colons'));
  assert.deepEqual(await of('b.io'), user('u'));
  assert.deepEqual(await of('c.io'), { kind: 'identity-token', token: 'refresh' });
  assert.deepEqual(await of('d.io'), { kind: 'registry-token', token: 'bearer' });
  assert.deepEqual(await of('e.io'), { kind: 'anonymous' });
  assert.deepEqual(await of('f.io'), { kind: 'anonymous' });
  assert.deepEqual(await of('g.io'), user('u'));
  assert.deepEqual(await of('h.io'), user('ü', 'ä'));
});

test('an empty marker in one file does not hide a login in the next', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run-user/containers/auth.json', { auths: { 'quay.io': {} } });
  machine.write('~/.docker/config.json', { auths: { 'quay.io': { auth: basic('next', 'p') } } });
  assert.deepEqual((await find(machine.environment, 'quay.io')).credential, user('next'));
});

const secret = basic('alice', 'hunter2');
const bad: [string, string | undefined, RegExp][] = [
  ['not JSON', `{"auths": {"a.io": {"auth": "${secret}"`, /it is not valid JSON/],
  ['an array', '[]', /it is not a JSON object/],
  ['auths of a wrong type', '{"auths": []}', /auths is not an object/],
  ['an entry of a wrong type', `{"auths": {"a.io": "${secret}"}}`, /"a\.io" is not an object/],
  [
    'auth of a wrong type',
    '{"auths": {"a.io": {"auth": 5}}}',
    /entry "a\.io": auth is not a string|auth is not/,
  ],
  ['auth without colon', `{"auths": {"a.io": {"auth": "aHVudGVyMg=="}}}`, /"auth" is not "user:password"/],
  ['auth that is no base64', '{"auths": {"a.io": {"auth": "hunter2!"}}}', /"auth" is not base64/],
  ['helpers of a wrong type', '{"credHelpers": {"a.io": 1}}', /credHelpers of "a\.io" is not a string/],
  ['a file over the cap', `{"x": "${'a'.repeat(1 << 20)}"}`, /over 1048576 bytes/],
];
for (const [what, text, pattern] of bad) {
  test(`${what} is a config error that names the file and no secret`, { timeout }, async (t) => {
    const machine = makeMachine(t);
    const path = machine.write('run-user/containers/auth.json', text ?? '');
    await assert.rejects(find(machine.environment, 'a.io', 'x'), (error) => {
      assert.ok(isImgfsError(error, 'config'), String(error));
      assert.match(error.message, pattern);
      assert.ok(error.message.includes(path));
      assert.doesNotMatch(JSON.stringify([error.message, error.context, error.hint]), /hunter2|YWxpY2U6/);
      return true;
    });
  });
}

test('what is no regular file is refused, quickly', { timeout }, async (t) => {
  const machine = makeMachine(t);
  mkdirSync(machine.path('directory'));
  symlinkSync('loop', machine.path('loop'));
  execFileSync('mkfifo', [machine.path('pipe')]);
  const cases: [string, RegExp][] = [
    ['directory', /it is a directory/],
    ['loop', /too many symbolic links/],
    ['pipe', /not a regular file/],
    ['/dev/zero', /not a regular file/],
  ];
  for (const [name, pattern] of cases) {
    await assert.rejects(find(machine.environment, 'a.io', 'x', name), (error) => {
      assert.ok(isImgfsError(error, 'config'));
      assert.match(error.message, pattern);
      return true;
    });
  }
});

test('a byte order mark and an empty file do no harm', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run-user/containers/auth.json', ' \n');
  machine.write('~/.docker/config.json', `\ufeff{"auths":{"a.io":{"auth":"${basic('bom', 'p')}"}}}`);
  assert.deepEqual((await find(machine.environment, 'a.io')).credential, user('bom'));
});

test('a login made later counts at once', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const source = createAuthSource({ environment: machine.environment });
  const path = machine.write('run-user/containers/auth.json', {
    auths: { 'a.io': { auth: basic('one', 'p') } },
  });
  assert.deepEqual((await source.find('a.io', 'x')).credential, user('one'));
  // Same length, same inode, possibly the same tick of the clock.
  writeFileSync(path, JSON.stringify({ auths: { 'a.io': { auth: basic('two', 'p') } } }));
  assert.deepEqual((await source.find('a.io', 'x')).credential, user('two'));
});

test('explain lists every place in order, and never a secret', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run-user/containers/auth.json', { auths: { 'b.io': { auth: basic('bob', 'hunter2') } } });
  machine.write('~/.docker/config.json', { auths: { 'a.io/ns': { auth: basic('alice', 'hunter2') } } });
  const source = createAuthSource({ environment: machine.environment });
  const { steps, found, error } = await source.explain('a.io', 'ns/app');
  assert.equal(error, undefined);
  assert.deepEqual(
    steps.map(({ place, outcome }) => [place.slice(machine.folder.length), outcome]),
    [
      ['/run-user/containers/auth.json', 'no entry'],
      ['/home/.config/containers/auth.json', 'absent'],
      ['/home/.docker/config.json', 'matched'],
    ],
  );
  assert.match(steps.at(-1)?.detail ?? '', /key "a\.io\/ns", user "alice"/);
  assert.doesNotMatch(JSON.stringify([steps, found.origin]), /hunter2/);

  machine.write('run-user/containers/auth.json', '{');
  const broken = await source.explain('a.io', 'ns/app');
  assert.equal(broken.error?.code, 'config');
  assert.equal(broken.steps.at(-1)?.outcome, 'failed');
});

test('a host that is none reaches neither files nor helpers', { timeout }, async (t) => {
  const { environment } = makeMachine(t);
  for (const host of ['', 'a b', 'evil\nhost', '../../x', 'a/b', 'user@host.io']) {
    await assert.rejects(find(environment, host), (error) => isImgfsError(error, 'name-invalid'));
  }
});
