/**
 * Images to and from other tools: whatever we export (through `export/` of a mount, by `imgfs export` and by `imgfs cp`) is
 * taken by skopeo, podman, umoci and GNU tar, and whatever these and ctr write is read. All that comes of it is mounted at
 * the end and compared with the image file by file.
 */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { mustRun, run, skipWithout } from '../support/child.js';
import { startContainerd, unmountBelow } from '../support/engines.js';
import { buildImage, buildIndex, sampleImage, type BuiltImage } from '../support/image-builder.js';
import { imgfsIn, imgfsMain, type ImgfsCommand } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { oddLayers } from '../support/odd-layers.js';
import { rawTar } from '../support/raw-tar.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const skip =
  skipWithoutMount('native') ||
  skipWithout('skopeo', 'umoci', 'tar', 'diff', 'cmp') ||
  (process.getuid?.() !== 0 && 'needs root: owners and devices of the image');
const tool = { timeoutMs: 120_000 };

/** What came of an image: where it lies, to be mounted and compared. */
interface Outcome {
  readonly what: string;
  readonly image: string;
  readonly location: string;
  /** Of the image in that store. */
  readonly path: string;
}

/** Tags of the images. umoci 0.4 knows no zstd, and reads no index; skopeo writes no zstd into a docker-archive. */
const images = {
  gzip: { umoci: true, docker: true },
  zstd: { umoci: false, docker: false },
  odd: { umoci: true, docker: true },
  multi: { umoci: false, docker: true },
} as const;
type ImageTag = keyof typeof images;
const tags = Object.keys(images) as ImageTag[];
const amd64 = ['--override-arch', 'amd64', '--override-os', 'linux'];

class Scene {
  readonly directory: string;
  readonly imgfs: ImgfsCommand;
  readonly digests = new Map<ImageTag, string>();
  readonly outcomes: Outcome[] = [];
  readonly cleanups: (() => Promise<unknown>)[] = [];

  constructor(directory: string) {
    this.directory = directory;
    this.imgfs = imgfsIn(directory);
  }

