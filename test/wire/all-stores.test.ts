/**
 * One image through every store, put there by the tools the stores belong to: the same files everywhere, the same
 * manifest where the format keeps it.
 *
 * `IMGFS_TEST_LAYOUT` and `IMGFS_TEST_TAGS` name a layout and tags of real images to take instead of a small one.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { diffTrees } from '../support/diff-trees.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startContainerd, startDockerd, unmountBelow } from '../support/engines.js';
import { sampleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { sifTypes } from '../../src/store/sif/sif-file.js';
import { buildSif } from '../support/sif-writer.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const skip =
  skipWithoutMount('native') ||
  skipWithout('skopeo', 'docker-registry', 'diff', 'umoci', 'tar', 'curl') ||
  (process.getuid?.() !== 0 && 'needs root: owners and devices of the image');
const tool = { timeoutMs: 240_000 };

/** A store of the mount: where the image is in it, and whether its format keeps the manifest. */
interface Place {
  readonly name: string;
  readonly location: string;
  readonly image: string;
  readonly keepsManifest: boolean;
}

async function layoutOf(directory: string): Promise<{ path: string; tag: string }> {
  const path = process.env['IMGFS_TEST_LAYOUT'];
  const tag = (process.env['IMGFS_TEST_TAGS'] ?? '').split(',')[0];
  if (path !== undefined && tag !== undefined && tag !== '') return { path, tag };
  const made = join(directory, 'made');
  await writeLayout(made, [{ image: await sampleImage(), name: 'v1' }]);
  return { path: made, tag: 'v1' };
}

interface Scene {
  /** Run in the reverse order at the end: hooks of node:test run in their own. */
  readonly cleanups: (() => Promise<unknown>)[];
  readonly directory: string;
  readonly source: string;
  readonly path: string;
  readonly tag: string;
}

const skopeo = (...words: string[]) => mustRun('skopeo', ['--insecure-policy', 'copy', '-q', ...words], tool);

async function archivesAndDirectories({ directory, source, path }: Scene): Promise<Place[]> {
  const at = (name: string): string => join(directory, name);
  await skopeo(source, `oci:${at('layout')}:v1`);
  await skopeo(source, `oci-archive:${at('oci.tar')}:v1`);
  const docker = await skopeo(source, `docker-archive:${at('docker.tar')}:example.org/app:v1`).catch(
    (error: Error) => error,
  );
  if (docker instanceof Error) {
    // The format has no name for such layers, and skopeo decodes none for it.
    assert.match(docker.message, /zstd compression is not supported for docker images/);
    await rm(at('docker.tar'), { force: true });
  }
  await skopeo(source, `dir:${at('dir')}`);
  return [
    { name: 'layout', location: `oci:${at('layout')}`, image: 'v1', keepsManifest: true },
    {
      name: 'source',
      location: `oci:${path}`,
      image: source.slice(source.lastIndexOf(':') + 1),
      keepsManifest: true,
    },
    { name: 'ociarchive', location: `oci-archive:${at('oci.tar')}`, image: 'v1', keepsManifest: true },
    ...(docker instanceof Error
      ? []
      : [
          {
            name: 'dockerarchive',
            location: `docker-archive:${at('docker.tar')}`,
            image: 'example.org/app/v1',
            keepsManifest: false,
          },
        ]),
    { name: 'dir', location: `dir:${at('dir')}`, image: 'latest', keepsManifest: true },
  ];
}

/** With the overlay driver where it works, else as copies. */
async function containersStorage({ directory, source, cleanups }: Scene): Promise<Place[]> {
  cleanups.push(() => unmountBelow(directory));
  const copy = async (driver: string): Promise<Place> => {
    const root = join(directory, `storage-${driver}`);
    const store = `[${driver}@${root}+${join(directory, `run-${driver}`)}]`;
    await skopeo(source, `containers-storage:${store}example.org/app:v1`);
    const location = `containers-storage:[${driver}@${root}]`;
    return { name: 'podman', location, image: 'example.org/app/v1', keepsManifest: false };
  };
  return [await copy('overlay').catch(() => copy('vfs'))];
}

async function containerd({ directory, cleanups }: Scene): Promise<Place[]> {
  if (skipWithout('containerd', 'ctr') !== false) return [];
  const engine = await startContainerd(cleanups, join(directory, 'containerd'));
  cleanups.push(() => unmountBelow(directory));
  await engine.ctr(
    'default',
    'images',
    'import',
    '--no-unpack',
    '--base-name',
    'example.org/app',
    join(directory, 'oci.tar'),
  );
  return [
    {
      name: 'containerd',
      location: `containerd:[default@${engine.root}]`,
      image: 'example.org/app/v1',
      keepsManifest: true,
    },
  ];
}

/** What an engine has against the archive that skopeo made; '' when it takes it. Real images are odd at times. */
async function refusalOf(socket: string, archive: string): Promise<string> {
  const words = ['-sS', '--unix-socket', socket, '-T', archive, '-X', 'POST', 'http://x/images/load?quiet=1'];
  const { stdout } = await mustRun('curl', words, tool);
  return /"error":"([^"]*)/.exec(stdout)?.[1] ?? '';
}

