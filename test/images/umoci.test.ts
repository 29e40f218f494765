/**
 * `rootfs/` against `umoci unpack`, in every attribute: an image with odd entries always, packed by gzip and by zstd
 * and as one of two platforms, and the images of the layouts in `IMGFS_TEST_LAYOUTS` (`/layout:tag`, separated by
 * spaces) by hand. umoci knows no zstd: `/zstd:tag=/gzip:tag` says where the same image is that it can unpack.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { layerAddon } from '../../src/layer/native/layer-addon.js';
import { createNodeZstd } from '../../src/layer/read/node-zstd.js';
import type { Platform } from '../../src/oci/platform.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { hasCommand, skipWithout } from '../support/child.js';
import {
  differences,
  listOurs,
  listUnpacked,
  ourXattrs,
  unpackedXattrs,
} from '../support/compare-unpacked.js';
import { buildImage, buildIndex, type ImageSpec } from '../support/image-builder.js';
import { layoutsToCompare, withLayoutTree, type LayoutTag } from '../support/layout-tree.js';
import { addToLayout, writeLayout } from '../support/layout-writer.js';
import { skopeoCopy } from '../support/skopeo.js';
import type { LayerCompression } from '../support/tar-builder.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const run = promisify(execFile);

/** Everything odd that umoci unpacks. */
const odd = (platform?: Platform, compression?: LayerCompression): ImageSpec => ({
  ...(platform === undefined ? {} : { platform }),
  layers: [
    {
      ...(compression === undefined ? {} : { compression }),
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
      ...(compression === undefined ? {} : { compression }),
      entries: [
        { name: 'bin/.wh.linked' },
        { name: 'link-to-dir/through', content: 'a parent that is a link\n' },
      ],
    },
  ],
});

interface Oracle extends LayoutTag {
  /** Of one image of an index. */
  readonly platform?: Platform;
}

/** Unpack by umoci, of an index the image of one platform. */
async function unpack(scratch: string, { layout, tag, platform }: Oracle): Promise<string> {
  const bundle = join(scratch, 'bundle');
  let image = `${layout}:${tag}`;
  if (platform !== undefined) {
    image = `${join(scratch, 'single')}:single`;
    const { os, architecture } = platform;
    await skopeoCopy(`oci:${layout}:${tag}`, `oci:${image}`, {
      extra: [`--override-os=${os}`, `--override-arch=${architecture}`],
    });
  }
  await run('umoci', ['unpack', '--image', image, bundle], { timeout: 300_000 });
  return join(bundle, 'rootfs');
}

/** Compare a directory of our tree with what umoci unpacks. */
async function compare(layout: string, path: string, oracle: Oracle): Promise<void> {
  const scratch = await makeTempDir('umoci');
  try {
    const startedAt = Date.now();
    const unpacked = await unpack(scratch, oracle);
    await withLayoutTree(scratch, layout, async (fileSystem, walker) => {
      const root = `local/${path}/rootfs`;
      const ours = await listOurs(fileSystem, walker, root);
      const theirs = await listUnpacked(unpacked);
      assert.ok(theirs.size > 10);
      assert.deepEqual(differences(ours, theirs, startedAt), []);
      const xattrs = await ourXattrs(fileSystem, walker, root, ours.keys());
      assert.deepEqual(xattrs, await unpackedXattrs(unpacked));
    });
  } finally {
    await removeTempDir(scratch);
  }
}

/** Platforms of an index, by the name of their directory. */
async function platformsOf({ layout, tag }: LayoutTag): Promise<Map<string, Platform>> {
  const store = await openLayoutStore(layout);
  try {
    const { descriptor } = await store.resolve({ repository: '', tag });
    const bytes = await readFile(join(layout, 'blobs', descriptor.digest.replace(':', '/')), 'utf8');
    const { manifests = [] } = JSON.parse(bytes) as { manifests?: { platform?: Platform }[] };
    const platforms = manifests.flatMap(({ platform }) => (platform === undefined ? [] : [platform]));
    return new Map(platforms.map((one) => [`${one.os}-${one.architecture}`, one]));
  } finally {
    await store.close();
  }
}

const withoutZstd = (): string | false =>
  layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined ? false : 'no zstd here';

const isRoot = process.getuid?.() === 0;
const missing = await run('umoci', ['--version']).then(
  () =>
    run('getfattr', ['--version']).then(
      () => (isRoot ? false : 'needs root'),
      () => 'needs getfattr',
    ),
  () => 'needs umoci',
);

describe('rootfs/ equals umoci unpack', { timeout: 1_800_000, skip: missing }, () => {
  let layout = '';
  const gzip: LayoutTag = {
    get layout() {
      return layout;
    },
    tag: 'gzip',
  };
  before(async () => {
    layout = join(await makeTempDir('umoci-layouts'), 'layout');
    const arm: Platform = { os: 'linux', architecture: 'arm64' };
    await writeLayout(layout, [
      { image: await buildImage(odd()), name: 'gzip' },
      { image: await buildIndex([await buildImage(odd()), await buildImage(odd(arm))]), name: 'multi' },
    ]);
    if (hasCommand('zstd'))
      await addToLayout(layout, { image: await buildImage(odd(undefined, 'zstd')), name: 'zstd' });
  });
  after(async () => {
    await removeTempDir(dirname(layout));
  });

  test('an image with odd entries, packed by gzip', () => compare(layout, 'gzip', gzip));

  test('the same, packed by zstd', { skip: skipWithout('zstd') || withoutZstd() }, () =>
    compare(layout, 'zstd', gzip),
  );

  test('each platform of an index', { skip: skipWithout('skopeo') }, async () => {
    const multi = { layout, tag: 'multi' };
    const platforms = await platformsOf(multi);
    assert.equal(platforms.size, 2);
    for (const [name, platform] of platforms)
      await compare(layout, `multi/platforms/${name}`, { ...multi, platform });
  });

  for (const { ours, theirs } of layoutsToCompare()) {
    test(`${ours.layout}:${ours.tag}`, async () => {
      const platforms = await platformsOf(theirs);
      if (platforms.size === 0) await compare(ours.layout, ours.tag, theirs);
      for (const [name, platform] of platforms)
        await compare(ours.layout, `${ours.tag}/platforms/${name}`, { ...theirs, platform });
    });
  }
});
