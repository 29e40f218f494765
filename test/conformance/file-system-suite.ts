/**
 * What every tree must do, whatever store is behind it and whether it is mounted or called directly. By path, with
 * errno names for failures, so that one suite fits a `FileSystem` and a mount point.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { BuiltImage, BuiltSingleImage } from '../support/image-builder.js';

export interface TreeStat {
  readonly type: string;
  readonly size: number;
  readonly mode: number;
  readonly inode: number;
}

export interface TreeUnderTest {
  readonly list: (path: string) => Promise<readonly string[]>;
  readonly read: (path: string) => Promise<Buffer>;
  /** One pread. */
  readonly readAt: (path: string, position: number, length: number) => Promise<Buffer>;
  readonly stat: (path: string) => Promise<TreeStat>;
  /** Undefined when there is no such attribute. */
  readonly xattr: (path: string, name: string) => Promise<string | undefined>;
  /** Open for writing, for the refusal; resolves when it was allowed. */
  readonly openForWriting: (path: string) => Promise<void>;
  /** `ENOENT` and the like for what the calls above reject with. */
  readonly errnoOf: (error: unknown) => string;
}

/** A tree with one repository in it, given as the path of its directory. */
export interface TreeFixture {
  readonly tree: TreeUnderTest;
  readonly repository: string;
  /** Tagged `single`. */
  readonly single: BuiltSingleImage;
  /** Tagged `multi`: an index of `single` and another platform's image. */
  readonly multi: BuiltImage;
  readonly otherPlatform: BuiltSingleImage;
  /** Tagged `files`: an artifact with `readme.md` and `docs/a.txt`. */
  readonly artifact: BuiltImage;
}

export type TreeFactory = (t: TestContext) => Promise<TreeFixture>;

const limit = { timeout: 30_000 };

