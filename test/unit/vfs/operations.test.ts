/** docs/SEMANTICS.md, "Operations": every operation on every kind of path, each row a number and a test. */
import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { test, type TestContext } from 'node:test';
import { ImgfsError } from '../../../src/errors/imgfs-error.js';
import { codeFacts } from '../../../src/errors/codes.js';
import { digestHex } from '../../../src/oci/digest.js';
import { nameFromText } from '../../../src/vfs/name.js';
import { startFaultRegistry } from '../../support/fault-registry/index.js';
import { buildIndex, sampleImage } from '../../support/image-builder.js';
import { pushMount } from '../../support/push-fixture.js';
import { tempDir } from '../../support/temp.js';

const timeout = 20_000;

/** What the kernel asks of a directory, and of a file; all else it refuses by itself (EISDIR, ENOTDIR, ENOTEMPTY). */
const operations = {
  directory: ['create', 'mkdir', 'symlink', 'rmdir', 'rename', 'setattr'],
  file: ['unlink', 'rename', 'link', 'write', 'truncate', 'setattr', 'copy'],
} as const;
type Operation = (typeof operations)[keyof typeof operations][number];

const repository = 'group/app';

const sample = sampleImage();
const index = sampleImage({ platform: { os: 'linux', architecture: 'arm64' } }).then((child) =>
  buildIndex([child]),
);

async function setUp(t: TestContext) {
  const registry = await startFaultRegistry();
  t.after(() => registry.close());
  const image = await sample;
  registry.addImage(repository, image, 'v1');
  registry.addImage(repository, await index, 'index');
  const mount = pushMount(registry, await tempDir(t, 'operations'), {
    rules: { allowDelete: true, allowOverwrite: true },
    inside: true,
  });
  t.after(() => mount.close());
  const base = `${registry.host}/${repository}`;
  await mount.cp('done', `${base}/@uploads/done`);
  await mount.mkdir(`${base}/@uploads/session`);
  await mount.mkdir(`${base}/made`);
  await mount.mkdir(`${base}/made/layers`);
  // What was read is in `blobs/` of the root.
  await mount.tree.read(`${base}/v1/config.json`);
  const open = await mount.openNew(`${base}/@uploads/open`);
  t.after(() => mount.fileSystem.release(open));
  const config = image.blobs[0]?.descriptor.digest ?? image.descriptor.digest;
  const names: Readonly<Record<string, string>> = {
    '<host>': registry.host,
    '<repo>': base,
    '<image>': digestHex(image.descriptor.digest),
    '<blob>': digestHex(config),
  };
  return { ...mount, base, names };
}

/** The errno of what `work` throws, or `ok`. */
async function outcome(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (error instanceof ImgfsError) return codeFacts[error.code].errno;
    throw error;
  }
}

type Ground = Awaited<ReturnType<typeof setUp>>;

async function perform(operation: Operation, path: string, ground: Ground): Promise<void> {
  const { fileSystem: fs, tree, base } = ground;
  const { caller } = tree;
  const slash = path.lastIndexOf('/');
  const parent = () => tree.inode(path.slice(0, Math.max(0, slash)));
  const name = nameFromText(path.slice(slash + 1));
  const self = await tree.inode(path);
  switch (operation) {
    case 'create': {
      const { opened } = await fs.create(caller, self, nameFromText('new'), 0o644, constants.O_WRONLY);
      return fs.release(opened.handle);
    }
    case 'mkdir':
      return void (await fs.mkdir(caller, self, nameFromText('new'), 0o755));
    case 'symlink':
      return void (await fs.symlink(caller, self, nameFromText('new'), nameFromText('v1')));
    case 'unlink':
      return fs.unlink(caller, await parent(), name);
    case 'rmdir':
      return fs.rmdir(caller, await parent(), name);
    case 'rename':
      return fs.rename(caller, await parent(), name, await parent(), nameFromText('moved'), 0);
    case 'link':
      return void (await fs.link(caller, self, await tree.inode(`${base}/@uploads`), nameFromText('linked')));
    case 'write':
      return fs.release((await fs.open(caller, self, constants.O_WRONLY)).handle);
    case 'truncate':
      return void (await fs.setattr(caller, self, { size: 3 }, undefined));
    case 'setattr': {
      const results = await Promise.all(
        [{ mode: 0o600 }, { uid: 1 }, { gid: 1 }, { mtimeNs: 1n }].map((change) =>
          outcome(() => fs.setattr(caller, self, change, undefined)),
        ),
      );
      assert.equal(new Set(results).size, 1, `${path}: ${results.join(', ')}`);
      return void (await fs.setattr(caller, self, { mode: 0o600 }, undefined));
    }
    case 'copy': {
      const from = (await fs.open(caller, self, constants.O_RDONLY)).handle;
      const to = await ground.openNew(`${base}/@uploads/copy`);
      try {
        return void (await fs.copyFileRange(caller, from, 0, to, 0, 1 << 30));
      } finally {
        await fs.release(from);
        await fs.release(to);
      }
    }
  }
}

/** What each operation gives on the path, in the order of {@link operations}: an errno, or `ok`. */
function row(kind: keyof typeof operations, templates: string | readonly string[], expected: string) {
  return async (t: TestContext): Promise<void> => {
    let ground = await setUp(t);
    for (const template of [templates].flat()) {
      const found: string[] = [];
      for (const operation of operations[kind]) {
        // What one operation changes must not be what the next one finds.
        if (found.at(-1) === 'ok') ground = await setUp(t);
        const path = template.replaceAll(/<\w+>/gu, (name) => ground.names[name] ?? name);
        const isRoot = template === '' && (operation === 'rmdir' || operation === 'rename');
        found.push(isRoot ? '-' : await outcome(() => perform(operation, path, ground)));
      }
      assert.equal(found.join(' '), expected, template);
    }
  };
}

