import assert from 'node:assert/strict';
import { chmodSync, lstatSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { test } from 'node:test';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createAuthSource } from '../../../../../src/store/registry/config/auth-file.js';
import { editJsonFile } from '../../../../../src/store/registry/config/edit-json.js';
import { makeFolder } from '../../../../../src/store/registry/config/make-folder.js';
import {
  eraseCredential,
  parseLoginScope,
  storeCredential,
} from '../../../../../src/store/registry/config/login.js';
import type { Credential } from '../../../../../src/store/registry/credential.js';
import { basic, makeMachine } from './machine.js';

const timeout = 10_000;
const alice: Credential = { kind: 'basic', username: 'alice', password: 'hunter2' };

test(
  'a login goes to the auth.json of the session, private and readable by the peers',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    const options = { environment: machine.environment };
    const result = await storeCredential(parseLoginScope('quay.io'), alice, options);
    assert.deepEqual(result, { writtenTo: machine.path('run-user/containers/auth.json') });
    assert.deepEqual(JSON.parse(machine.read('run-user/containers/auth.json')), {
      auths: { 'quay.io': { auth: basic('alice', 'hunter2') } },
    });
    assert.equal(statSync(result.writtenTo).mode & 0o777, 0o600);
    assert.equal(statSync(machine.path('run-user/containers')).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(machine.path('run-user/containers')), ['auth.json']);
    assert.deepEqual((await createAuthSource(options).find('quay.io', 'x')).credential, alice);
  },
);

test('other fields and entries stay, older spellings go', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('run-user/containers/auth.json', {
    unknown: [1, { a: null }],
    auths: { 'a.io': { auth: 'YTpi', email: 'e' }, 'https://quay.io/v1/': { auth: 'b2xkOm9sZA==' } },
  });
  await storeCredential(parseLoginScope('quay.io'), alice, { environment: machine.environment });
  assert.deepEqual(JSON.parse(machine.read('run-user/containers/auth.json')), {
    unknown: [1, { a: null }],
    auths: { 'a.io': { auth: 'YTpi', email: 'e' }, 'quay.io': { auth: basic('alice', 'hunter2') } },
  });
});

test('namespaces are keys of their own', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const options = { environment: machine.environment };
  await storeCredential(parseLoginScope('quay.io/ns'), alice, options);
  const source = createAuthSource(options);
  assert.deepEqual((await source.find('quay.io', 'ns/x')).credential, alice);
  assert.equal((await source.find('quay.io', 'other')).credential.kind, 'anonymous');
  assert.deepEqual((await eraseCredential(parseLoginScope('quay.io'), options)).removedFrom, []);
  assert.equal((await eraseCredential(parseLoginScope('quay.io/ns'), options)).removedFrom.length, 1);
  assert.equal((await source.find('quay.io', 'ns/x')).credential.kind, 'anonymous');
});

test('--authfile, REGISTRY_AUTH_FILE and DOCKER_CONFIG choose the file', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const hub = parseLoginScope('docker.io');
  await storeCredential(hub, alice, { environment: machine.environment, authFile: 'new/mine.json' });
  assert.deepEqual(Object.keys(JSON.parse(machine.read('new/mine.json')).auths), ['docker.io']);
  await storeCredential(hub, alice, {
    environment: machine.with({ REGISTRY_AUTH_FILE: machine.path('r.json') }),
  });
  assert.deepEqual(Object.keys(JSON.parse(machine.read('r.json')).auths), ['docker.io']);
  const docker = { environment: machine.with({ DOCKER_CONFIG: machine.path('dc') }) };
  assert.deepEqual(await storeCredential(hub, alice, docker), { writtenTo: machine.path('dc/config.json') });
  // Docker finds the Hub under this key only.
  assert.deepEqual(Object.keys(JSON.parse(machine.read('dc/config.json')).auths), [
    'https://index.docker.io/v1/',
  ]);
  await assert.rejects(storeCredential(parseLoginScope('quay.io/ns'), alice, docker), (error) =>
    isImgfsError(error, 'unsupported'),
  );
});

test('without a session the login goes below ~/.config', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const gone = machine.with({ XDG_RUNTIME_DIR: '/proc/none' });
  const result = await storeCredential(parseLoginScope('quay.io'), alice, { environment: gone });
  assert.equal(result.writtenTo, machine.path('~/.config/containers/auth.json'));
  const nowhere = { ...gone, home: undefined };
  await assert.rejects(
    storeCredential(parseLoginScope('quay.io'), alice, { environment: nowhere }),
    (error) => isImgfsError(error, 'config'),
  );
});

test('where folders cannot be made, making them fails instead of spinning', { timeout }, async () => {
  await assert.rejects(makeFolder('/proc/imgfs/a/b'), { code: 'ENOENT' });
});

