/**
 * Images to and from other tools: whatever we export (through `export/` of a mount, by `imgfs export` and by `imgfs cp`) is
 * taken by skopeo, podman, umoci, GNU tar and libarchive's, and whatever these and ctr write is read. All that comes of it
 * is mounted at the end and compared with the image file by file.
 */
import assert from 'node:assert/strict';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { mustRun, run, skipWithout } from '../support/child.js';
import { diffTrees } from '../support/diff-trees.js';
import { startContainerd, unmountBelow } from '../support/engines.js';
import { amd64, images, makeImages, Scene, tags, tool, type ImageTag } from '../support/exchange-scene.js';
import { imgfsMain } from '../support/imgfs-command.js';
import { skipWithoutMount } from '../support/mounted.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const skip =
  skipWithoutMount('native') ||
  skipWithout('skopeo', 'umoci', 'tar', 'diff', 'cmp') ||
  (process.getuid?.() !== 0 && 'needs root: owners and devices of the image');

const skopeo = (...words: string[]) =>
  mustRun('skopeo', ['--insecure-policy', ...amd64, 'copy', '-q', ...words], tool);

const formats = ['oci', 'docker', 'rootfs'] as const;
type Format = (typeof formats)[number];

/** Where a layout, an archive, a directory is that `imgfs cp` wrote. */
const written = ['oci', 'oci-archive', 'docker-archive', 'dir'] as const;

/** The same archive by all ways: a file of a mount, and a file of the command, which for one image is a stream too. */
async function exported(scene: Scene, mounted: string, tag: ImageTag, format: Format): Promise<void> {
  const file = scene.at(`${tag}-${format}.tar`);
  const byCommand = scene.at(`${tag}-${format}-command.tar`);
  const words = ['export', scene.source(tag), '--format', format, '--platform', 'linux/amd64'];
  const name = format === 'docker' ? ['--name', `registry.test/me/${tag}:v1`] : [];
  await mustRun('cp', [join(mounted, 'images', tag, 'export', `${format}.tar`), file], tool);
  await scene.ok(...words, ...name, '-o', byCommand);
  // Names in the other archives are those of where the image was read.
  if (format === 'rootfs') await mustRun('cmp', [file, byCommand]);
  if (tag !== 'gzip') return;
  const streamed = scene.at(`${tag}-${format}-streamed.tar`);
  const quoted = [process.execPath, imgfsMain, ...words, ...name].map((word) => `'${word}'`).join(' ');
  await mustRun('sh', ['-c', `${quoted} > '${streamed}'`], {
    ...tool,
    env: { ...process.env, ...scene.imgfs.environment },
  });
  await mustRun('cmp', [byCommand, streamed]);
}

/** What `imgfs cp` writes, in all stores that it writes into files. */
async function copied(scene: Scene, tag: string, targets: readonly string[]): Promise<void> {
  for (const target of targets) {
    const name = { dir: '', 'docker-archive': `:registry.test/me/${tag}:v1` }[target] ?? ':x';
    await scene.ok('cp', scene.source(tag), `${target}:${scene.at(`cp-${target}-${tag}`)}${name}`);
  }
}

/** skopeo knows names of OCI manifests only; what it finds alone in a layout it takes, whatever its type. */
const nameFor: Readonly<Partial<Record<ImageTag, string>>> = { schema2: '' };

/** Where skopeo takes an image from that it is to write elsewhere. */
const skopeoSource = (scene: Scene, tag: ImageTag): string =>
  tag in nameFor ? `dir:${scene.at(`cp-dir-${tag}`)}` : scene.source(tag);

