/** Files of layers that a driver opens by itself, because it knows where they lie: what it may not get wrong. */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { link, mkdir, open, readFile, readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, skipWithout } from '../support/child.js';
import { startFaultRegistry, type FaultRegistry } from '../support/fault-registry/index.js';
import { buildImage } from '../support/image-builder.js';
import { imgfsIn, type ImgfsCommand } from '../support/imgfs-command.js';
import { skipWithoutMount, type DriverName } from '../support/mounted.js';
import { rawEntry, rawTar } from '../support/raw-tar.js';
import { sampleFiles, sampleTar, type SampleFile } from '../support/sample-layer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const files = sampleFiles(5);

for (const driver of ['native', 'fuse-native'] satisfies DriverName[]) {
  const skip = skipWithoutMount(driver) || skipWithout('dd', 'tar');
  describe(`files opened by their place, ${driver} driver`, { skip, timeout: 120_000 }, () => {
    let registry: FaultRegistry;
    let directory: string;
    let mountPoint: string;
    let imgfs: ImgfsCommand;
    let mounts = 0;

    const mount = async (...more: string[]): Promise<string> => {
      if ((await findMount(mountPoint)) !== undefined) await imgfs(['umount', '--force', mountPoint]);
      mounts += 1;
      const cache = join(directory, `cache-${mounts}`);
      const words = ['mount', mountPoint, '--driver', driver, '--cache-dir', cache, '--tag-ttl', '1s'];
      const { code, stderr } = await imgfs([...words, '--retry-times', '0', ...more]);
      assert.equal(code, 0, stderr);
      return cache;
    };
    const of = (...path: string[]): string => join(mountPoint, registry.host, 'group/app', ...path);
    const drop = (path: string): Promise<unknown> =>
      mustRun('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
    /** Counters of the native driver; all 0 over the other. */
    const counts = async (): Promise<(name: string) => number> => {
      const text = await readFile(join(mountPoint, '.imgfs/stats.json'), 'utf8');
      const { driver: numbers } = JSON.parse(text) as { driver: Record<string, number> };
      return (name) => numbers[name] ?? 0;
    };
    const check = async (root: string, some: readonly SampleFile[] = files): Promise<void> => {
      for (const { path, content } of some)
        assert.ok((await readFile(join(root, path))).equals(content), path);
    };

    before(async () => {
      registry = await startFaultRegistry();
      directory = await makeTempDir('by-place');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      imgfs = imgfsIn(directory);
      const named = rawTar(
        rawEntry({ name: 'hard', type: '1', linkName: 'd1/f1' }),
        rawEntry({ name: 'soft', type: '2', linkName: '/d1/f1' }),
        rawEntry({ name: 'own', uid: 1234, gid: 4321 }, Buffer.from('whose?')),
      );
      const image = await buildImage({ layers: [{ entries: sampleTar(files) }, { entries: named }] });
      registry.addImage('group/app', image, 'v1');
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await imgfs(['umount', mountPoint]);
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      await registry.close();
      await removeTempDir(directory);
    });

    test('R24 a tree that is walked is listed and opened without asking JavaScript for each file', async () => {
      await mount();
      // What it takes to know where the files lie, and to have their bytes.
      await mustRun('tar', ['cf', '/dev/null', '-C', of('v1/rootfs'), '.']);
      await check(of('v1/rootfs'));
      const earlier = await counts();
      for (const { path } of files) await drop(of('v1/rootfs', path));
      await check(of('v1/rootfs'));
      const now = await counts();
      if (driver !== 'native') return;
      assert.ok(now('sharedOpens') - earlier('sharedOpens') >= files.length);
      assert.ok(now('storedFiles') > 0);
      // Those that read the counters are among them.
      assert.ok(now('toScript') - earlier('toScript') < 10, `${now('toScript') - earlier('toScript')}`);
    });

    test('names of one file, links and owners are what the mount was asked to show', async () => {
      for (const options of [[], ['--owner', 'mounter', '--symlinks', 'inside']]) {
        await mount(...options);
        const root = of('v1/rootfs');
        for (let round = 0; round < 2; round += 1) {
          const { stdout } = await mustRun('find', [root, '-printf', '%P %U %n %i %l\n']);
          const shown = new Map(
            stdout.split('\n').map((line) => [line.split(' ')[0] ?? '', line.split(' ')]),
          );
          assert.equal(shown.get('own')?.[1], options.length === 0 ? '1234' : String(process.getuid?.()));
          assert.equal(shown.get('hard')?.[2], '2');
          assert.equal(shown.get('hard')?.[3], shown.get('d1/f1')?.[3]);
          assert.equal(shown.get('soft')?.[4], options.length === 0 ? '/d1/f1' : 'd1/f1');
          const [one] = files.filter(({ path }) => path === 'd1/f1');
          for (const name of ['hard', 'd1/f1'])
            assert.ok((await readFile(join(root, name))).equals(one?.content ?? Buffer.alloc(0)));
          assert.equal(await readFile(join(root, 'own'), 'utf8'), 'whose?');
        }
      }
    });

    test('who wants to write is refused as in any other place, before and after somebody read', async () => {
      await mount();
      const path = of('v1/rootfs/d1/f1');
      const refusal = async (flags: number): Promise<unknown> =>
        open(path, flags).then(
          async (file) => file.close(),
          (error: unknown) => (error as NodeJS.ErrnoException).code,
        );
      const writes = [constants.O_WRONLY, constants.O_RDWR, constants.O_WRONLY | constants.O_TRUNC];
      const atFirst = await Promise.all(writes.map(refusal));
      await readFile(path);
      assert.deepEqual(await Promise.all(writes.map(refusal)), atFirst);
      for (const code of atFirst) assert.match(String(code), /^(EROFS|EPERM|EACCES)$/);
      await assert.rejects(link(path, of('v1/rootfs/other')));
    });

    test('decoded bytes that are cut off on disk are decoded again', async () => {
      const cache = await mount();
      await check(of('v1/rootfs'));
      for (const name of await readdir(join(cache, 'decoded')))
        if (name.endsWith('.tar')) await truncate(join(cache, 'decoded', name), 700);
      for (const { path } of files) await drop(of('v1/rootfs', path));
      await check(of('v1/rootfs'));
    });

    test('what goes from the cache while files are open is not missed, and comes again', async () => {
      await mount('--cache-size', '6MiB');
      await check(of('v1/rootfs'));
      const large = files.filter(({ content }) => content.length > 300_000);
      const handles = await Promise.all(large.map(({ path }) => open(of('v1/rootfs', path))));
      try {
        // Another image that needs the room, several times over.
        for (let round = 0; round < 3; round += 1) {
          const image = await buildImage({ layers: [{ entries: sampleTar(sampleFiles(40 + round)) }] });
          registry.addImage('group/app', image, `other-${round}`);
          await check(of(`other-${round}`, 'rootfs'), sampleFiles(40 + round));
          for (const { path } of large) await drop(of('v1/rootfs', path));
          for (const [index, { content, path }] of large.entries()) {
            const read = Buffer.alloc(content.length);
            await handles[index]?.read(read, 0, read.length, 0);
            assert.ok(read.equals(content), path);
          }
        }
      } finally {
        for (const handle of handles) await handle.close();
      }
      for (const { path } of files) await drop(of('v1/rootfs', path));
      await check(of('v1/rootfs'));
    });

    test('a tag that moves leaves open files as they are', async (t) => {
      if (driver !== 'native') return t.skip('libfuse 2 knows files by their path');
      await mount();
      const [old] = files.filter(({ content }) => content.length > 300_000);
      assert.ok(old !== undefined);
      const path = of('v1/rootfs', old.path);
      await readFile(path);
      const handle = await open(path);
      const content = Buffer.from('moved');
      const moved = await buildImage({
        layers: [{ entries: rawTar(rawEntry({ name: old.path }, content)) }],
      });
      const before = await stat(path);
      registry.addImage('group/app', moved, 'v1');
      const end = Date.now() + 20_000;
      while ((await stat(path)).size !== content.length) {
        assert.ok(Date.now() < end, 'the tag has not moved');
        await sleep(50);
      }
      assert.ok((await readFile(path)).equals(content));
      await drop(`/proc/self/fd/${handle.fd}`).catch(() => undefined);
      assert.ok((await handle.readFile()).equals(old.content));
      assert.equal((await handle.stat()).ino, before.ino);
      await handle.close();
    });
  });
}