// prettier-ignore
{
  test('O1 the root of the tree', { timeout }, row('directory', '', 'EPERM EPERM EPERM - - ok'));
  test('O2 a registry', { timeout }, row('directory', '<host>', 'EPERM ok EINVAL EPERM EPERM ok'));
  test('O3 a repository', { timeout }, row('directory', '<repo>', 'EPERM ok ok EPERM EPERM ok'));
  test('O4 @tags', { timeout }, row('directory', '<repo>/@tags', 'EPERM ok ok EPERM EPERM ok'));
  test('O5 @digests/<alg>', { timeout }, row('directory', '<repo>/@digests/sha256', 'EPERM EINVAL EPERM EPERM EPERM ok'));
  test('O6 @blobs/<alg>', { timeout }, row('directory', '<repo>/@blobs/sha256', 'EINVAL EPERM EPERM EPERM EPERM ok'));
  test('O7 a tag', { timeout }, row('directory', '<repo>/v1', 'EPERM EPERM EPERM ok ok ok'));
  test('O8 an image by digest', { timeout }, row('directory', '<repo>/@digests/sha256/<image>', 'EPERM EPERM EPERM ok EPERM ok'));
  test('O9 layers/ of an image', { timeout }, row('directory', '<repo>/v1/layers', 'EPERM EPERM EPERM EPERM EPERM ok'));
  test('O10 @uploads', { timeout }, row('directory', '<repo>/@uploads', 'ok ok EPERM EPERM EPERM ok'));
  test('O11 an upload session', { timeout }, row('directory', '<repo>/@uploads/session', 'EPERM EPERM EPERM ok EPERM ok'));
  test('O12 a directory made with mkdir', { timeout }, row('directory', '<repo>/made', 'EPERM ok EPERM ok EPERM ok'));
  test('O13 layers/ of such a directory', { timeout }, row('directory', '<repo>/made/layers', 'ok EPERM EPERM ok EPERM ok'));
  test('O24 rootfs/, layers/N/ and directories in them', { timeout }, row('directory', ['<repo>/v1/rootfs', '<repo>/v1/rootfs/etc', '<repo>/v1/layers/0', '<repo>/v1/layers/0/etc'], 'EPERM EPERM EPERM EPERM EPERM ok'));
  test('O25 export/, signatures/, sbom/, attestations/, referrers/ and platforms/ of an image', { timeout }, row('directory', ['<repo>/v1/export', '<repo>/v1/signatures', '<repo>/v1/sbom', '<repo>/v1/attestations', '<repo>/v1/referrers', '<repo>/index/platforms', '<repo>/index/platforms/linux-arm64'], 'EPERM EPERM EPERM EPERM EPERM ok'));
  test('O26 .imgfs/, blobs/ of the root, and @store, @all, @search', { timeout }, row('directory', ['.imgfs', 'blobs', 'blobs/sha256', '<host>/@store', '<repo>/@all', '<host>/@search'], 'EPERM EPERM EPERM EPERM EPERM ok'));
  test('O14 the manifest of a tag', { timeout }, row('file', '<repo>/v1/manifest.json', 'ok EPERM ok ok EINVAL ok EOPNOTSUPP'));
  test('O15 the config of an image', { timeout }, row('file', '<repo>/v1/config.json', 'EPERM EPERM ok ok EINVAL ok EOPNOTSUPP'));
  test('O16 a layer as it is stored', { timeout }, row('file', '<repo>/v1/layers/0.tar.gz', 'EPERM EPERM ok ok EINVAL ok EOPNOTSUPP'));
  test('O17 what is derived (digest, reference, inspect.json)', { timeout }, row('file', '<repo>/v1/digest', 'EPERM EPERM EPERM EPERM EPERM EPERM EOPNOTSUPP'));
  test('O18 a blob by digest', { timeout }, row('file', '<repo>/@blobs/sha256/<blob>', 'ok EPERM ok ok EINVAL ok EOPNOTSUPP'));
  test('O19 an upload under way', { timeout }, row('file', '<repo>/@uploads/open', 'ok ok EPERM ok ok ok EOPNOTSUPP'));
  test('O20 a committed upload', { timeout }, row('file', '<repo>/@uploads/done', 'ok ok EPERM ok EPERM ok EOPNOTSUPP'));
  test('O21 data of a session', { timeout }, row('file', '<repo>/@uploads/session/data', 'ok EPERM EPERM ok ok ok EOPNOTSUPP'));
  test('O22 digest of a session', { timeout }, row('file', '<repo>/@uploads/session/digest', 'ok EPERM EPERM ok EINVAL ok EOPNOTSUPP'));
  test('O23 uuid, started_at and offset of a session', { timeout }, row('file', '<repo>/@uploads/session/uuid', 'ok EPERM EPERM EPERM EPERM EPERM EOPNOTSUPP'));
  test('O27 files in rootfs/ and layers/N/', { timeout }, row('file', ['<repo>/v1/rootfs/etc/os-release', '<repo>/v1/layers/0/etc/os-release'], 'EPERM EPERM EPERM EPERM EPERM EPERM EOPNOTSUPP'));
  test('O28 layers/N.tar, archives in export/ and control files', { timeout }, row('file', ['<repo>/v1/layers/0.tar', '<repo>/v1/export/oci.tar', '<repo>/v1/export/rootfs.tar', '.imgfs/status.json'], 'EPERM EPERM EPERM EPERM EPERM EPERM EOPNOTSUPP'));
  test('O29 a blob of the root', { timeout }, row('file', 'blobs/sha256/<blob>', 'EPERM EPERM ok ok EINVAL ok EOPNOTSUPP'));
}