async function takenBySkopeo(scene: Scene, t: TestContext, tag: ImageTag): Promise<void> {
  const all = tag === 'multi' ? ['--all'] : [];
  const sources: (readonly [what: string, from: string])[] = [
    ['oci.tar', `oci-archive:${scene.at(`${tag}-oci.tar`)}`],
    ['oci.tar of the command', `oci-archive:${scene.at(`${tag}-oci-command.tar`)}`],
    ['docker.tar', `docker-archive:${scene.at(`${tag}-docker.tar`)}`],
    ['docker.tar of the command', `docker-archive:${scene.at(`${tag}-docker-command.tar`)}`],
    ...written.map((target): readonly [string, string] => [
      `${target}: of imgfs cp`,
      `${target}:${scene.at(`cp-${target}-${tag}`)}${target === 'oci' ? (nameFor[tag] ?? ':x') : ''}`,
    ]),
  ];
  const into = `oci:${scene.at(`by-skopeo-${tag}`)}`;
  for (const [at, [what, from]] of sources.entries()) {
    await t.test(`skopeo takes ${what}`, async () => {
      await skopeo(...(from.startsWith('docker') ? [] : all), from, `${into}:x${at}`);
      scene.came(`skopeo took ${what}`, tag, into, `x${at}`);
    });
  }
}

/** GNU tar and bsdtar unpack all of it without a word; an OCI archive that is unpacked is a layout. */
async function takenByTar(scene: Scene, t: TestContext, tag: ImageTag): Promise<void> {
  const gnu = ['-xpf', '--xattrs', '--xattrs-include=*', '--numeric-owner'];
  const tars: readonly (readonly [program: string, words: readonly string[]])[] = [
    ['tar', gnu],
    ['bsdtar', ['-xpf', '--numeric-owner']],
  ];
  for (const [program, [flags = '', ...more]] of tars) {
    if (skipWithout(program) !== false) continue;
    for (const format of formats) {
      await t.test(`${program} takes ${format}.tar`, async () => {
        const into = scene.at(`${program}-${format}-${tag}`);
        await mkdir(into);
        const archive = scene.at(`${tag}-${format}.tar`);
        const { stderr } = await mustRun(program, [flags, archive, '-C', into, ...more], tool);
        assert.equal(stderr, '');
        if (format === 'oci')
          scene.came(`oci.tar unpacked by ${program}`, tag, `oci:${into}`, scene.byDigest(tag));
        if (format !== 'rootfs') return;
        const packed = scene.at(`${program}-${tag}.tar`);
        await mustRun(program, ['-C', into, '--numeric-owner', '-cf', packed, '.'], tool);
        scene.came(`rootfs.tar unpacked and packed by ${program}`, tag, `tarball:${packed}`, 'latest');
      });
    }
  }
}

