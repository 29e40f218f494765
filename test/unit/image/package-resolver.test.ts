/** Packages in templates. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gitPackageResolver, resolvePackages } from '../../../src/image/package-resolver.js';
import { hasCommand } from '../../support/child.js';
import { tempDir } from '../../support/temp.js';

const options = { timeout: 20_000, skip: hasCommand('git') ? false : 'git is not installed' };

test(
  'a package is the image of its git tree, dirty when files differ, or of its build.yml',
  options,
  async (t) => {
    const directory = await tempDir(t, 'packages');
    const git = (...words: string[]): string =>
      execFileSync('git', ['-C', directory, '-c', 'user.name=t', '-c', 'user.email=t@t', ...words], {
        encoding: 'utf8',
      }).trim();
    git('init', '-q');
    for (const name of ['init', 'runc']) await mkdir(join(directory, 'pkg', name), { recursive: true });
    await writeFile(
      join(directory, 'pkg/init/build.yml'),
      'image: init-x # its name\norg: me\nnetwork: true\n',
    );
    await writeFile(join(directory, 'pkg/runc/build.yml'), 'tag: v9\n');
    git('add', '.');
    git('commit', '-qm', 'x');
    const tree = git('rev-parse', 'HEAD:pkg/init');
    const resolver = gitPackageResolver({ directory });
    assert.equal(await resolver('pkg/init'), `docker.io/me/init-x:${tree}`);
    const template = 'init:\n  - "@pkg:pkg/init"\n  - @pkg:pkg/runc\n  - other/image:v1\n';
    const resolved = `init:\n  - "docker.io/me/init-x:${tree}"\n  - docker.io/linuxkit/runc:v9\n  - other/image:v1\n`;
    assert.equal(await resolvePackages(template, resolver), resolved);
    await writeFile(join(directory, 'pkg/init/new'), 'x');
    assert.equal(await resolver('pkg/init'), `docker.io/me/init-x:${tree}-dirty`);
    await assert.rejects(resolver('pkg/none'), { code: 'not-found' });
  },
);