/** Also shows that an engine takes the archive that we make. */
async function dockerd({ directory, source, cleanups }: Scene, t: TestContext): Promise<Place[]> {
  if (skipWithout('dockerd') !== false) return [];
  const engine = await startDockerd(cleanups, join(directory, 'dockerd'));
  cleanups.push(() => unmountBelow(directory));
  if ('why' in engine) {
    t.diagnostic(engine.why);
    return [];
  }
  const imgfs = imgfsIn(directory);
  const loaded = await imgfs(['cp', source, `docker-daemon:[${engine.socket}]example.org/app:v1`], tool);
  if (loaded.code !== 0) {
    const theirs = join(directory, 'docker.tar');
    const why = existsSync(theirs)
      ? await refusalOf(engine.socket, theirs)
      : (/the engine at .* says: (.*)/.exec(loaded.stderr)?.[1] ?? '');
    assert.notEqual(why, '', loaded.stderr);
    t.diagnostic(`dockerd does not take this image: ${why}`);
    return [];
  }
  return [
    {
      name: 'docker',
      location: `docker-daemon:[${engine.socket}]`,
      image: 'example.org/app/v1',
      keepsManifest: false,
    },
  ];
}

/** A tar of the files as umoci unpacks them, and the blobs of the layout as an OCI-SIF. */
async function tarballAndSif({ directory, source }: Scene): Promise<Place[]> {
  // umoci knows no zstd.
  const readable = join(directory, 'recoded');
  await skopeo('--dest-compress-format', 'gzip', source, `oci:${readable}:x`);
  await mustRun('umoci', ['raw', 'unpack', '--image', `${readable}:x`, join(directory, 'unpacked')], tool);
  const tar = join(directory, 'rootfs.tar');
  await mustRun(
    'tar',
    ['-C', join(directory, 'unpacked'), '--xattrs', '--numeric-owner', '-cf', tar, '.'],
    tool,
  );
  const layout = join(directory, 'layout');
  const index = await readFile(join(layout, 'index.json'));
  const manifest = JSON.parse(index.toString()).manifests[0].digest as string;
  const blob = (digest: string): Promise<Buffer> => readFile(join(layout, 'blobs', ...digest.split(':')));
  const { config, layers } = JSON.parse((await blob(manifest)).toString()) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  const digests = [...new Set([manifest, config.digest, ...layers.map(({ digest }) => digest)])];
  const parts = await Promise.all(
    digests.map(async (digest) => ({
      type: sifTypes.ociBlob,
      content: await blob(digest),
      extra: Buffer.from(digest),
    })),
  );
  const sif = buildSif([...parts, { type: sifTypes.ociRootIndex, content: index }]);
  await writeFile(join(directory, 'image.sif'), sif);
  return [
    { name: 'tarball', location: `tarball:${tar}`, image: 'latest', keepsManifest: false },
    { name: 'sif', location: `sif:${join(directory, 'image.sif')}`, image: 'v1', keepsManifest: true },
  ];
}

/** What imgfs writes, read again. */
async function ours({ directory, source }: Scene): Promise<Place[]> {
  const imgfs = imgfsIn(directory);
  const at = (name: string): string => join(directory, name);
  for (const target of [`docker-archive:${at('ours.tar')}:example.org/app:v1`, `dir:${at('ours-dir')}`]) {
    const { code, stderr } = await imgfs(['cp', source, target], tool);
    assert.equal(code, 0, stderr);
  }
  return [
    {
      name: 'ours',
      location: `docker-archive:${at('ours.tar')}`,
      image: 'example.org/app/v1',
      keepsManifest: true,
    },
    { name: 'oursdir', location: `dir:${at('ours-dir')}`, image: 'latest', keepsManifest: true },
  ];
}

test(
  'one image through all stores: the same files and, where it is kept, the same manifest',
  { skip, timeout: 600_000 },
  async (t) => {
    const directory = await makeTempDir('all');
    const cleanups: Scene['cleanups'] = [() => removeTempDir(directory)];
    t.after(async () => {
      for (const cleanup of cleanups.toReversed()) await cleanup();
    });
    const { path, tag } = await layoutOf(directory);
    const scene: Scene = { directory, cleanups, path, tag, source: `oci:${path}:${tag}` };
    const places = [
      ...(await archivesAndDirectories(scene)),
      ...(await containersStorage(scene)),
      ...(await containerd(scene)),
      ...(await dockerd(scene, t)),
      ...(await tarballAndSif(scene)),
      ...(await ours(scene)),
    ];
    const registry = await startDockerRegistry();
    cleanups.push(() => registry.close());
    await skopeo('--dest-tls-verify=false', scene.source, `docker://${registry.host}/group/app:v1`);

    const mountPoint = join(directory, 'mnt');
    await mkdir(mountPoint);
    const imgfs = imgfsIn(directory);
    const stores = places.flatMap(({ name, location }) => ['--store', `${name}=${location}`]);
    const mounted = await imgfs(['mount', mountPoint, '-o', 'ro', ...stores], tool);
    assert.equal(mounted.code, 0, mounted.stderr);
    cleanups.push(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
    });
    const reference = join(mountPoint, registry.host, 'group/app/v1');
    const manifest = await run('cat', [join(reference, 'manifest.json')]);
    for (const { name, image, keepsManifest } of places) {
      await t.test(name, { timeout: 300_000 }, async () => {
        const here = join(mountPoint, name, image);
        assert.equal(await diffTrees(join(reference, 'rootfs'), join(here, 'rootfs')), '');
        const kept = await run('cat', [join(here, 'manifest.json')]);
        assert.equal(kept.code, 0, kept.stderr);
        assert.equal(kept.stdout === manifest.stdout, keepsManifest, 'the manifest');
      });
    }
    t.diagnostic(`stores: ${places.map(({ name }) => name).join(', ')}`);
  },
);