/** Define the tests for one kind of tree. */
export function fileSystemSuite(name: string, factory: TreeFactory): void {
  const check = (what: string, run: (fixture: TreeFixture) => Promise<void>): void => {
    test(`${name}: ${what}`, limit, async (t) => run(await factory(t)));
  };
  const rejectsWith = async ({ tree }: TreeFixture, errno: string, work: Promise<unknown>): Promise<void> => {
    await assert.rejects(work, (error) => {
      assert.equal(tree.errnoOf(error), errno);
      return true;
    });
  };

  check('manifests and configs are their exact bytes', async ({ tree, repository, single, multi }) => {
    assert.deepEqual(await tree.read(`${repository}/single/manifest.json`), single.manifests[0]?.bytes);
    assert.deepEqual(await tree.read(`${repository}/single/config.json`), single.config.bytes);
    assert.deepEqual(await tree.read(`${repository}/multi/index.json`), multi.manifests.at(-1)?.bytes);
    assert.deepEqual(await tree.read(`${repository}/multi/manifest.json`), single.manifests[0]?.bytes);
  });

  check('sizes are told before anything is read, and are right', async ({ tree, repository, single }) => {
    for (const [at, layer] of single.layers.entries()) {
      const { size, type, mode } = await tree.stat(`${repository}/single/layers/${at}.tar.gz`);
      assert.deepEqual([size, type, mode], [layer.bytes.length, 'file', 0o444]);
    }
    for (const file of ['manifest.json', 'config.json', 'digest', 'reference', 'inspect.json']) {
      const path = `${repository}/single/${file}`;
      assert.equal((await tree.stat(path)).size, (await tree.read(path)).length, file);
    }
  });

  check('layers are read as they are stored, whole and in part', async ({ tree, repository, single }) => {
    for (const [at, layer] of single.layers.entries()) {
      const path = `${repository}/single/layers/${at}.tar.gz`;
      const { length } = layer.bytes;
      const middle = Math.floor(length / 2);
      assert.deepEqual(
        await tree.readAt(path, middle, 100),
        Buffer.from(layer.bytes.subarray(middle, middle + 100)),
      );
      assert.deepEqual(await tree.readAt(path, length - 10, 100), Buffer.from(layer.bytes.subarray(-10)));
      assert.equal((await tree.readAt(path, length + 10, 100)).length, 0);
      assert.deepEqual(await tree.read(path), Buffer.from(layer.bytes));
    }
  });

  check('listings name what can be opened', async ({ tree, repository }) => {
    const walk = async (path: string, depth: number): Promise<number> => {
      let count = 0;
      for (const child of await tree.list(path)) {
        const below = `${path}/${child}`;
        const { type, size } = await tree.stat(below);
        if (type === 'directory' && depth > 0) count += await walk(below, depth - 1);
        if (type === 'file') assert.equal((await tree.read(below)).length, size, below);
        count += 1;
      }
      return count;
    };
    assert.ok((await walk(`${repository}/multi`, 4)) > 20);
    assert.ok((await walk(`${repository}/files`, 4)) > 8);
  });

  check('tags are listed, and reached by every form', async ({ tree, repository, single }) => {
    const tags = await tree.list(`${repository}/@tags`);
    for (const tag of ['single', 'multi', 'files']) {
      assert.ok(tags.includes(tag), tag);
      assert.ok((await tree.list(repository)).includes(tag), tag);
    }
    const [algorithm, hex] = single.descriptor.digest.split(':');
    for (const path of ['single', '@tags/single', `@digests/${algorithm}/${hex}`]) {
      assert.equal(
        (await tree.read(`${repository}/${path}/digest`)).toString(),
        `${single.descriptor.digest}\n`,
      );
    }
  });

  check('platforms are image directories', async ({ tree, repository, otherPlatform }) => {
    assert.deepEqual(await tree.list(`${repository}/multi/platforms`), ['linux-amd64', 'linux-arm64-v8']);
    assert.deepEqual(
      await tree.read(`${repository}/multi/platforms/linux-arm64-v8/config.json`),
      otherPlatform.config.bytes,
    );
  });

  check('artifact files stand under their titles', async ({ tree, repository }) => {
    assert.equal((await tree.read(`${repository}/files/files/readme.md`)).toString(), 'read me');
    assert.equal((await tree.read(`${repository}/files/files/docs/a.txt`)).toString(), 'deep');
  });

  check('one digest is one inode', async ({ tree, repository, single }) => {
    const hex = single.layers[0]?.descriptor.digest.slice(7);
    const { inode } = await tree.stat(`${repository}/single/layers/0.tar.gz`);
    assert.equal((await tree.stat(`${repository}/multi/platforms/linux-amd64/layers/0.tar.gz`)).inode, inode);
    assert.equal((await tree.stat(`${repository}/@blobs/sha256/${hex}`)).inode, inode);
  });

  check('attributes tell digest and state', async ({ tree, repository, single }) => {
    const path = `${repository}/single/layers/0.tar.gz`;
    assert.equal(await tree.xattr(path, 'user.oci.digest'), single.layers[0]?.descriptor.digest);
    await tree.read(path);
    assert.equal(await tree.xattr(path, 'user.imgfs.cached'), '100');
    assert.equal(await tree.xattr(path, 'user.imgfs.verified'), 'yes');
    assert.equal(await tree.xattr(path, 'user.nothing'), undefined);
  });

  check('what is missing is ENOENT, what is no directory ENOTDIR', async (fixture) => {
    const { tree, repository } = fixture;
    await rejectsWith(fixture, 'ENOENT', tree.read(`${repository}/nothing/manifest.json`));
    await rejectsWith(fixture, 'ENOENT', tree.stat(`${repository}/single/layers/99.tar.gz`));
    await rejectsWith(fixture, 'ENOENT', tree.stat(`${repository}/single/nothing.json`));
    await rejectsWith(fixture, 'ENOENT', tree.stat(`${repository}/@blobs/sha256/${'0'.repeat(64)}`));
    await rejectsWith(fixture, 'ENOTDIR', tree.stat(`${repository}/single/manifest.json/x`));
    await rejectsWith(fixture, 'EISDIR', tree.read(`${repository}/single`));
  });

  check('content takes no writes', async (fixture) => {
    const { tree, repository } = fixture;
    await rejectsWith(fixture, 'EROFS', tree.openForWriting(`${repository}/single/manifest.json`));
  });

  check('many readers at once get the right bytes', async ({ tree, repository, single }) => {
    const paths = single.layers.map((_, at) => `${repository}/single/layers/${at}.tar.gz`);
    const reads = Array.from({ length: 24 }, async (_, at) => tree.read(paths[at % paths.length] ?? ''));
    for (const [at, bytes] of (await Promise.all(reads)).entries()) {
      assert.ok(bytes.equals(single.layers[at % paths.length]?.bytes ?? Buffer.alloc(0)));
    }
  });
}
