/**
 * Programs at work inside an image: Python and Perl with their libraries in the mount, git in a repository, ripgrep.
 * The image is made of this machine's own libraries; `IMGFS_TEST_LAYOUTS` (see images/umoci.test.ts) names images that
 * hold a Debian with python3, perl and git of the same release, which then are run too.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { hasCommand, mustRun, run, skipWithout } from '../support/child.js';
import { buildImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { layoutsToCompare } from '../support/layout-tree.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const timeoutMs = 60_000;

/** What Python imports: packages, C extensions and a few hundred files. */
const pythonProgram = `
import asyncio, csv, email.message, json, sqlite3, sys, unittest, xml.dom.minidom
home = sys.argv[1]
for module in (asyncio, csv, email.message, json, unittest, xml.dom.minidom): assert module.__file__.startswith(home), module
import compileall, io
print(json.dumps({'sum': sum(json.loads('[1, 2, 3]'))}))
`;

async function pythonIn(rootfs: string): Promise<void> {
  const home = join(rootfs, 'usr');
  const env = { PYTHONHOME: home, PYTHONPATH: undefined, PYTHONDONTWRITEBYTECODE: '1' };
  const { stdout } = await mustRun('/usr/bin/python3', ['-B', '-c', pythonProgram, home], { env, timeoutMs });
  assert.equal(stdout, '{"sum": 6}\n');
}

async function perlIn(rootfs: string): Promise<void> {
  const { stdout: paths } = await mustRun('perl', ['-e', 'print join "\n", @INC']);
  const library = paths
    .split('\n')
    .filter((path) => path.startsWith('/usr/'))
    .map((path) => join(rootfs, path));
  const program = `use JSON::PP; use Text::Wrap; use File::Find;
    print encode_json({ from => $INC{"JSON/PP.pm"}, sum => 1 + 2 }), "\n";`;
  const env = { PERL5LIB: library.join(':') };
  const { stdout } = await mustRun('perl', ['-e', program], { env, timeoutMs });
  const answer = JSON.parse(stdout) as { from: string; sum: number };
  assert.equal(answer.sum, 3);
  assert.ok(answer.from.startsWith(rootfs), answer.from);
}

/** A tar of this machine's Python and Perl libraries, and a git repository, as one compressed layer. */
async function makeLayer(folder: string): Promise<Uint8Array> {
  const repository = join(folder, 'srv/repository');
  await mkdir(repository, { recursive: true });
  const git = (...words: string[]) =>
    mustRun('git', ['-C', repository, '-c', 'user.name=t', '-c', 'user.email=t@example.org', ...words]);
  await git('init', '-q');
  for (let commit = 0; commit < 20; commit += 1) {
    await writeFile(join(repository, `file-${commit % 7}`), `commit ${commit}, needle ${commit * commit}\n`);
    await git('add', '.');
    await git('commit', '-q', '-m', `commit ${commit}`);
  }
  const { stdout } = await mustRun('sh', [
    '-c',
    'ls -d /usr/lib/python3.* /usr/share/perl /usr/lib/*/perl-base /usr/lib/*/perl',
  ]);
  const libraries = stdout
    .trim()
    .split('\n')
    .map((path) => path.slice(1));
  const layer = join(folder, 'layer.tar.gz');
  const script = `tar c --exclude=__pycache__ --exclude='*/test' --exclude='*/config-*' -C "$1" srv -C / ${libraries.join(' ')} | gzip -1 >"$2"`;
  await mustRun('sh', ['-c', script, '-', folder, layer], { timeoutMs });
  return readFile(layer);
}

const skip = skipWithoutMount('native') || skipWithout('python3', 'perl', 'git', 'tar', 'gzip');

describe('programs at work inside an image', { skip, timeout: 300_000 }, () => {
  let directory = '';
  let mountPoint = '';
  let imgfs: ImgfsCommand;
  const made = (): string => join(mountPoint, 'made/v1/rootfs');

  before(async () => {
    directory = await makeTempDir('programs');
    mountPoint = join(directory, 'mnt');
    await mkdir(mountPoint);
    imgfs = imgfsIn(directory);
    const packed = await makeLayer(directory);
    const image = await buildImage({ layers: [{ entries: gunzipSync(packed), packed }] });
    await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
    const stores = layoutsToCompare().map(({ ours }, index) => `image${index}=oci:${ours.layout}`);
    const words = [`made=oci:${join(directory, 'layout')}`, ...stores].flatMap((store) => ['--store', store]);
    const { code, stderr } = await imgfs(['mount', mountPoint, ...words]);
    assert.equal(code, 0, stderr);
  });

  after(async () => {
    if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
    await removeTempDir(directory);
  });

  test('python3 with PYTHONHOME in the mount', () => pythonIn(made()));

  test('perl with PERL5LIB in the mount', () => perlIn(made()));

  test('git log, fsck, grep and clone in a repository of the image', async () => {
    const repository = join(made(), 'srv/repository');
    const env = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      GIT_OPTIONAL_LOCKS: '0',
    };
    const git = async (...words: string[]) => (await mustRun('git', words, { env, timeoutMs })).stdout;
    assert.equal((await git('-C', repository, 'log', '--oneline')).trim().split('\n').length, 20);
    await git('-C', repository, 'fsck', '--full');
    assert.equal(await git('-C', repository, 'status', '--porcelain'), '');
    assert.match(await git('-C', repository, 'grep', 'needle'), /needle 361/);
    await git('clone', '-q', repository, join(directory, 'clone'));
    assert.equal((await readdir(join(directory, 'clone'))).length, 8);
  });

  test('ripgrep finds what grep finds', async (t) => {
    if (!hasCommand('rg')) return t.skip('needs rg');
    const words = ['import os', join(made(), 'usr/lib')];
    const found = await run('rg', ['-l', '--no-ignore', '--hidden', '-F', '-a', ...words], { timeoutMs });
    const expected = await run('grep', ['-rlF', '-a', ...words], { timeoutMs });
    const names = (text: string): string[] => text.trim().split('\n').toSorted();
    assert.ok(names(found.stdout).length > 3);
    assert.deepEqual(names(found.stdout), names(expected.stdout));
  });

  for (const [index, { ours }] of layoutsToCompare().entries()) {
    test(`programs of ${ours.layout}:${ours.tag}`, async () => {
      const rootfs = join(mountPoint, `image${index}`, ours.tag, 'rootfs');
      await pythonIn(rootfs);
      await perlIn(rootfs);
    });
  }
});
