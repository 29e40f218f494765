/**
 * `rootfs/` against the kernel's overlayfs over the layers, each unpacked by itself by GNU tar: an image always, the
 * layouts in `IMGFS_TEST_LAYOUTS` (see umoci.test.ts) by hand. Needs root.
 *
 * Counts of links are left out: overlayfs counts those of a layer, also names that a higher one hides.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Descriptor } from '../../src/oci/descriptor.js';
import type { Platform } from '../../src/oci/platform.js';
import { openLayoutStore } from '../../src/store/layout/open-layout.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { differences, listOurs, listUnpacked, type Listing } from '../support/compare-unpacked.js';
import { buildImage } from '../support/image-builder.js';
import { layoutsToCompare, withLayoutTree, type LayoutTag } from '../support/layout-tree.js';
import { writeLayout } from '../support/layout-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const timeoutMs = 300_000;

/**
 * Whiteouts as overlayfs has them, and directories that tar had to make, because a layer names only what is in them,
 * as the layer below has them.
 */
const convert = `
import os, shutil, stat, sys
started, layers = float(sys.argv[1]), [os.fsencode(path) for path in sys.argv[2:]]
for number, layer in enumerate(layers):
    for folder, folders, files in os.walk(layer):
        times = os.stat(folder)
        for name in files:
            if not name.startswith(b'.wh.'): continue
            os.remove(os.path.join(folder, name))
            hidden = os.path.join(folder, name[4:])
            if name == b'.wh..wh..opq': os.setxattr(folder, 'trusted.overlay.opaque', b'y')
            elif os.path.isdir(hidden) and not os.path.islink(hidden): os.setxattr(hidden, 'trusted.overlay.opaque', b'y')
            elif not os.path.lexists(hidden): os.mknod(hidden, stat.S_IFCHR, 0)
        os.utime(folder, ns=(times.st_mtime_ns, times.st_mtime_ns))
        if times.st_mtime < started: continue
        for below in reversed(layers[:number]):
            lower = os.path.join(below, os.path.relpath(folder, layer))
            if not os.path.isdir(lower): continue
            facts = os.stat(lower)
            os.chown(folder, facts.st_uid, facts.st_gid)
            shutil.copystat(lower, folder)
            # This too came along, and belongs to the layer below.
            if b'.wh..wh..opq' not in files and 'trusted.overlay.opaque' in os.listxattr(folder):
                os.removexattr(folder, 'trusted.overlay.opaque')
            break
`;

const decompressors: Readonly<Record<string, string>> = {
  '+gzip': 'gzip -dc',
  '+zstd': 'zstd -dc',
  '.tar': 'cat',
};

interface ManifestOrIndex {
  readonly layers?: readonly Descriptor[];
  readonly manifests?: readonly (Descriptor & { readonly platform: Platform })[];
}

/** Layers of an image, or of each platform of an index, by its path below the tag. */
async function layersOf({ layout, tag }: LayoutTag): Promise<Map<string, readonly Descriptor[]>> {
  const parse = async ({ digest }: Descriptor): Promise<ManifestOrIndex> =>
    JSON.parse(await readFile(join(layout, 'blobs', digest.replace(':', '/')), 'utf8')) as ManifestOrIndex;
  const store = await openLayoutStore(layout);
  try {
    const { layers, manifests = [] } = await parse((await store.resolve({ repository: '', tag })).descriptor);
    if (layers !== undefined) return new Map([['rootfs', layers]]);
    const images = new Map<string, readonly Descriptor[]>();
    for (const manifest of manifests) {
      const { os, architecture } = manifest.platform;
      images.set(`platforms/${os}-${architecture}/rootfs`, (await parse(manifest)).layers ?? []);
    }
    return images;
  } finally {
    await store.close();
  }
}

/** Folders, the lowest first, ready for overlayfs. */
async function unpackLayers(
  scratch: string,
  layout: string,
  layers: readonly Descriptor[],
): Promise<string[]> {
  const folders: string[] = [];
  const startedAt = Date.now() / 1000;
  for (const [index, { digest, mediaType }] of layers.entries()) {
    const folder = join(scratch, String(index));
    await mkdir(folder);
    folders.push(folder);
    const suffix = Object.keys(decompressors).find((one) => mediaType.endsWith(one)) ?? '.tar';
    // umoci writes archives without their end. tar drops the last file of those, so they get the zeros they lack:
    // up to a block for padding, two for the end mark. What stands behind an end mark tar does not read.
    const unpack = `{ ${decompressors[suffix]} <"$1"; head -c 2048 /dev/zero; } | tar x --numeric-owner -p --xattrs --xattrs-include='*' -C "$2"`;
    // umoci also writes whiteouts below what a layer made a file of. Nothing is hidden by them.
    const harmless = String.raw`\.wh\.[^/]*: Cannot open: Not a directory$|Exiting with failure status due to previous`;
    const script = `export LC_ALL=C; ${unpack} 2>"$2.errors" || ! grep -vE "$3" "$2.errors" >&2`;
    const blob = join(layout, 'blobs', digest.replace(':', '/'));
    await mustRun('sh', ['-c', script, '-', blob, folder, harmless], { timeoutMs });
  }
  await mustRun('python3', ['-c', convert, String(startedAt), ...folders], { timeoutMs });
  return folders;
}

