import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { configKeys, configPath, readFileConfig } from '../../../src/cli/config-file.js';
import { parseNamedStore } from '../../../src/cli/named-store.js';
import type { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { parseToml } from '../../../src/store/registry/config/toml-document.js';
import { tempDir } from '../../support/temp.js';

const limits = { timeout: 30_000 };

describe('configuration file', limits, () => {
  it('names stores; paths count from where it is', async (t) => {
    const directory = await tempDir(t, 'config');
    const path = join(directory, 'config.toml');
    await writeFile(
      path,
      '[stores]\nold = "docker-archive:old.tar"\npodman = "containers-storage:"\nk8s = "containerd:[k8s.io@/run/c]"\ntars = "tarball:a.tar:/b.tar"\n',
    );
    assert.deepEqual((await readFileConfig(path)).stores, [
      { name: 'old', location: `docker-archive:${directory}/old.tar` },
      { name: 'podman', location: 'containers-storage:' },
      { name: 'k8s', location: 'containerd:[k8s.io@/run/c]' },
      { name: 'tars', location: `tarball:${directory}/a.tar:/b.tar` },
    ]);
    assert.deepEqual(await readFileConfig(join(directory, 'absent')), {
      path: join(directory, 'absent'),
      exists: false,
      stores: [],
    });
  });

  it('names a policy, by a path from where it is', async (t) => {
    const directory = await tempDir(t, 'config');
    const path = join(directory, 'config.toml');
    await writeFile(path, 'policy = "my/policy.json"\n');
    assert.equal((await readFileConfig(path)).policyFile, join(directory, 'my/policy.json'));
    await writeFile(path, 'policy = 7\n');
    await assert.rejects(readFileConfig(path), { code: 'config', message: /policy: is not a string/ });
  });

  it('every key is in the README, whose example is accepted', async (t) => {
    const readme = await readFile(new URL('../../../../README.md', import.meta.url), 'utf8');
    const example = /```toml\n(policy[^]*?)```/.exec(readme)?.[1] ?? '';
    for (const key of configKeys) assert.match(example, new RegExp(`^\\[?${key}\\b`, 'm'), key);
    const path = join(await tempDir(t, 'config'), 'config.toml');
    await writeFile(path, example);
    const { stores, policyFile } = await readFileConfig(path);
    assert.ok(stores.length > 2 && policyFile !== undefined);
    for (const key of Object.keys(parseToml(Buffer.from(example), path).table))
      assert.ok(configKeys.includes(key));
  });

  it('says file, key and reason when it is wrong', async (t) => {
    const path = join(await tempDir(t, 'config'), 'config.toml');
    for (const [text, says, next] of [
      ['[stores', /line 1/],
      ['store = 1', /store: is not known here/, 'did you mean stores?'],
      ['plicy = "x"', /plicy: is not known here/, 'did you mean policy?'],
      ['mirrors = 1', /mirrors: is not known here/, 'known: policy, stores'],
      ['stores = 1', /stores: is not a table/],
      ['[stores]\na = 1', /stores\.a: is not a string/],
      ['[stores]\na = "nothing"', /stores\.a:.*no transport/],
      ['[stores]\n"a.b" = "oci:x"', /no name of a store/],
      ['[stores]\na = "docker://x/y"', /is a registry/],
      ['[stores]\na = "containerd:[oops"', /place of an engine/],
    ] as readonly (readonly [string, RegExp, string?])[]) {
      await writeFile(path, text);
      await assert.rejects(readFileConfig(path), (error: Error) => {
        assert.match(error.message, says);
        assert.ok(error.message.includes(path));
        if (next !== undefined) assert.equal((error as ImgfsError).hint, next);
        return true;
      });
    }
  });

  it('is looked for where XDG says', () => {
    assert.equal(configPath({ IMGFS_CONFIG: '/a' }), '/a');
    assert.equal(configPath({ XDG_CONFIG_HOME: '/c' }), '/c/imgfs/config.toml');
    assert.equal(configPath({ XDG_CONFIG_HOME: 'relative', HOME: '/h' }), '/h/.config/imgfs/config.toml');
  });
});

describe('--store', limits, () => {
  it('takes every local transport', () => {
    assert.deepEqual(parseNamedStore('a=oci:/x/y'), { name: 'a', location: 'oci:/x/y' });
    assert.deepEqual(parseNamedStore('a=docker-daemon:'), { name: 'a', location: 'docker-daemon:' });
    for (const wrong of ['a', '=oci:x', 'a.b=oci:x', 'a=x', 'a=nope:./x', 'a=containers-storage:[x']) {
      assert.throws(() => parseNamedStore(wrong), { code: 'usage' }, wrong);
    }
  });
});
