import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { relative } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { isImgfsError } from '../../../../../src/errors/imgfs-error.js';
import { createAuthSource } from '../../../../../src/store/registry/config/auth-file.js';
import { createCredentialHelper } from '../../../../../src/store/registry/config/credential-helper.js';
import { basic, makeMachine } from './machine.js';

const timeout = 10_000;
const answer = (user: string, secret: string) =>
  `echo '${JSON.stringify({ Username: user, Secret: secret })}'`;

test('get sends the server alone on stdin and understands both kinds of answer', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper(
    'a',
    `cat > ${machine.folder}/input; echo "$#:$1" > ${machine.folder}/arguments; ${answer('u', 's')}`,
  );
  machine.helper('token', answer('<token>', 'refresh'));
  machine.helper('none', 'echo "credentials not found in native keychain"; exit 1');
  const get = async (name: string) => await createCredentialHelper(name, machine.environment).get('quay.io');
  assert.deepEqual(await get('a'), { kind: 'basic', username: 'u', password: 's' });
  assert.equal(machine.read('input'), 'quay.io');
  assert.equal(machine.read('arguments'), '1:get\n');
  assert.deepEqual(await get('token'), { kind: 'identity-token', token: 'refresh' });
  assert.equal(await get('none'), undefined);
});

test('store sends the secret on stdin, erase and list follow the protocol', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const script = [
    `echo "$*" >> ${machine.folder}/arguments`,
    `case $1 in store|erase) cat > ${machine.folder}/$1;; list) echo '{"quay.io":"alice","x.io":"bob"}';; esac`,
  ];
  machine.helper('a', script.join('\n'));
  const helper = createCredentialHelper('a', machine.environment);
  await helper.store('quay.io', 'alice', 'hunter2');
  assert.deepEqual(JSON.parse(machine.read('store')), {
    ServerURL: 'quay.io',
    Username: 'alice',
    Secret: 'hunter2',
  });
  assert.equal(await helper.erase('quay.io'), true);
  assert.equal(machine.read('erase'), 'quay.io');
  assert.deepEqual(
    await helper.list(),
    new Map([
      ['quay.io', 'alice'],
      ['x.io', 'bob'],
    ]),
  );
  assert.equal(machine.read('arguments'), 'store\nerase\nlist\n');
});

for (const name of ['', '../x', 'a b', 'a;b', '$(x)', 'a/b', 'a\nb', 'ü', 'a'.repeat(129)]) {
  test(`the helper name ${JSON.stringify(name.slice(0, 10))} is refused`, { timeout }, async (t) => {
    const { environment } = makeMachine(t);
    assert.throws(
      () => createCredentialHelper(name, environment),
      (error) => isImgfsError(error, 'config'),
    );
  });
}

test('a server with control characters is never sent', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', `touch ${machine.folder}/ran; ${answer('u', 's')}`);
  const helper = createCredentialHelper('a', machine.environment);
  for (const server of ['a.io\nb.io', 'a.io\r', 'a\0', 'a b', '', 'a'.repeat(2000)]) {
    await assert.rejects(helper.get(server), (error) => isImgfsError(error, 'config'));
  }
  assert.throws(() => machine.read('ran'));
});

test('failures are config errors with a reason and without the secret', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('fails', 'echo "no keyring \\033[31m"; exit 3');
  machine.helper('nonsense', 'echo hunter2');
  machine.helper('partial', `echo '{"Username":"u"}'`);
  machine.helper('echoes', 'cat; exit 1');
  machine.helper('floods', 'head -c 2000000 /dev/zero; sleep 60');
  const fails = async (name: string, pattern: RegExp, verb: 'get' | 'store' = 'get') => {
    const helper = createCredentialHelper(name, machine.environment);
    const work = verb === 'get' ? helper.get('quay.io') : helper.store('quay.io', 'u', 'hunter2');
    await assert.rejects(work, (error) => {
      assert.ok(isImgfsError(error, 'config'));
      assert.match(error.message, pattern);
      assert.ok(!error.message.includes('hunter2') && !error.message.includes('\u001b'));
      return true;
    });
  };
  await fails('fails', /docker-credential-fails get: failed with exit code 3: no keyring \\x1b/);
  await fails('nonsense', /not a JSON object/);
  await fails('partial', /no Username and Secret/);
  await fails('echoes', /exit code 1$/, 'store');
  await fails('floods', /over 1048576 bytes/);
  await fails('missing', /not on PATH/);
});

test(
  'a helper that hangs is killed at its deadline, also when a child of it holds the pipe',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    machine.helper('hangs', 'sleep 8 & sleep 8');
    const helper = createCredentialHelper('hangs', machine.environment, { deadlineMs: 200 });
    const before = Date.now();
    const pipes = () => process.getActiveResourcesInfo().filter((name) => name === 'PipeWrap').length;
    const pipesBefore = pipes();
    await assert.rejects(helper.get('quay.io'), /no answer within 200 ms/);
    assert.ok(Date.now() - before < 3_000);
    await setTimeout(50);
    assert.deepEqual(pipes(), pipesBefore, 'a pipe is still open, and keeps this process alive');
  },
);

test('a signal interrupts the question', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('hangs', 'exec sleep 8');
  const helper = createCredentialHelper('hangs', machine.environment);
  const abort = AbortSignal.timeout(100);
  await assert.rejects(helper.get('quay.io', abort), (error) => isImgfsError(error, 'interrupted'));
});