test('a login that another place shadows says so', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const auths = JSON.stringify({ auths: { 'quay.io': { auth: basic('env', 'p') } } });
  const options = { environment: machine.with({ DOCKER_AUTH_CONFIG: auths }) };
  const result = await storeCredential(parseLoginScope('quay.io'), alice, options);
  assert.equal(result.shadowedBy, '$DOCKER_AUTH_CONFIG');
  const logout = await eraseCredential(parseLoginScope('quay.io'), options);
  assert.deepEqual(logout, { removedFrom: [result.writtenTo], stillFoundIn: '$DOCKER_AUTH_CONFIG' });
});

test('a configured helper gets the login, and the file does not', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const script = [
    `cd ${machine.folder}`,
    'case $1 in',
    'store) cat > kept;;',
    'get) [ -f kept ] && cat kept || { echo "credentials not found in native keychain"; exit 1; };;',
    'erase) [ -f kept ] && rm kept || { echo "credentials not found in native keychain"; exit 1; };;',
    'esac',
  ];
  machine.helper('a', script.join('\n'));
  machine.write('run-user/containers/auth.json', { credHelpers: { 'quay.io': 'a' } });
  const options = { environment: machine.environment };
  const scope = parseLoginScope('quay.io');
  assert.deepEqual(await storeCredential(scope, alice, options), { writtenTo: 'docker-credential-a' });
  assert.doesNotMatch(machine.read('run-user/containers/auth.json'), /auths/);
  assert.deepEqual((await createAuthSource(options).find('quay.io', 'x')).credential, alice);
  await assert.rejects(storeCredential(parseLoginScope('quay.io/ns'), alice, options), (error) =>
    isImgfsError(error, 'unsupported'),
  );
  assert.deepEqual(await eraseCredential(scope, options), { removedFrom: ['docker-credential-a'] });
  assert.deepEqual(await eraseCredential(scope, options), { removedFrom: [] });
});

test('refresh and bearer tokens survive a round trip', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const options = { environment: machine.environment };
  for (const credential of [
    { kind: 'identity-token', token: 'refresh' },
    { kind: 'registry-token', token: 'bearer' },
  ] as const) {
    await storeCredential(parseLoginScope('quay.io'), credential, options);
    assert.deepEqual((await createAuthSource(options).find('quay.io', 'x')).credential, credential);
  }
  await assert.rejects(storeCredential(parseLoginScope('quay.io'), { kind: 'anonymous' }, options));
});

test('a file that is a link stays one', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.write('dotfiles/auth.json', { keep: 1 });
  mkdirSync(machine.path('run-user/containers'));
  symlinkSync(machine.path('dotfiles/auth.json'), machine.path('run-user/containers/auth.json'));
  await storeCredential(parseLoginScope('quay.io'), alice, { environment: machine.environment });
  assert.ok(lstatSync(machine.path('run-user/containers/auth.json')).isSymbolicLink());
  assert.equal(JSON.parse(machine.read('dotfiles/auth.json')).keep, 1);
});

test('a damaged file is never overwritten', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const path = machine.write('run-user/containers/auth.json', '{"auths": {');
  const work = storeCredential(parseLoginScope('quay.io'), alice, { environment: machine.environment });
  await assert.rejects(work, (error) => isImgfsError(error, 'config') && error.message.includes(path));
  assert.equal(machine.read('run-user/containers/auth.json'), '{"auths": {');
});

test('two logins at the same moment both stay', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const path = machine.write('auth.json', { auths: {} });
  let disturbed = false;
  await editJsonFile(path, (root) => {
    if (!disturbed) {
      disturbed = true;
      machine.write('auth.json', { auths: { 'other.io': { auth: 'YTpi' } } });
    }
    (root['auths'] as Record<string, unknown>)['mine.io'] = { auth: 'YTpi' };
    return true;
  });
  assert.deepEqual(Object.keys(JSON.parse(machine.read('auth.json')).auths), ['other.io', 'mine.io']);
  assert.deepEqual(
    readdirSync(machine.folder).filter((name) => name.includes('auth.json')),
    ['auth.json'],
  );
});

test(
  'a folder that is not ours falls through to the next place',
  { timeout, skip: process.getuid?.() === 0 },
  async (t) => {
    const machine = makeMachine(t);
    chmodSync(machine.path('run-user'), 0o500);
    const scope = parseLoginScope('quay.io');
    const work = storeCredential(scope, alice, { environment: machine.environment });
    const { writtenTo } = await work.finally(() => {
      chmodSync(machine.path('run-user'), 0o700);
    });
    assert.equal(writtenTo, machine.path('~/.config/containers/auth.json'));
  },
);

test('scopes are parsed as the peers do', { timeout }, () => {
  assert.deepEqual(parseLoginScope('https://index.docker.io/v1/'), { host: 'docker.io' });
  assert.deepEqual(parseLoginScope('Reg.Example:5000/'), { host: 'reg.example:5000' });
  assert.deepEqual(parseLoginScope('quay.io/a/b'), { host: 'quay.io', namespace: 'a/b' });
  for (const text of ['', 'alpine', 'quay.io/a:tag', 'a b.io', 'quay.io/../x']) {
    assert.throws(
      () => parseLoginScope(text),
      (error) => isImgfsError(error, 'name-invalid'),
    );
  }
});
