/** `login`, `logout` and `auth why` against a registry that wants a password. */
import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

for (const kind of ['basic', 'bearer'] as const) {
  describe(`imgfs login, ${kind}`, { timeout: 120_000 }, () => {
    let registry: FaultRegistry;
    let directory: string;
    let imgfs: ImgfsCommand;

    before(async () => {
      registry = await startFaultRegistry({ auth: { kind, users: { alice: 'secret-1' } } });
      directory = await makeTempDir('login');
      imgfs = imgfsIn(directory);
      registry.addImage('group/app', await sampleImage(), 'v1');
    });

    after(async () => {
      await registry.close();
      await removeTempDir(directory);
    });

    test('without a login the exit code is 4 and the hint names the way in', async () => {
      const { code, stderr } = await imgfs(['resolve', `${registry.host}/group/app:v1`]);
      assert.equal(code, 4, stderr);
      assert.match(stderr, /login/);
    });

    test('a wrong password is refused and not kept', async () => {
      const { code } = await imgfs(['login', registry.host, '-u', 'alice', '--password-stdin'], {
        input: 'wrong\n',
      });
      assert.equal(code, 4);
      assert.equal((await imgfs(['login', '--get-login', registry.host])).code, 3);
    });

    test('a right one is kept privately, used, explained, and forgotten', async () => {
      const login = await imgfs(['login', registry.host, '-u', 'alice', '--password-stdin'], {
        input: 'secret-1\n',
      });
      assert.equal(login.code, 0, login.stderr);
      const file = join(directory, 'run', 'containers', 'auth.json');
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.ok(JSON.parse(await readFile(file, 'utf8')).auths[registry.host]);
      assert.equal((await imgfs(['login', '--get-login', registry.host])).stdout, 'alice\n');
      assert.equal((await imgfs(['resolve', `${registry.host}/group/app:v1`])).code, 0);
      const why = await imgfs(['auth', 'why', `${registry.host}/group/app`]);
      assert.match(why.stdout, /matched .*auth\.json/);
      assert.doesNotMatch(why.stdout, /secret-1|YWxpY2U6c2VjcmV0LTE/);
      assert.equal((await imgfs(['logout', registry.host])).code, 0);
      assert.equal((await imgfs(['resolve', `${registry.host}/group/app:v1`])).code, 4);
      assert.equal((await imgfs(['logout', registry.host])).code, 3);
    });

    test('--creds works for one command', async () => {
      const { code, stderr } = await imgfs([
        'resolve',
        `${registry.host}/group/app:v1`,
        '--creds',
        'alice:secret-1',
      ]);
      assert.equal(code, 0, stderr);
    });
  });
}
