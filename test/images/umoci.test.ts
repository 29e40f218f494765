/**
 * `rootfs/` against `umoci unpack`, in every attribute: an image with odd entries always, and the images of the
 * layouts in `IMGFS_TEST_LAYOUTS` (`/path:tag`, separated by spaces) by hand.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { openContentCache } from '../../src/content/disk.js';
import { createStoreDirectory } from '../../src/image/stores.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { createFileSystem } from '../../src/vfs/create-file-system.js';
import { ImageInside } from '../../src/vfs/inside/image-inside.js';
import {
  differences,
  listOurs,
  listUnpacked,
  ourXattrs,
  unpackedXattrs,
} from '../support/compare-unpacked.js';
import { walk } from '../support/file-system-walker.js';
import { buildImage } from '../support/image-builder.js';
import { writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const run = promisify(execFile);

const odd = await buildImage({
  layers: [
    {
      entries: [
        { name: './', mode: 0o751, mtime: 1_500_000_000 },
        { name: 'bin/', mode: 0o755 },
        { name: 'bin/su', content: 'set user id\n', mode: 0o4755, uid: 0, gid: 42 },
        { name: 'bin/linked', type: 'link', linkname: 'bin/su' },
        { name: 'tmp/', mode: 0o1777 },
        { name: 'etc/' },
        { name: 'etc/passwd', content: 'root:x:0:0\n', pax: { mtime: '1500000000.123456789' } },
        { name: 'etc/shadow', content: 'secret\n', mode: 0o640, gid: 42 },
        { name: 'etc/mtab', linkname: '../proc/mounts' },
        { name: 'etc/dangling', linkname: '/nowhere/at/all' },
        { name: 'var/lib/deep/file', content: 'without parents\n' },
        { name: 'replaced/' },
        { name: 'replaced/inner', content: 'gone\n' },
        { name: 'link-to-dir', linkname: 'var' },
        { name: 'opaque/' },
        { name: 'opaque/lower', content: 'hidden\n' },
        { name: 'zeros', content: Buffer.alloc(300_000) },
        { name: `long/${'n'.repeat(200)}/${'m'.repeat(200)}`, content: 'long names\n' },
        { name: 'Grüße/näme', content: 'utf-8\n' },
        { name: 'attributed', content: 'x', pax: { 'SCHILY.xattr.user.color': 'blue' } },
        { name: 'twice', content: 'first\n' },
        { name: 'twice', content: 'second, longer\n' },
      ],
    },
    {
      compression: 'none',
      entries: [
        { name: 'etc/' },
        { name: 'etc/.wh.shadow' },
        { name: 'replaced', content: 'a file now\n' },
        { name: 'opaque/' },
        { name: 'opaque/upper', content: 'shown\n' },
        { name: 'opaque/.wh..wh..opq' },
        { name: 'bin/again', type: 'link', linkname: 'bin/su' },
        { name: 'pipe', type: 'fifo', mode: 0o600 },
      ],
    },
    {
      entries: [
        { name: 'bin/.wh.linked' },
        { name: 'link-to-dir/through', content: 'a parent that is a link\n' },
      ],
    },
  ],
});

/** Compare one image of a layout. */
async function compare(scratch: string, layout: string, tag: string): Promise<void> {
  const bundle = join(scratch, `bundle-${tag}`);
  const startedAt = Date.now();
  await run('umoci', ['unpack', '--image', `${layout}:${tag}`, bundle], { timeout: 300_000 });
  const unpacked = join(bundle, 'rootfs');
  const content = await openContentCache({ directory: join(scratch, 'cache'), maxBytes: 2 ** 33 });
  const stores = createStoreDirectory({
    openRegistry: () => Promise.reject(new Error('no registry here')),
    locals: new Map([['local', async () => openLayoutStore(layout)]]),
  });
  const layers = new LayerStore({ cache: content });
  const fileSystem = createFileSystem({
    stores,
    content,
    extensions: [new ImageInside({ layers, content })],
  });
  try {
    const walker = walk(fileSystem, 120_000);
    const root = `local/${tag}/rootfs`;
    const ours = await listOurs(fileSystem, walker, root);
    const theirs = await listUnpacked(unpacked);
    assert.deepEqual(differences(ours, theirs, startedAt), []);
    const xattrs = await ourXattrs(fileSystem, walker, root, ours.keys());
    assert.deepEqual(xattrs, await unpackedXattrs(unpacked));
  } finally {
    await fileSystem.close();
    await stores.close();
    await content.close();
  }
}

const isRoot = process.getuid?.() === 0;
const missing = await run('umoci', ['--version']).then(
  () =>
    run('getfattr', ['--version']).then(
      () => (isRoot ? false : 'needs root'),
      () => 'needs getfattr',
    ),
  () => 'needs umoci',
);

describe('rootfs/ equals umoci unpack', { timeout: 900_000, skip: missing }, () => {
  let scratch = '';
  before(async () => {
    scratch = await makeTempDir('umoci');
  });
  after(async () => {
    await removeTempDir(scratch);
  });

  test('an image with odd entries', async () => {
    const layout = join(scratch, 'layout');
    await writeLayout(layout, [{ image: odd, name: 'odd' }]);
    await compare(scratch, layout, 'odd');
  });

  for (const text of (process.env['IMGFS_TEST_LAYOUTS'] ?? '').split(' ').filter(Boolean)) {
    test(text, async () => {
      const colon = text.lastIndexOf(':');
      await access(text.slice(0, colon));
      await compare(scratch, text.slice(0, colon), text.slice(colon + 1));
    });
  }
});