test('programs are looked up in absolute directories only', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', answer('u', 's'));
  mkdirSync(machine.path('d/docker-credential-a'), { recursive: true });
  const lookup = async (path: string) =>
    await createCredentialHelper('a', machine.with({ PATH: path })).get('q.io');
  await assert.rejects(lookup(`${relative(process.cwd(), machine.path('bin'))}:.::`), /not on PATH/);
  assert.notEqual(await lookup(`${machine.path('d')}:${machine.path('bin')}:/usr/bin:/bin`), undefined);
});

test('the helper named for a host is asked before entries, and has to work', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', answer('helper', 's'));
  const config = {
    credHelpers: { 'quay.io': 'a', 'x.io': 'gone' },
    auths: { 'quay.io': { auth: basic('f', 'p') } },
  };
  machine.write('~/.docker/config.json', config);
  const source = createAuthSource({ environment: machine.environment });
  const found = await source.find('quay.io', 'a/b');
  assert.equal(found.credential.kind === 'basic' && found.credential.username, 'helper');
  assert.match(found.origin, /^docker-credential-a for quay\.io, by credHelpers of .*config\.json$/);
  await assert.rejects(source.find('x.io', 'a'), /docker-credential-gone get: the program is not on PATH/);
});

test('the Hub is asked for under the names of Docker and of podman', { timeout }, async (t) => {
  const machine = makeMachine(t);
  const ask = (known: string) =>
    `read s; [ "$s" = "${known}" ] && ${answer(known, 's')} || { echo "credentials not found in native keychain"; exit 1; }`;
  machine.write('~/.docker/config.json', { credHelpers: { 'https://index.docker.io/v1/': 'a' } });
  for (const known of ['https://index.docker.io/v1/', 'docker.io']) {
    machine.helper('a', `printf '%s' "$(cat)" | { ${ask(known).replace('read s;', 's=$(cat);')}; }`);
    const { credential } = await createAuthSource({ environment: machine.environment }).find(
      'docker.io',
      'x/y',
    );
    assert.equal(credential.kind === 'basic' && credential.username, known);
  }
});

test(
  'a default helper counts before entries of the host and behind those of a namespace',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    machine.helper(
      'a',
      `case $(cat) in quay.io) ${answer('store', 's')};; *) echo "credentials not found in native keychain"; exit 1;; esac`,
    );
    machine.write('~/.docker/config.json', {
      credsStore: 'a',
      credHelpers: { 'off.io': '' },
      auths: {
        'quay.io': { auth: basic('stale', 'p') },
        'quay.io/ns': { auth: basic('namespace', 'p') },
        'other.io': { auth: basic('file', 'p') },
        'off.io': { auth: basic('off', 'p') },
      },
    });
    const source = createAuthSource({ environment: machine.environment });
    const name = async (host: string, repository: string) => {
      const { credential } = await source.find(host, repository);
      return credential.kind === 'basic' ? credential.username : credential.kind;
    };
    assert.equal(await name('quay.io', 'x'), 'store');
    assert.equal(await name('quay.io', 'ns/x'), 'namespace');
    assert.equal(await name('other.io', 'x'), 'file');
    assert.equal(await name('off.io', 'x'), 'off');
  },
);

test(
  'a default helper that is not installed keeps nobody from public images, and is told',
  { timeout },
  async (t) => {
    const machine = makeMachine(t);
    machine.write('~/.docker/config.json', { credsStore: 'desktop.exe' });
    const source = createAuthSource({ environment: machine.environment });
    const { credential, origin } = await source.find('quay.io', 'x');
    assert.equal(credential.kind, 'anonymous');
    assert.match(origin, /docker-credential-desktop\.exe get: the program is not on PATH/);
    const { steps } = await source.explain('quay.io', 'x');
    assert.ok(steps.some((step) => step.outcome === 'unavailable'));
  },
);

test('many callers share one process', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', `echo x >> ${machine.folder}/count; sleep 0.2; ${answer('u', 's')}`);
  machine.write('~/.docker/config.json', { credHelpers: { 'quay.io': 'a' } });
  const source = createAuthSource({ environment: machine.environment });
  await Promise.all(Array.from({ length: 20 }, async () => await source.find('quay.io', 'x')));
  assert.equal(machine.read('count'), 'x\n');
  await source.find('quay.io', 'x');
  assert.equal(machine.read('count'), 'x\nx\n');
});

test('credential-helpers of registries.conf are asked in their order', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', 'echo "credentials not found in native keychain"; exit 1');
  machine.helper('b', answer('b', 's'));
  machine.write('~/.docker/config.json', { auths: { 'quay.io': { auth: basic('file', 'p') } } });
  const name = async (...helpers: string[]) => {
    const source = createAuthSource({
      environment: machine.environment,
      globalHelpers: async () => await Promise.resolve(helpers),
    });
    const { credential } = await source.find('quay.io', 'x');
    return credential.kind === 'basic' ? credential.username : credential.kind;
  };
  assert.equal(await name('a', 'containers-auth.json', 'b'), 'file');
  assert.equal(await name('a', 'b', 'containers-auth.json'), 'b');
  assert.equal(await name('a'), 'anonymous');
});

test('a helper does not see the credentials in DOCKER_AUTH_CONFIG', { timeout }, async (t) => {
  const machine = makeMachine(t);
  machine.helper('a', `env > ${machine.folder}/env; ${answer('u', 's')}`);
  const environment = machine.with({ DOCKER_AUTH_CONFIG: '{"auths":{}}', HOME: '/somewhere' });
  await createCredentialHelper('a', environment).get('quay.io');
  assert.match(machine.read('env'), /HOME=\/somewhere/);
  assert.doesNotMatch(machine.read('env'), /DOCKER_AUTH_CONFIG/);
});