/** What umoci does with the layout that `imgfs cp` wrote, and with the OCI archive unpacked. */
async function takenByUmoci(scene: Scene, t: TestContext, tag: ImageTag): Promise<void> {
  const layout = scene.at(`cp-oci-${tag}`);
  const umoci = (...words: string[]) => run('umoci', words, tool);
  await t.test('umoci unpacks the layout of imgfs cp, and packs it again', async () => {
    const bundle = scene.at(`unpacked-${tag}`);
    const unpacked = await umoci('unpack', '--image', `${layout}:x`, bundle);
    const refusal = images[tag].umoci;
    if (refusal !== true && unpacked.code !== 0) {
      assert.match(unpacked.stderr, refusal);
      return;
    }
    assert.equal(unpacked.code, 0, unpacked.stderr);
    const packed = await umoci('repack', '--image', `${layout}:again`, bundle);
    assert.equal(packed.code, 0, packed.stderr);
    scene.came('repacked by umoci', tag, `oci:${layout}`, 'again');
  });
  await t.test('umoci lists the OCI archive that tar unpacked', async () => {
    const { stdout, stderr } = await umoci('ls', '--layout', scene.at(`tar-oci-${tag}`));
    assert.equal(stdout.trim(), tag, stderr);
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
    for (const all of tag === 'multi' && transport !== 'docker-archive' ? [[], ['--all']] : [[]]) {
      const what = `${transport} of skopeo ${all.join()}`.trim();
      await t.test(`skopeo writes ${what}`, async () => {
        const into = all.length === 0 ? location : `${location}-all`;
        await skopeo(...all, skopeoSource(scene, tag), `${into}${suffix}`);
        scene.came(what, tag, into, path);
      });
    }
  }
}

/** A manifest that is no image, and images with what refers to them. */
async function artifact(scene: Scene, t: TestContext, mounted: string): Promise<void> {
  const came = (what: string, location: string, path: string): void =>
    scene.came(what, 'artifact', location, path);
  await t.test('skopeo takes an artifact of every exporter that can hold one, and writes it', async () => {
    const file = scene.at('artifact-oci.tar');
    await mustRun('cp', [join(mounted, 'images/artifact/export/oci.tar'), file], tool);
    await scene.ok('export', scene.source('artifact'), '-o', scene.at('artifact-oci-command.tar'));
    await copied(scene, 'artifact', ['oci', 'oci-archive', 'dir']);
    const sources = [
      `oci-archive:${file}`,
      `oci-archive:${scene.at('artifact-oci-command.tar')}`,
      `oci:${scene.at('cp-oci-artifact')}:x`,
      `oci-archive:${scene.at('cp-oci-archive-artifact')}`,
      `dir:${scene.at('cp-dir-artifact')}`,
    ];
    const into = `oci:${scene.at('by-skopeo-artifact')}`;
    for (const [at, from] of sources.entries()) {
      await skopeo(from, `${into}:x${at}`);
      came(`skopeo took ${from.split(':', 1)[0]}: ${at}`, into, `x${at}`);
    }
    const [archive, directory] = [
      `oci-archive:${scene.at('w-artifact.tar')}`,
      `dir:${scene.at('w-dir-artifact')}`,
    ];
    await skopeo(scene.source('artifact'), `${archive}:x`);
    came('oci-archive of skopeo', archive, 'x');
    await skopeo(scene.source('artifact'), directory);
    came('dir of skopeo', directory, 'latest');
  });
  await t.test('referrers go along into a layout and an OCI archive, and are found there', async () => {
    const layout = `oci:${scene.at('cp-referrers')}`;
    for (const into of [layout, `oci-archive:${scene.at('cp-referrers.tar')}`]) {
      await scene.ok('cp', '--referrers', scene.source('gzip'), `${into}:x`);
      const { stdout, stderr } = await scene.imgfs(['referrers', `${into}:x`], tool);
      assert.match(stdout, new RegExp(`^${scene.digests.get('artifact')} `), stderr);
      came('cp --referrers', into, scene.byDigest('artifact'));
    }
    const taken = `oci:${scene.at('s-referrers')}`;
    await skopeo(`${layout}:x`, `${taken}:x`);
    scene.came('skopeo took a layout with referrers', 'gzip', taken, 'x');
  });
  await t.test('an artifact is no image for engines: said, and nothing is written', async () => {
    const file = scene.at('no.tar');
    const words = ['export', scene.source('artifact'), '--format', 'docker', '-o', file];
    const { code, stderr } = await scene.imgfs(words, tool);
    assert.notEqual(code, 0);
    assert.match(stderr, /docker\.tar/);
    await assert.rejects(access(file));
  });
}

async function podmanAndStorage(scene: Scene, t: TestContext): Promise<void> {
  const [root, runRoot] = [scene.at('podman'), scene.at('podman-run')];
  scene.cleanups.push(() => unmountBelow(scene.directory));
  const storage = `containers-storage:[vfs@${root}]`;
  for (const tag of tags) {
    await t.test(`skopeo writes ${tag} into containers-storage`, async () => {
      await skopeo(
        skopeoSource(scene, tag),
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
    const archives: readonly (readonly [what: string, file: string, name?: string])[] = [
      ['oci.tar', `${tag}-oci.tar`],
      ['docker.tar', `${tag}-docker-command.tar`, `registry.test/me/${tag}:v1`],
      ['docker-archive: of imgfs cp', `cp-docker-archive-${tag}`, `registry.test/me/${tag}:v1`],
    ];
    for (const [at, [what, file, named]] of archives.entries()) {
      await t.test(`podman load takes ${what} of ${tag}`, async () => {
        const { code, stdout, stderr } = await podman('load', '-i', scene.at(file));
        assert.equal(code, 0, stderr);
        const loaded = /Loaded image[^:]*: *(\S+)/.exec(stdout)?.[1] ?? '';
        assert.notEqual(loaded, '', stdout);
        if (named !== undefined) assert.equal(loaded, named);
        const name = `localhost/loaded-${at}-${tag}:v1`;
        assert.equal((await podman('tag', loaded, name)).code, 0);
        scene.came(`podman load of ${what}`, tag, storage, name.replace(':', '/'));
      });
    }
  }
  const saved = ['docker-archive', 'oci-archive', 'docker-dir', 'oci-dir'];
  for (const [tag, format] of [
    ...saved.map((each) => ['gzip', each] as const),
    ['multi', 'oci-archive'] as const,
    ['zstd', 'oci-archive'] as const,
    ['schema2', 'docker-archive'] as const,
  ]) {
    await t.test(`podman save --format ${format} of ${tag}`, async () => {
      const into = scene.at(`saved-${format}-${tag}`);
      const name = `localhost/loaded-1-${tag}`;
      const { code, stderr } = await podman('save', '--format', format, '-o', into, `${name}:v1`);
      assert.equal(code, 0, stderr);
      const transport = { 'docker-dir': 'dir', 'oci-dir': 'oci' }[format] ?? format;
      const path = format === 'docker-dir' ? 'latest' : `${name}/v1`;
      scene.came(`podman save --format ${format}`, tag, `${transport}:${into}`, path);
    });
  }
}

async function containerdExports(scene: Scene, t: TestContext): Promise<void> {
  if (skipWithout('containerd', 'ctr') !== false) return;
  const engine = await startContainerd(scene.cleanups, scene.at('containerd'));
  for (const tag of tags) {
    await t.test(`ctr takes oci.tar of ${tag}, and what it exports is read`, async () => {
      await engine.ctr(
        'default',
        'images',
        'import',
        '--no-unpack',
        '--all-platforms',
        '--base-name',
        `example.org/${tag}`,
        '--digests',
        scene.at(`${tag}-oci.tar`),
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

test('images to other tools and back', { skip, timeout: 300_000, concurrency: 2 }, async (t) => {
  const scene = new Scene(await makeTempDir('exchange'));
  t.after(async () => {
    for (const cleanup of scene.cleanups.toReversed()) await cleanup();
    await removeTempDir(scene.directory);
  });
  await makeImages(scene);
  const mounted = await scene.mount('mnt', [`images=oci:${scene.at('layout')}`]);
  // Two at a time: tools wait for the disk and for each other.
  await Promise.all(
    tags.map((tag) =>
      t.test(tag, async (inner) => {
        await inner.test('is exported the same by all ways', async () => {
          for (const format of formats) await exported(scene, mounted, tag, format);
        });
        await inner.test('is written by imgfs cp', () => copied(scene, tag, written));
        await takenBySkopeo(scene, inner, tag);
        await takenByTar(scene, inner, tag);
        await takenByUmoci(scene, inner, tag);
        await writtenBySkopeo(scene, inner, tag);
      }),
    ),
  );
  await Promise.all([
    t.test('artifact', (inner) => artifact(scene, inner, mounted)),
    t.test('podman', (inner) => podmanAndStorage(scene, inner)),
    t.test('containerd', (inner) => containerdExports(scene, inner)),
  ]);
  const locations = [...new Set(scene.outcomes.map(({ location }) => location))];
  const all = await scene.mount(
    'all',
    locations.map((location, index) => `store${index}=${location}`),
  );
  for (const { what, image, location, path } of scene.outcomes) {
    await t.test(`${image}: ${what}`, async () => {
      const isImage = image !== 'artifact';
      const [reference, here] = [
        join(mounted, 'images', image),
        join(all, `store${locations.indexOf(location)}`, path),
      ];
      const files = isImage ? 'rootfs' : 'files';
      assert.equal(await diffTrees(join(reference, files), join(here, files)), '');
      if (!isImage) await mustRun('cmp', [join(reference, 'manifest.json'), join(here, 'manifest.json')]);
    });
  }
  t.diagnostic(`${scene.outcomes.length} ways`);
});