  at(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  source(tag: string): string {
    return `oci:${this.at('layout')}:${tag}`;
  }

  async ok(...words: string[]): Promise<void> {
    const { code, stderr } = await this.imgfs(words, tool);
    assert.equal(code, 0, `imgfs ${words.join(' ')}: ${stderr}`);
  }

  async mount(name: string, stores: readonly string[]): Promise<string> {
    const path = this.at(name);
    await mkdir(path);
    await this.ok(
      'mount',
      path,
      '-o',
      'ro',
      '--platform',
      'linux/amd64',
      ...stores.flatMap((store) => ['--store', store]),
    );
    this.cleanups.push(async () => {
      if ((await findMount(path)) !== undefined) await unmountPath(path, { lazy: true });
    });
    return path;
  }

  /** Where an image is whose manifest was kept and whose name was not. */
  byDigest(tag: ImageTag): string {
    const [algorithm = '', hex = ''] = (this.digests.get(tag) ?? '').split(':');
    return join('@digests', algorithm, hex);
  }

  came(what: string, image: string, location: string, path: string): void {
    this.outcomes.push({ what, image, location, path });
  }
}

const skopeo = (...words: string[]) =>
  mustRun('skopeo', ['--insecure-policy', ...amd64, 'copy', '-q', ...words], tool);

/** podman takes no layer with two entries of one name. */
const isDoubled = (part: Uint8Array): boolean => Buffer.from(part).includes('first');

async function makeImages(scene: Scene): Promise<void> {
  const arm64 = await sampleImage({ seed: 2, platform: { os: 'linux', architecture: 'arm64' } });
  const odd = await buildImage({
    layers: oddLayers.map((parts) => ({ entries: rawTar(...parts.filter((part) => !isDoubled(part))) })),
  });
  const made: Record<ImageTag, BuiltImage> = {
    gzip: await sampleImage(),
    zstd: await sampleImage({ seed: 3, compression: 'zstd' }),
    odd,
    multi: await buildIndex([await sampleImage({ seed: 4 }), arm64]),
  };
  for (const tag of tags) scene.digests.set(tag, made[tag].descriptor.digest);
  await writeLayout(
    scene.at('layout'),
    tags.map((tag) => ({ image: made[tag], name: tag })),
  );
}

/** Those that the command exports too; each run of it takes half a second. */
const byCommand: readonly ImageTag[] = ['gzip', 'multi'];

/** The same archive by all ways: a file of a mount, a file and a stream of the command. */
async function exported(
  scene: Scene,
  mounted: string,
  tag: ImageTag,
  format: 'oci' | 'docker' | 'rootfs',
): Promise<void> {
  const file = scene.at(`${tag}-${format}.tar`);
  await mustRun('cp', [join(mounted, 'images', tag, 'export', `${format}.tar`), file], tool);
  if (!byCommand.includes(tag)) return;
  const [byName, streamed] = [
    scene.at(`${tag}-${format}-command.tar`),
    scene.at(`${tag}-${format}-streamed.tar`),
  ];
  const words = ['export', scene.source(tag), '--format', format, '--platform', 'linux/amd64'];
  const name = format === 'docker' ? ['--name', `registry.test/me/${tag}:v1`] : [];
  await scene.ok(...words, ...name, '-o', byName);
  // Names in an archive are those of where the image was read.
  if (format === 'rootfs') await mustRun('cmp', [file, byName]);
  if (tag !== 'gzip') return;
  const quoted = [process.execPath, imgfsMain, ...words, ...name].map((word) => `'${word}'`).join(' ');
  await mustRun('sh', ['-c', `${quoted} > '${streamed}'`], {
    ...tool,
    env: { ...process.env, ...scene.imgfs.environment },
  });
  await mustRun('cmp', [byName, streamed]);
}

async function skopeoAndTar(scene: Scene, t: TestContext, tag: ImageTag): Promise<void> {
  const copy = async (
    what: string,
    from: string,
    to: string,
    path: string,
    ...words: string[]
  ): Promise<void> => {
    await t.test(what, async () => {
      await skopeo(...words, from, path === 'latest' ? to : `${to}:${path}`);
      scene.came(what, tag, to, path);
    });
  };
  const all = tag === 'multi' ? ['--all'] : [];
  for (const way of byCommand.includes(tag) ? ['', '-command'] : ['']) {
    const oci = scene.at(`${tag}-oci${way}.tar`);
    const docker = scene.at(`${tag}-docker${way}.tar`);
    await copy(
      `skopeo takes ${tag} from oci.tar${way}`,
      `oci-archive:${oci}`,
      `oci:${scene.at(`s-oci-${tag}${way}`)}`,
      'x',
      ...all,
    );
    await copy(
      `skopeo takes ${tag} from docker.tar${way}`,
      `docker-archive:${docker}`,
      `dir:${scene.at(`s-docker-${tag}${way}`)}`,
      'latest',
    );
  }
  await t.test(`skopeo takes ${tag} from dir: and oci: that imgfs cp wrote`, async () => {
    await scene.ok('cp', scene.source(tag), `dir:${scene.at(`dir-${tag}`)}`);
    await scene.ok('cp', scene.source(tag), `oci:${scene.at(`copied-${tag}`)}:x`);
    await skopeo(...all, `dir:${scene.at(`dir-${tag}`)}`, `oci:${scene.at(`s-dir-${tag}`)}:x`);
    await skopeo(
      ...all,
      `oci:${scene.at(`copied-${tag}`)}:x`,
      `oci-archive:${scene.at(`s-copied-${tag}.tar`)}:x`,
    );
    scene.came('dir: by way of skopeo', tag, `oci:${scene.at(`s-dir-${tag}`)}`, 'x');
    scene.came('oci: by way of skopeo', tag, `oci-archive:${scene.at(`s-copied-${tag}.tar`)}`, 'x');
  });
  for (const format of ['oci', 'docker', 'rootfs']) {
    await t.test(`GNU tar takes ${format}.tar of ${tag}`, async () => {
      const into = scene.at(`tar-${format}-${tag}`);
      await mkdir(into);
      const { stderr } = await mustRun(
        'tar',
        [
          '-xpf',
          scene.at(`${tag}-${format}.tar`),
          '-C',
          into,
          '--xattrs',
          '--xattrs-include=*',
          '--numeric-owner',
        ],
        tool,
      );
      assert.equal(stderr, '');
      // What it unpacked of a layout is one.
      if (format === 'oci') scene.came('oci.tar unpacked by tar', tag, `oci:${into}`, scene.byDigest(tag));
    });
  }
  if (!images[tag].umoci) return;
  await t.test(`umoci takes ${tag} out of oci.tar`, async () => {
    await skopeo(`oci-archive:${scene.at(`${tag}-oci.tar`)}`, `oci:${scene.at(`u-${tag}`)}:x`);
    await mustRun(
      'umoci',
      ['unpack', '--image', `${scene.at(`u-${tag}`)}:x`, scene.at(`unpacked-${tag}`)],
      tool,
    );
    await mustRun(
      'umoci',
      ['repack', '--image', `${scene.at(`u-${tag}`)}:again`, scene.at(`unpacked-${tag}`)],
      tool,
    );
    scene.came('repacked by umoci', tag, `oci:${scene.at(`u-${tag}`)}`, 'again');
  });
}

async function writtenBySkopeo(scene: Scene, t: TestContext, tag: ImageTag): Promise<void> {
  const named = `registry.test/me/${tag}`;
  const targets: readonly (readonly [location: string, suffix: string, path: string])[] = [
    [`oci:${scene.at(`w-oci-${tag}`)}`, ':x', 'x'],
    [`oci-archive:${scene.at(`w-${tag}.oci.tar`)}`, ':x', 'x'],
    [`docker-archive:${scene.at(`w-${tag}.docker.tar`)}`, `:${named}:v1`, `${named}/v1`],
    [`dir:${scene.at(`w-dir-${tag}`)}`, '', 'latest'],
  ];
  for (const [location, suffix, path] of targets) {
    const transport = location.split(':', 1)[0] ?? '';
    if (transport === 'docker-archive' && !images[tag].docker) continue;
    await t.test(`skopeo writes ${tag} into ${transport}`, async () => {
      await skopeo(scene.source(tag), `${location}${suffix}`);
      scene.came(`${transport} of skopeo`, tag, location, path);
    });
  }
}

async function podmanAndStorage(scene: Scene, t: TestContext): Promise<void> {
  const [root, runRoot] = [scene.at('podman'), scene.at('podman-run')];
  scene.cleanups.push(() => unmountBelow(scene.directory));
  const storage = `containers-storage:[vfs@${root}]`;
  for (const tag of tags) {
    await t.test(`skopeo writes ${tag} into containers-storage`, async () => {
      await skopeo(
        scene.source(tag),
        `containers-storage:[vfs@${root}+${runRoot}]registry.test/by-skopeo/${tag}:v1`,
      );
      scene.came('containers-storage of skopeo', tag, storage, `registry.test/by-skopeo/${tag}/v1`);
    });
  }
  if (skipWithout('podman') !== false) return;
  const podman = (...words: string[]) =>
    run('podman', ['--root', root, '--runroot', runRoot, '--storage-driver', 'vfs', ...words], tool);
  const works = await podman('images', '-q');
  if (works.code !== 0) {
    t.diagnostic(`podman does not run here: ${works.stderr.slice(0, 200)}`);
    return;
  }
  for (const tag of tags) {
    for (const format of ['oci', 'docker']) {
      await t.test(`podman load takes ${format}.tar of ${tag}`, async () => {
        const named = format === 'docker' && byCommand.includes(tag);
        const file = scene.at(`${tag}-${format}${named ? '-command' : ''}.tar`);
        const { code, stdout, stderr } = await podman('load', '-i', file);
        assert.equal(code, 0, stderr);
        const loaded = /Loaded image[^:]*: *(\S+)/.exec(stdout)?.[1] ?? '';
        assert.notEqual(loaded, '', stdout);
        if (named) assert.equal(loaded, `registry.test/me/${tag}:v1`);
        const name = `localhost/loaded-${format}-${tag}:v1`;
        assert.equal((await podman('tag', loaded, name)).code, 0);
        scene.came(`podman load of ${format}.tar`, tag, storage, name.replace(':', '/'));
      });
    }
  }
  for (const format of ['docker-archive', 'oci-archive', 'docker-dir', 'oci-dir']) {
    await t.test(`podman save --format ${format}`, async () => {
      const into = scene.at(`saved-${format}`);
      const { code, stderr } = await podman(
        'save',
        '--format',
        format,
        '-o',
        into,
        'localhost/loaded-docker-gzip:v1',
      );
      assert.equal(code, 0, stderr);
      const transport = { 'docker-dir': 'dir', 'oci-dir': 'oci' }[format] ?? format;
      const path = format === 'docker-dir' ? 'latest' : 'localhost/loaded-docker-gzip/v1';
      scene.came(`podman save --format ${format}`, 'gzip', `${transport}:${into}`, path);
    });
  }
}

async function containerdExports(scene: Scene, t: TestContext): Promise<void> {
  if (skipWithout('containerd', 'ctr') !== false) return;
  const engine = await startContainerd(scene.cleanups, scene.at('containerd'));
  for (const tag of tags) {
    await t.test(`ctr takes oci.tar of ${tag}, and what it exports is read`, async () => {
      const file = scene.at(`${tag}-oci.tar`);
      await engine.ctr(
        'default',
        'images',
        'import',
        '--no-unpack',
        '--all-platforms',
        '--base-name',
        `example.org/${tag}`,
        '--digests',
        file,
      );
      const list = await mustRun('sh', [
        '-c',
        `ctr -a '${scene.at('containerd', 'c.sock')}' -n default images ls -q`,
      ]);
      const name = list.stdout.split('\n').find((line) => line.startsWith(`example.org/${tag}`)) ?? '';
      await engine.ctr('default', 'images', 'export', '--all-platforms', scene.at(`ctr-${tag}.tar`), name);
      scene.came('ctr images export', tag, `oci-archive:${scene.at(`ctr-${tag}.tar`)}`, scene.byDigest(tag));
    });
  }
}

/** Lines of `diff` that say more than that two devices or pipes are there: it calls every two of them different. */
const differences = (stdout: string): string =>
  stdout
    .split('\n')
    .filter(
      (line) => !/ is a (fifo|block special file|character special file) while file .* is a \1/.test(line),
    )
    .join('\n');

test('images to other tools and back', { skip, timeout: 300_000 }, async (t) => {
  const scene = new Scene(await makeTempDir('exchange'));
  t.after(async () => {
    for (const cleanup of scene.cleanups.toReversed()) await cleanup();
    await removeTempDir(scene.directory);
  });
  await makeImages(scene);
  const mounted = await scene.mount('mnt', [`images=oci:${scene.at('layout')}`]);
  for (const tag of tags) {
    await t.test(`${tag} is exported the same by all ways`, async () => {
      const formats = ['oci', 'docker', 'rootfs'] as const;
      await Promise.all(formats.map((format) => exported(scene, mounted, tag, format)));
    });
    await skopeoAndTar(scene, t, tag);
    await writtenBySkopeo(scene, t, tag);
  }
  await podmanAndStorage(scene, t);
  await containerdExports(scene, t);
  const locations = [...new Set(scene.outcomes.map(({ location }) => location))];
  const all = await scene.mount(
    'all',
    locations.map((location, index) => `store${index}=${location}`),
  );
  for (const { what, image, location, path } of scene.outcomes) {
    await t.test(`${image}: ${what}`, async () => {
      const [reference, here] = [
        join(mounted, 'images', image, 'rootfs'),
        join(all, `store${locations.indexOf(location)}`, path, 'rootfs'),
      ];
      const { stdout, stderr } = await run('diff', ['-r', '--no-dereference', reference, here], tool);
      assert.equal(`${differences(stdout)}${stderr}`, '');
    });
  }
  t.diagnostic(`${scene.outcomes.length} ways`);
});