/** Without counts of links, and without the root, which has no place in most layers. */
function comparable(listing: Listing): Listing {
  const all = [...listing].map(([path, line]) => [path, line.replace(/ links=\d+/, '')] as const);
  return new Map(all.filter(([path]) => path !== ''));
}

async function compare(ours: LayoutTag, theirs: LayoutTag): Promise<void> {
  const images = await layersOf(theirs);
  assert.ok(images.size > 0);
  for (const [path, layers] of images) await compareTree(ours, path, theirs.layout, layers);
}

async function compareTree(
  ours: LayoutTag,
  path: string,
  layout: string,
  layers: readonly Descriptor[],
): Promise<void> {
  const scratch = await makeTempDir('overlay');
  const merged = join(scratch, 'merged');
  await mkdir(merged);
  await mkdir(join(scratch, 'nothing'));
  const startedAt = Date.now();
  try {
    const folders = [join(scratch, 'nothing'), ...(await unpackLayers(scratch, layout, layers))];
    const lower = `ro,lowerdir=${folders.toReversed().join(':')}`;
    await mustRun('mount', ['-t', 'overlay', 'overlay', '-o', lower, merged]);
    await withLayoutTree(scratch, ours.layout, async (fileSystem, walker) => {
      const here = comparable(await listOurs(fileSystem, walker, `local/${ours.tag}/${path}`));
      const there = comparable(await listUnpacked(merged));
      assert.ok(there.size > 10);
      assert.deepEqual(differences(here, there, startedAt), []);
    });
  } finally {
    await run('umount', [merged]);
    await removeTempDir(scratch);
  }
}

async function canMountOverlay(): Promise<string | false> {
  const scratch = await makeTempDir('overlay');
  try {
    for (const name of ['a', 'b', 'm']) await mkdir(join(scratch, name));
    const words = ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${scratch}/a:${scratch}/b`, `${scratch}/m`];
    const { code, stderr } = await run('mount', words);
    if (code !== 0) return `cannot mount overlayfs: ${stderr.trim()}`;
    await run('umount', [`${scratch}/m`]);
    return false;
  } finally {
    await removeTempDir(scratch);
  }
}

const isRoot = process.getuid?.() === 0;
const skip = isRoot ? skipWithout('python3', 'tar', 'gzip') || (await canMountOverlay()) : 'needs root';

describe('rootfs/ equals overlayfs', { timeout: 1_800_000, skip }, () => {
  test('whiteouts, opaque directories, changed types, links, owners, devices', async () => {
    const scratch = await makeTempDir('overlay-image');
    const layout = join(scratch, 'layout');
    const image = await buildImage({
      layers: [
        {
          entries: [
            { name: 'etc/', mode: 0o750, gid: 7 },
            { name: 'etc/kept', content: 'kept\n', uid: 12, gid: 34, mode: 0o4755 },
            { name: 'etc/linked', type: 'link', linkname: 'etc/kept' },
            { name: 'etc/gone', content: 'gone\n' },
            { name: 'etc/changed', content: 'before\n' },
            { name: 'was-directory/' },
            { name: 'was-directory/inner', content: 'x' },
            { name: 'was-file', content: 'x' },
            { name: 'was-link', linkname: 'etc' },
            { name: 'opaque/' },
            { name: 'opaque/lower', content: 'hidden\n' },
            { name: 'opaque/deep/' },
            { name: 'opaque/deep/lower', content: 'hidden\n' },
            { name: 'whole/' },
            { name: 'whole/tree/' },
            { name: 'whole/tree/file', content: 'x' },
            { name: 'again/' },
            { name: 'again/lower', content: 'hidden\n' },
            { name: 'null', type: 'character-device', devmajor: 1, devminor: 3 },
            { name: 'pipe', type: 'fifo' },
          ],
        },
        {
          compression: 'none',
          entries: [
            { name: 'etc/', mode: 0o700, gid: 8, mtime: 1_600_000_000 },
            { name: 'etc/.wh.gone' },
            { name: 'etc/changed', content: 'after, and longer\n', mode: 0o600 },
            { name: 'was-directory', content: 'a file now\n' },
            { name: 'was-file/' },
            { name: 'was-file/inner', content: 'x' },
            { name: 'was-link/' },
            { name: 'was-link/inner', content: 'x' },
            { name: 'opaque/' },
            { name: 'opaque/.wh..wh..opq' },
            { name: 'opaque/upper', content: 'shown\n' },
            { name: '.wh.whole' },
            { name: '.wh.again' },
          ],
        },
        {
          entries: [
            { name: 'again/' },
            { name: 'again/new', content: 'made again\n' },
            { name: 'opaque/.wh.upper' },
            { name: 'etc/.wh.linked' },
          ],
        },
      ],
    });
    await writeLayout(layout, [{ image, name: 'v1' }]);
    const tag = { layout, tag: 'v1' };
    await compare(tag, tag);
    await removeTempDir(scratch);
  });

  for (const { ours, theirs } of layoutsToCompare()) {
    test(`${ours.layout}:${ours.tag}`, () => compare(ours, theirs));
  }
});
