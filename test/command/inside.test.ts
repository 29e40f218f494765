/** Looking into images without a mount: paths inside, `find`, `tree`, `stat`, `diff`, `waste`, `index`. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { digestOf } from '../../src/oci/digest.js';
import { buildImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { addToLayout, writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const base = {
  entries: [
    { name: 'etc/' },
    { name: 'etc/os-release', linkname: '/usr/lib/os-release' },
    { name: 'usr/lib/os-release', content: 'ID=test\n' },
    { name: 'usr/lib/big', content: Buffer.alloc(5000, 7) },
    { name: 'loop', linkname: 'loop' },
    { name: 'up', linkname: '../../../../../../manifest.json' },
  ],
};
const upper = {
  entries: [
    { name: 'usr/lib/.wh.big' },
    { name: 'etc/new', content: 'new\n' },
    { name: 'usr/lib/os-release', content: 'ID=next\n', mtime: 1_700_000_001 },
  ],
};

describe('imgfs inside images, without a mount', { timeout: 300_000 }, () => {
  let directory = '';
  let imgfs: ImgfsCommand;
  const image = (tag: string): string => `oci:${join(directory, 'layout')}:${tag}`;

  before(async () => {
    directory = await makeTempDir('inside-command');
    imgfs = imgfsIn(directory);
    await writeLayout(join(directory, 'layout'), [
      { image: await buildImage({ layers: [base] }), name: 'v1' },
      { image: await buildImage({ layers: [base, upper] }), name: 'v2' },
    ]);
  });
  after(async () => {
    await removeTempDir(directory);
  });

  test('cat follows links as a container would, and never out of the image', async () => {
    const { stdout, stderr } = await imgfs(['cat', `${image('v1')}:/etc/os-release`]);
    assert.equal(stdout, 'ID=test\n', stderr);
    assert.equal((await imgfs(['cat', `${image('v1')}:/loop`])).code, 2, 'a loop of links');
    const up = await imgfs(['cat', `${image('v1')}:/up`]);
    assert.equal(up.code, 3, 'a link that climbs stays in the rootfs');
  });

  test('ls -l and stat show links, layers and attributes', async () => {
    const { stdout } = await imgfs(['ls', '-l', `${image('v1')}:/etc`]);
    assert.match(stdout, /^lrwxrwxrwx .* os-release -> \/usr\/lib\/os-release$/m);
    const facts = await imgfs(['stat', '--json', `${image('v2')}:/etc/new`]);
    const document = JSON.parse(facts.stdout) as { size: number; xattrs: Record<string, string> };
    assert.equal(document.size, 4);
    assert.equal(document.xattrs['user.imgfs.layer'], '1');
  });

  test('find prints paths inside the image, by type and name', async () => {
    const all = await imgfs(['find', `${image('v2')}:/`]);
    assert.deepEqual(all.stdout.trim().split('\n').sort(), [
      '/etc',
      '/etc/new',
      '/etc/os-release',
      '/loop',
      '/up',
      '/usr',
      '/usr/lib',
      '/usr/lib/os-release',
    ]);
    const some = await imgfs(['find', `${image('v2')}:/usr`, '--type', 'f', '--name', 'os-*']);
    assert.equal(some.stdout, '/usr/lib/os-release\n');
  });

  test('tree draws directories', async () => {
    const { stdout } = await imgfs(['tree', `${image('v1')}:/usr`]);
    assert.match(stdout, /└── lib\n {4}├── big\n {4}└── os-release\n/);
  });

  test('diff tells what was added, removed and changed, by indexes and by content', async () => {
    const { stdout, code } = await imgfs(['diff', image('v1'), image('v2')]);
    assert.equal(code, 1);
    assert.deepEqual(stdout.trim().split('\n').sort(), [
      'A /etc/new',
      'C /usr/lib/os-release  (mtime)',
      'D /usr/lib/big',
    ]);
    const deep = await imgfs(['diff', '--content', image('v1'), image('v2')]);
    assert.match(deep.stdout, /C \/usr\/lib\/os-release {2}\(content\)/);
    assert.equal((await imgfs(['diff', image('v1'), image('v1')])).code, 0);
  });

  test('waste counts bytes that no container sees', async () => {
    const { stdout } = await imgfs(['waste', '--json', image('v2')]);
    const report = JSON.parse(stdout) as { bytes: number; wastedBytes: number; largest: { path: string }[] };
    assert.deepEqual([report.bytes, report.wastedBytes], [5020, 5008]);
    assert.equal(report.largest[0]?.path, '/usr/lib/big');
  });

  test('find, tree, stat, ls, diff and waste work from indexes alone, when no layer can be had any more', async () => {
    const folder = await makeTempDir('indexes-alone');
    try {
      const layout = join(folder, 'layout');
      const cache = join(folder, 'cache');
      const [v1, v2] = [await buildImage({ layers: [base] }), await buildImage({ layers: [base, upper] })];
      await writeLayout(layout, [
        { image: v1, name: 'v1' },
        { image: v2, name: 'v2' },
      ]);
      const alone = (...words: string[]) => imgfs([...words, '--cache-dir', cache]);
      const of = (tag: string, path = ''): string => `oci:${layout}:${tag}${path}`;
      const built = await alone('index', 'build', of('v2'));
      assert.equal(built.code, 0, built.stderr);
      for (const { descriptor } of v2.layers) {
        const name = descriptor.digest.replace(':', '/');
        await rm(join(layout, 'blobs', name));
        await rm(join(cache, 'blobs', name), { force: true });
      }
      for (const kind of ['partial', 'decoded'])
        await rm(join(cache, kind), { recursive: true, force: true });
      assert.match((await alone('find', of('v2', ':/usr'))).stdout, /^\/usr\/lib\/os-release$/m);
      assert.match((await alone('tree', of('v2', ':/usr'))).stdout, /└── os-release\n/);
      assert.match(
        (await alone('ls', '-l', of('v2', ':/etc'))).stdout,
        /os-release -> \/usr\/lib\/os-release/,
      );
      assert.match((await alone('stat', of('v2', ':/etc/new'))).stdout, /\b4\b/);
      const changes = (await alone('diff', of('v1'), of('v2'))).stdout.trim().split('\n').toSorted();
      assert.deepEqual(changes, ['A /etc/new', 'C /usr/lib/os-release  (mtime)', 'D /usr/lib/big']);
      const waste = JSON.parse((await alone('waste', '--json', of('v2'))).stdout) as { wastedBytes: number };
      assert.equal(waste.wastedBytes, 5008);
      const read = await alone('cat', of('v2', ':/etc/new'));
      assert.deepEqual([read.code === 0, read.code === 3, read.stdout], [false, false, '']);
      assert.match(read.stderr, /which the manifest names/);
    } finally {
      await removeTempDir(folder);
    }
  });

  test('index build --check-diff-ids tells of a config that contradicts its layers', async () => {
    const good = await imgfs(['index', 'build', '--check-diff-ids', image('v2')]);
    assert.equal(good.code, 0, good.stderr);
    const made = await buildImage({ layers: [base, upper] });
    const [lower] = made.layers;
    assert.ok(lower !== undefined);
    // The config has another diffID, and the manifest the digest of that config.
    const wrong = `sha256:${'0'.repeat(64)}`;
    const config = Buffer.from(Buffer.from(made.config.bytes).toString().replace(lower.diffId, wrong));
    const digest = digestOf(config);
    const manifest = Buffer.from(
      Buffer.from(made.manifests[0]?.bytes ?? '')
        .toString()
        .replace(made.config.descriptor.digest, digest),
    );
    const blobs = [
      ...made.layers,
      { bytes: config, descriptor: { ...made.config.descriptor, digest, size: config.length } },
    ];
    const descriptor = { ...made.descriptor, digest: digestOf(manifest), size: manifest.length };
    const bad = { descriptor, blobs, manifests: [{ bytes: manifest, descriptor }] };
    await addToLayout(join(directory, 'layout'), { image: bad, name: 'bad' });
    const { code, stderr } = await imgfs(['index', 'build', '--check-diff-ids', image('bad')]);
    assert.equal(code, 6, stderr);
    assert.match(stderr, new RegExp(`${lower.descriptor.digest}.*decodes to ${lower.diffId}.*says ${wrong}`));
    assert.equal((await imgfs(['cat', `${image('bad')}:/etc/new`])).stdout, 'new\n');
    await imgfs(['index', 'rm', '--all']);
  });

  test('index lists and removes what build made', async () => {
    const built = await imgfs(['index', 'build', image('v2')]);
    assert.equal(built.stdout.trim().split('\n').length, 2, built.stderr);
    assert.equal((await imgfs(['index', 'ls'])).stdout.trim().split('\n').length, 2);
    assert.match((await imgfs(['index', 'rm', image('v1')])).stdout, /removed 1 /);
    assert.match((await imgfs(['index', 'rm', '--all'])).stdout, /removed 1 /);
    assert.equal((await imgfs(['index', 'ls'])).stdout, '');
  });
});
