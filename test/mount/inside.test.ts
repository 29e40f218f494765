/** The inside of images as programs see it through the kernel, over both drivers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, readdir, readlink, realpath, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildImage, buildIndex, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { oddLayers } from '../support/odd-layers.js';
import { rawTar } from '../support/raw-tar.js';
import { sampleFiles, sampleTar } from '../support/sample-layer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { walkDirectory, type Found } from '../support/walk-directory.js';

const isRoot = process.getuid?.() === 0;
const hasUmoci = skipWithout('umoci') === false && isRoot;
const startedNs = BigInt(Date.now()) * 1_000_000n;
const toolTimeoutMs = 60_000;

/** Of two trees that should be equal: what imgfs adds is no attribute of the image. */
function comparable(found: Found, keep: (name: string) => boolean): Found {
  const { xattrs } = found;
  const kept = Object.entries(xattrs).filter(([name]) => !/^user\.(oci|imgfs)\./.test(name) && keep(name));
  return { ...found, xattrs: Object.fromEntries(kept) };
}

function assertEqualTrees(
  ours: Map<string, Found>,
  theirs: Map<string, Found>,
  keep: (name: string) => boolean,
): void {
  const paths = (tree: Map<string, Found>): string[] => [...tree.keys()].sort();
  assert.deepEqual(paths(ours), paths(theirs));
  for (const [path, their] of theirs) {
    const our = ours.get(path);
    assert.ok(our !== undefined);
    // Made or changed by the unpacking itself: no layer says the time.
    const isTimeless = their.kind === 'directory' && BigInt(their.mtimeNs) >= startedNs;
    const expected = isTimeless ? { ...their, mtimeNs: our.mtimeNs } : their;
    assert.deepEqual(comparable(our, keep), comparable(expected, keep), path);
  }
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return `sha256:${hash.digest('hex')}`;
}

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip = skipWithoutMount(driver) || skipWithout('python3', 'getfattr', 'tar');
  describe(`inside images, ${driver} driver`, { skip, timeout: 240_000 }, () => {
    let registry: FaultRegistry;
    let directory: string;
    let mountPoint: string;
    let imgfs: ImgfsCommand;
    let odd: BuiltSingleImage;
    let plain: BuiltSingleImage;
    let image: string;
    let unpacked: Map<string, Found> | undefined;
    /** libfuse 2's binding carries times as a Date: milliseconds. */
    const timed = (tree: Map<string, Found>): Map<string, Found> =>
      driver === 'native'
        ? tree
        : new Map(
            [...tree].map(([path, one]) => [path, { ...one, mtimeNs: `${one.mtimeNs.slice(0, -6)}000000` }]),
          );

    const mount = async (...more: string[]): Promise<void> => {
      const words = ['mount', mountPoint, '--driver', driver, '--timeout', '20s', '--retry-times', '0'];
      const { code, stderr } = await imgfs([...words, ...more]);
      assert.equal(code, 0, stderr);
    };
    const umount = async (): Promise<void> => {
      const { code, stderr } = await imgfs(['umount', mountPoint]);
      assert.equal(code, 0, stderr);
    };
    const of = (tag: string, ...path: string[]): string =>
      join(mountPoint, registry.host, 'group/app', tag, ...path);

    before(async () => {
      registry = await startFaultRegistry();
      directory = await makeTempDir('mount-inside');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      imgfs = imgfsIn(directory);
      // libfuse 2 hands names to JavaScript as text: the fallback driver has none that are not UTF-8.
      const bytesName = (part: Uint8Array): boolean =>
        Buffer.from(part).includes('na\xff\xfeme', 0, 'latin1');
      const shown = oddLayers.map((parts) => parts.filter((part) => driver === 'native' || !bytesName(part)));
      odd = await buildImage({ layers: shown.map((parts) => ({ entries: rawTar(...parts) })) });
      plain = await buildImage({ layers: [{ entries: sampleTar(sampleFiles()) }] });
      registry.addImage('group/app', odd, 'odd');
      registry.addImage('group/app', plain, 'plain');
      registry.addImage('group/app', await buildIndex([odd]), 'multi');
      image = of('odd');
      if (hasUmoci) {
        const layout = join(directory, 'layout');
        await writeLayout(layout, [{ image: odd, name: 'odd' }]);
        await mustRun('umoci', ['unpack', '--image', `${layout}:odd`, join(directory, 'bundle')]);
        unpacked = timed(await walkDirectory(join(directory, 'bundle/rootfs')));
      }
      await mount();
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });

    test('rootfs/ is what umoci unpacks, in every attribute, by tag and by platform', async (t) => {
      if (unpacked === undefined) return t.skip('needs root and umoci');
      const isUser = (name: string): boolean => name.startsWith('user.');
      assertEqualTrees(await walkDirectory(join(image, 'rootfs')), unpacked, isUser);
      const platform = of('multi', 'platforms/linux-amd64/rootfs');
      assertEqualTrees(await walkDirectory(platform), unpacked, isUser);
    });

    test('layers/N/ is each layer alone, whiteouts visible, names byte-exact', async () => {
      const zero = await walkDirectory(join(image, 'layers/0'));
      const one = await walkDirectory(join(image, 'layers/1'));
      assert.ok(zero.has('gone') && !zero.has('.wh.gone'));
      assert.ok(one.has('.wh.gone') && one.has('opaque/.wh..wh..opq') && !one.has('gone'));
      if (driver !== 'native') return;
      assert.ok(zero.has('na\xff\xfeme'));
      const paths = execFileSync('find', [join(image, 'rootfs'), '-name', 'na*me'], { encoding: 'latin1' });
      assert.match(paths, /na\xff\xfeme$/m);
    });

    test('layers/N.tar is the archive: its sha256 is the diffID, and tar reads it', async () => {
      for (const [index, layer] of odd.layers.entries()) {
        const path = join(image, `layers/${index}.tar`);
        assert.equal(await sha256Of(path), layer.diffId);
        assert.equal((await stat(path)).size, layer.tar.length);
        const listed = await mustRun('tar', ['tf', path]);
        assert.ok(listed.stdout.split('\n').length > 10);
      }
    });

    test('hard links are one inode with its count, in rootfs/ and in the layer', async () => {
      const facts = async (path: string) => stat(join(image, path));
      const [linked, other] = await Promise.all([facts('layers/0/linked'), facts('layers/0/usr/other')]);
      assert.deepEqual([linked.ino, linked.nlink], [other.ino, 2]);
      const [survivor, late] = await Promise.all([facts('rootfs/usr/other'), facts('rootfs/late-link')]);
      assert.deepEqual([survivor.ino, survivor.nlink], [late.ino, 2], 'a whiteout took the first name');
    });

    test('devices, pipes and set-user-id bits are shown and do nothing', async () => {
      const null_ = join(image, 'rootfs/null');
      assert.ok((await stat(null_)).isCharacterDevice());
      await assert.rejects(open(null_, 'r'), { code: 'EACCES' });
      assert.ok((await stat(join(image, 'rootfs/fifo'))).isFIFO());
      assert.equal((await stat(join(image, 'rootfs/usr/lib/a'))).mode & 0o7777, 0o4755);
      const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
      const flags = mounts.find((line) => line.split(' ')[4] === mountPoint)?.split(' ')[5] ?? '';
      assert.ok(flags.includes('nosuid') && flags.includes('nodev'), flags);
    });

    test('tar c rootfs is complete, and what comes out of it is equal', async (t) => {
      const rootfs = join(image, 'rootfs');
      const script = 'tar c -C "$1" . | tar t | sed "s,/$,," | sort';
      const tar = await mustRun('bash', ['-o', 'pipefail', '-c', script, '-', rootfs]);
      const find = await mustRun('bash', ['-c', 'cd "$1" && find . | sort', '-', rootfs]);
      // Each escapes names in its own way.
      const names = (text: string): number => text.trim().split('\n').length;
      assert.equal(names(tar.stdout), names(find.stdout));
      assert.equal(tar.stderr, '');
      if (!isRoot) return t.skip('owners need root');
      const copy = join(directory, 'copy');
      await mkdir(copy);
      const again = 'tar c --xattrs -C "$1" . | tar x --xattrs -p -C "$2"';
      await mustRun('bash', ['-o', 'pipefail', '-c', again, '-', rootfs, copy]);
      const ours = await walkDirectory(rootfs);
      const seconds = (tree: Map<string, Found>): Map<string, Found> =>
        new Map([...tree].map(([path, found]) => [path, { ...found, mtimeNs: '0', nlink: 1 }]));
      assertEqualTrees(seconds(await walkDirectory(copy)), seconds(ours), (name) => name === 'user.note');
      await rm(copy, { recursive: true });
    });

    test('a program that reads in the middle, maps or copies gets the same bytes', async () => {
      const files = sampleFiles();
      const rootfs = of('plain', 'rootfs');
      const program = `
import mmap, os, sys
for name in sys.argv[2:]:
    path = os.path.join(sys.argv[1], name)
    size = os.stat(path).st_size
    with open(path, 'rb') as file:
        whole = file.read()
        assert len(whole) == size
        if size == 0: continue
        assert mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:] == whole
        for at in range(0, size, 4999): assert os.pread(file.fileno(), 777, at) == whole[at:at + 777]
`;
      await mustRun('python3', ['-c', program, rootfs, ...files.map(({ path }) => path)]);
      for (const { path, content } of files) {
        assert.ok((await readFile(join(rootfs, path))).equals(content), path);
      }
      await mustRun('cp', ['-r', rootfs, join(directory, 'copied')], { timeoutMs: toolTimeoutMs });
      await mustRun('diff', ['-r', rootfs, join(directory, 'copied')], { timeoutMs: toolTimeoutMs });
    });

    test('a damaged layer is EIO with its cause, and the rest of the image stays readable', async () => {
      const bad = await buildImage({
        layers: [
          { entries: sampleTar(sampleFiles(2)) },
          { entries: [{ name: 'above', content: 'still here\n' }] },
        ],
      });
      const [layer] = bad.layers;
      assert.ok(layer !== undefined);
      const bytes = Uint8Array.from(layer.bytes);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      const blobs = bad.blobs.map((blob) => (blob === layer ? { ...blob, bytes } : blob));
      registry.addImage('group/app', { ...bad, blobs }, 'bad');
      const failed = await run('ls', [of('bad', 'rootfs')], { timeoutMs: toolTimeoutMs });
      assert.match(failed.stderr, /Input\/output error/);
      const cause = await mustRun('getfattr', [
        '-n',
        'user.imgfs.error',
        '--only-values',
        of('bad', 'rootfs'),
      ]);
      assert.match(cause.stdout, new RegExp(layer.descriptor.digest));
      assert.equal(await readFile(of('bad', 'layers/1/above'), 'utf8'), 'still here\n');
    });

    test('--all-xattrs shows security.* and trusted.*, --owner and --symlinks change what they say', async (t) => {
      await umount();
      await mount('--all-xattrs');
      if (unpacked !== undefined) {
        assertEqualTrees(await walkDirectory(join(image, 'rootfs')), unpacked, () => true);
      }
      const { stdout } = await run('getfattr', ['-n', 'security.capability', '-e', 'hex', 'capable'], {
        cwd: join(image, 'rootfs'),
      });
      assert.match(stdout, /0x0100000200040000000000000000000000000000/);
      await umount();
      await mount('--owner', 'mounter', '--symlinks', 'inside');
      const ours = await walkDirectory(join(image, 'rootfs'));
      const owners = new Set([...ours.values()].map(({ uid, gid }) => `${uid}:${gid}`));
      assert.deepEqual([...owners], [`${process.getuid?.()}:${process.getgid?.()}`]);
      assert.equal(await readlink(join(image, 'rootfs/absolute')), 'usr/lib');
      const rootfs = await realpath(join(image, 'rootfs'));
      const place = relative(rootfs, await realpath(join(image, 'rootfs/absolute/a')));
      assert.equal(place, 'usr/lib/a');
      t.diagnostic(`${ours.size} entries`);
    });

    test('offline, what was read before is listed and read again', async () => {
      await umount();
      await mount();
      const rootfs = of('plain', 'rootfs');
      const before_ = await walkDirectory(rootfs);
      const oddBefore = await walkDirectory(of('odd', 'rootfs'));
      await umount();
      await registry.suspend();
      try {
        await mount('--offline');
        assert.deepEqual(await walkDirectory(rootfs), before_);
        assert.deepEqual(await walkDirectory(of('odd', 'rootfs')), oddBefore);
        assert.ok((await readdir(of('odd', 'layers/1'))).includes('.wh.gone'));
      } finally {
        await registry.resume();
      }
    });
  });
}
