/**
 * Bad input of stores that are not registries, each through one mount: its errno, and in `errors.ndjson` and in
 * `user.imgfs.error` the request, the object, the cause and the next step; and after each the stores beside it go on. The
 * command says the same, with an exit code.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import { findMount } from '../../src/fuse/mount-table.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { digestHex } from '../../src/oci/digest.js';
import { buildSaved, directoryEntries, savedEntries } from '../support/archive-writer.js';
import { writeWithoutPause } from '../support/bolt-busy-writer.js';
import { buildBolt, varint } from '../support/bolt-writer.js';
import { run } from '../support/child.js';
import { addStoredImage } from '../support/containers-storage.js';
import { startFakeEngine, type FakeEngine } from '../support/fake-engine.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { imgfsIn } from '../support/imgfs-command.js';
import { writeLayout } from '../support/layout-writer.js';
import { skipWithoutMount } from '../support/mounted.js';
import { buildTar, type TarEntry } from '../support/tar-builder.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

interface Ground {
  /** Of this case alone: what the cache has by digest is asked of no store. */
  readonly image: BuiltSingleImage;
  /** For the files of this case alone. */
  readonly directory: string;
  readonly test: TestContext;
}

interface Case {
  readonly name: string;
  /** Make the store; gives its location. */
  readonly make: (ground: Ground) => Promise<string>;
  /** Read below the store, or listed where it ends in `/`. Default: the store is listed. */
  readonly path?: string;
  readonly errno: string;
  /** In what is said of the failure: request and cause. */
  readonly says: RegExp;
  readonly nextStep: RegExp;
  /** Read afterwards below the same store: what is not touched by the damage. */
  readonly stillRead?: string;
  /** Mend it; then what failed is read. */
  readonly mend?: () => Promise<void>;
}

async function write(directory: string, name: string, bytes: Uint8Array | string): Promise<string> {
  const path = join(directory, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
  return path;
}

const archive = async (ground: Ground, entries: readonly TarEntry[]): Promise<string> =>
  write(ground.directory, 'archive.tar', await buildTar(entries));

/** Members of an oci-archive with one image `v1`. */
async function layoutEntries({ image, directory }: Ground): Promise<TarEntry[]> {
  await writeLayout(join(directory, 'layout'), [{ image, name: 'v1' }]);
  return directoryEntries(join(directory, 'layout'));
}

const saved = ({ image }: Ground): TarEntry[] => savedEntries([{ image, tags: ['a:b'] }]);
const layersOf = (entries: readonly TarEntry[]): TarEntry[] =>
  entries.filter(({ name }) => name.endsWith('.tar'));

/** A storage with `localhost/app:v1` and `localhost/other:v1`; `change` is done to the layers of the first. */
async function storage(
  { image, directory }: Ground,
  change: (layers: Record<string, unknown>[], ids: readonly string[]) => object[] = (layers) => layers,
): Promise<string> {
  const root = join(directory, 'storage');
  const ids = await addStoredImage(root, image, ['localhost/app:v1']);
  await addStoredImage(root, await sampleImage({ seed: 77 }), ['localhost/other:v1']);
  const path = join(root, 'overlay-layers/layers.json');
  const layers = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>[];
  await writeFile(path, JSON.stringify(change(layers, ids)));
  return root;
}

async function containerd({ image, directory }: Ground): Promise<string> {
  const { digest, mediaType, size } = image.descriptor;
  const target = { digest: Buffer.from(digest), mediatype: Buffer.from(mediaType), size: varint(size) };
  const tree = { v1: { default: { images: { 'localhost/app:v1': { target } } } } };
  await write(directory, 'io.containerd.metadata.v1.bolt/meta.db', buildBolt(tree));
  return directory;
}

async function engineWith(
  { test: t, image }: Ground,
  change: (engine: FakeEngine) => void,
): Promise<FakeEngine> {
  const engine = await startFakeEngine(t);
  const names = ['a:b'];
  engine.images.push({
    id: image.config.descriptor.digest,
    names,
    archive: await buildSaved([{ image, tags: names }]),
  });
  change(engine);
  return engine;
}

const app = 'localhost/app/v1/rootfs/';
const other = 'localhost/other/v1/manifest.json';

/** What is under way while one case is looked at. */
let held: FakeEngine | undefined;
let writer: Worker | undefined;

const cases: readonly Case[] = [
  {
    name: 'docker-archive cut short inside a layer',
    make: async (ground) => `docker-archive:${await write(ground.directory, 'a.tar', (await buildTar(saved(ground))).subarray(0, 100_000))}`,
    errno: 'EIO', says: /scan .*cut short/, nextStep: /copy or save it again/,
  },
  {
    name: 'oci-archive cut short inside a blob',
    make: async (ground) => `oci-archive:${await write(ground.directory, 'a.tar', (await buildTar(await layoutEntries(ground))).subarray(0, 100_000))}`,
    errno: 'EIO', says: /scan .*cut short|no oci-layout|no index\.json/, nextStep: /copy or save it again|check with tar/,
  },
  {
    name: 'compressed archive cut short',
    make: async (ground) => {
      const packed = gzipSync(await buildTar(saved(ground)));
      return `docker-archive:${await write(ground.directory, 'a.tar.gz', packed.subarray(0, packed.length / 2))}`;
    },
    errno: 'EIO', says: /archive .*(damaged or )?cut short/, nextStep: /copy or save it again/,
  },
  {
    name: 'docker-archive with two lists of images',
    make: async (ground) => `docker-archive:${await archive(ground, [...saved(ground), { name: 'manifest.json', content: '[]' }])}`,
    errno: 'EIO', says: /read .*"manifest\.json": there more than once/, nextStep: /save the image again/,
  },
  {
    name: 'oci-archive with two indexes',
    make: async (ground) => `oci-archive:${await archive(ground, [...(await layoutEntries(ground)), { name: 'index.json', content: '{}' }])}`,
    errno: 'EIO', says: /read .*"index\.json": there more than once/, nextStep: /save the image again/,
  },
  {
    name: 'docker-archive without a layer it lists',
    make: async (ground) => {
      const [layer] = layersOf(saved(ground));
      return `docker-archive:${await archive(ground, saved(ground).filter(({ name }) => name !== layer?.name))}`;
    },
    errno: 'EIO', says: /read .*member ".*": missing/, nextStep: /save the image again/,
  },
  {
    name: 'oci-archive without a blob it names',
    make: async (ground) => {
      const gone = digestHex(ground.image.layers[0]?.descriptor.digest ?? ground.image.descriptor.digest);
      const entries = (await layoutEntries(ground)).filter(({ name }) => !name.endsWith(gone));
      return `oci-archive:${await archive(ground, entries)}`;
    },
    path: 'v1/rootfs/', errno: 'EIO', says: /has no blob sha256:/, nextStep: /push the image again/,
    stillRead: 'v1/config.json',
  },
  {
    name: 'docker-archive with a layer that is a link out of it',
    make: async (ground) => {
      const [layer] = layersOf(saved(ground));
      return `docker-archive:${await archive(ground, saved(ground).map((entry) =>
        entry.name === layer?.name ? { name: entry.name, type: 'symlink', linkname: '../../../../etc/shadow' } : entry))}`;
    },
    errno: 'EIO', says: /read .*a link to ".*etc\/shadow", which is not in the archive/, nextStep: /save the image again/,
  },
  {
    name: 'archive with two images of one name',
    make: async (ground) => {
      const second = await sampleImage({ seed: 5 });
      const layout = join(ground.directory, 'layout');
      await writeLayout(layout, [{ image: ground.image, name: 'v1' }, { image: second, name: 'v1' }, { image: second, name: 'v2' }]);
      return `oci-archive:${await archive(ground, await directoryEntries(layout))}`;
    },
    path: 'v1/manifest.json', errno: 'EIO', says: /resolve v1: 2 images have that name/, nextStep: /by position: @0, @1/,
    stillRead: 'v2/manifest.json',
  },
  {
    name: 'docker-archive with neither manifest.json nor index.json',
    make: async (ground) => `docker-archive:${await archive(ground, [{ name: 'x', content: 'y' }])}`,
    errno: 'EIO', says: /open docker-archive .*no manifest\.json/, nextStep: /no archive of images: check with tar -tf/,
  },
  {
    name: 'oci-archive with neither manifest.json nor index.json',
    make: async (ground) => `oci-archive:${await archive(ground, [{ name: 'x', content: 'y' }])}`,
    errno: 'EIO', says: /open oci-archive .*no oci-layout/, nextStep: /check with tar -tf/,
  },
  {
    name: 'containers-storage in use: a layer being unpacked',
    make: async (ground) => `containers-storage:[${await storage(ground, (layers, ids) =>
      layers.map((layer) => (layer['id'] === ids[1] ? { ...layer, flags: { incomplete: true } } : layer)))}]`,
    path: app, errno: 'EBUSY', says: /read image: its layer .* is half written/, nextStep: /wait for the pull to end/, stillRead: other,
  },
  {
    name: 'containers-storage half written: a layer that is not listed',
    make: async (ground) => `containers-storage:[${await storage(ground, (layers, ids) => layers.filter((layer) => layer['id'] !== ids[1]))}]`,
    path: app, errno: 'ESTALE', says: /read image: its layer .* is not in the storage/, nextStep: /pull it again/, stillRead: other,
  },
  {
    name: 'containers-storage half written: a list of images that breaks off',
    make: async (ground) => {
      const root = await storage(ground);
      const path = join(root, 'overlay-images/images.json');
      await writeFile(path, (await readFile(path)).subarray(0, 300));
      return `containers-storage:[${root}]`;
    },
    errno: 'EIO', says: /parse .*images\.json: a string does not end/, nextStep: /storage is damaged/,
  },
  {
    name: 'containerd with a database that is cut short',
    make: async (ground) => {
      const path = join(await containerd(ground), 'io.containerd.metadata.v1.bolt/meta.db');
      await writeFile(path, (await readFile(path)).subarray(0, 6000));
      return `containerd:[default@${ground.directory}]`;
    },
    errno: 'EIO', says: /meta\.db: page .* behind the end/, nextStep: /database is damaged/,
  },
  {
    name: 'containerd with a database that is being written to',
    make: async (ground) => {
      const path = join(await containerd(ground), 'io.containerd.metadata.v1.bolt/meta.db');
      writer = writeWithoutPause(path);
      ground.test.after(() => writer?.terminate());
      return `containerd:[default@${ground.directory}]`;
    },
    errno: 'EBUSY', says: /read .*meta\.db: it was written to whenever it was read/, nextStep: /try again when containerd/,
    mend: async () => void (await writer?.terminate()),
  },
  {
    name: 'docker-daemon that is absent',
    make: async ({ directory }) => `docker-daemon:[${join(directory, 'no.sock')}]`,
    errno: 'EIO', says: /docker-daemon .*no engine there/, nextStep: /systemctl start docker/,
  },
  {
    name: 'docker-daemon that speaks an older API',
    make: async (ground) => `docker-daemon:[${(await engineWith(ground, (engine) => { engine.version = '1.20'; })).socket}]`,
    errno: 'ENOTSUP', says: /open docker-daemon .*speaks API 1\.20, 1\.24 is needed/, nextStep: /update the engine/,
  },
  {
    name: 'docker-daemon that breaks off inside an export that began with 200',
    make: async (ground) => {
      held = await engineWith(ground, (engine) => { engine.cutAt = 100_000; });
      return `docker-daemon:[${held.socket}]`;
    },
    path: 'docker.io/library/a/b/manifest.json', errno: 'EIO', says: /export image .*the engine at .* broke off/, nextStep: /read it again/,
    mend: async () => { if (held !== undefined) held.cutAt = undefined; },
  },
  {
    name: 'docker-daemon that ends an export well in the middle of a member',
    make: async (ground) => {
      const engine = await engineWith(ground, (engine) => {
        const [image] = engine.images;
        if (image !== undefined) engine.images[0] = { ...image, archive: image.archive.subarray(0, 100_000) };
      });
      return `docker-daemon:[${engine.socket}]`;
    },
    path: 'docker.io/library/a/b/manifest.json', errno: 'EIO', says: /export image .*the engine at .*cut short/, nextStep: /read it again/,
  },
  {
    name: 'a policy that rejects',
    make: async (ground) => {
      await layoutEntries(ground);
      return `oci:${join(ground.directory, 'layout')}`;
    },
    path: 'v1/manifest.json', errno: 'EACCES', says: /oci:.*the policy rejects it/, nextStep: /policy/,
  },
]; // prettier-ignore

/** Of Linux. */
const staleErrno = 116;

/** The command that asks what the mount was asked: a list of a store, or what is read of an image. */
function commandFor({ name, path }: Case, location: string, policy: string): readonly string[] {
  if (name.includes('policy')) return ['verify', `${location}:v1`, '--policy', policy];
  if (path === undefined) return ['repos', location];
  if (location.startsWith('containers-storage:')) return ['inspect', `${location}localhost/app:v1`];
  if (location.startsWith('docker-daemon:')) return ['inspect', `${location}a:b`];
  const [tag = '', ...rest] = path.replace(/^a\/b/, 'a:b').replace('docker.io/library/', '').split('/');
  return [path.endsWith('/') ? 'ls' : 'cat', `${location}:${tag}/${rest.join('/')}`];
}

/** A name that a directory may have. */
const storeName = (index: number): string => `store${index}`;

describe(
  'bad stores beside good ones in one mount',
  { skip: skipWithoutMount('native'), timeout: 240_000 },
  () => {
    let directory: string;
    let mountPoint: string;
    const locations: string[] = [];
    // A suite has no `after` of its own where it is set up.
    const ends: (() => unknown)[] = [];
    const whole = { after: (end: () => unknown) => void ends.push(end) } as unknown as TestContext;

    before(async () => {
      directory = await makeTempDir('bad-stores');
      mountPoint = join(directory, 'mnt');
      await mkdir(mountPoint);
      const words: string[] = [];
      const policy: Record<string, object> = {};
      for (const [index, one] of cases.entries()) {
        const place = join(directory, storeName(index));
        await mkdir(place);
        const location = await one.make({
          image: await sampleImage({ seed: 200 + index }),
          directory: place,
          test: whole,
        });
        locations.push(location);
        words.push('--store', `${storeName(index)}=${location}`);
        if (one.name.includes('policy')) policy[location.replace('oci:', '')] = [{ type: 'reject' }];
      }
      const accept = [{ type: 'insecureAcceptAnything' }];
      await write(directory, 'policy.json', JSON.stringify({ default: accept, transports: { oci: policy } }));
      // An image of its own for each look at the good store.
      const goods = await Promise.all(cases.map((_, seed) => sampleImage({ seed: 100 + seed })));
      await writeLayout(
        join(directory, 'good'),
        goods.map((good, at) => ({ image: good, name: `v${at}` })),
      );
      await write(directory, 'good.tar', await buildTar(await directoryEntries(join(directory, 'good'))));
      words.push(
        '--store',
        `good=oci:${join(directory, 'good')}`,
        '--store',
        `tar=oci-archive:${join(directory, 'good.tar')}`,
      );
      const { code, stderr } = await imgfsIn(directory)([
        'mount',
        mountPoint,
        ...words,
        '--policy',
        join(directory, 'policy.json'),
      ]);
      assert.equal(code, 0, stderr);
    });

    after(async () => {
      if ((await findMount(mountPoint)) !== undefined) await unmountPath(mountPoint, { lazy: true });
      for (const end of ends.reverse()) await end();
      await removeTempDir(directory);
    });

    const look = (path: string): Promise<unknown> =>
      path.endsWith('/') || path === '' ? readdir(path) : readFile(path);

    async function lastError(): Promise<{ readonly path: string; readonly detail: string }> {
      const lines = (await readFile(join(mountPoint, '.imgfs/errors.ndjson'), 'utf8')).trim().split('\n');
      return JSON.parse(lines.at(-1) ?? '{}') as { path: string; detail: string };
    }

    for (const [index, one] of cases.entries()) {
      test(one.name, async () => {
        const root = join(mountPoint, storeName(index));
        const path = `${root}/${one.path ?? ''}`;
        const failure = await look(path).then(
          () => undefined,
          (error: unknown) => error as NodeJS.ErrnoException,
        );
        const said = await lastError();
        if (process.env['SHOW'] !== undefined)
          console.error(`== ${one.name}: ${failure?.code}\n${said.path}\n${said.detail}`);
        // Node has no name for ESTALE.
        const wanted = constants.errno[one.errno as 'EIO'] ?? staleErrno;
        assert.equal(-(failure?.errno ?? 0), wanted, `${failure?.code} ${JSON.stringify(said)}`);
        assert.ok(
          said.path.startsWith(`/${storeName(index)}`) || said.path.startsWith(storeName(index)),
          said.path,
        );
        assert.match(said.detail, one.says);
        assert.match(said.detail, new RegExp(`next step: .*(?:${one.nextStep.source})`));
        const object = /[:[](?:default@)?(\/[^\]]+)/.exec(locations[index] ?? '')?.[1] ?? '';
        assert.ok(said.detail.includes(object), `${object} is not named in ${said.detail}`);
        // The same on the path: of the entry itself where it was found, else of what was looked into.
        const at = join(mountPoint, said.path);
        const shown = await run('getfattr', ['-n', 'user.imgfs.error', '--only-values', at, dirname(at)]);
        assert.match(shown.stdout, one.says, shown.stderr);
        if (one.stillRead !== undefined) {
          const still = await readFile(join(root, one.stillRead)).catch(async () => lastError());
          assert.ok(Buffer.isBuffer(still), JSON.stringify(still));
        }
        for (const good of ['good', 'tar']) {
          assert.ok((await readFile(join(mountPoint, good, `v${index}`, 'manifest.json'))).length > 0);
          assert.deepEqual(
            await readdir(join(mountPoint, good, `v${index}`, 'rootfs')),
            await readdir(join(mountPoint, good, 'v0', 'rootfs')),
          );
        }
        // The same request as a command, in a home of its own: nothing is remembered there.
        const words = commandFor(one, locations[index] ?? '', join(directory, 'policy.json'));
        const command = await imgfsIn(join(directory, `home${index}`))([...words, '--retry-times', '0']);
        if (process.env['SHOW'] !== undefined) console.error(words.join(' '), command);
        assert.notEqual(command.code, 0, words.join(' '));
        assert.match(command.stderr, /^imgfs: [a-z-]+: /m);
        assert.ok(command.stderr.includes(object), `${object} is not named in ${command.stderr}`);
        assert.match(command.stderr, one.says);
        assert.match(command.stderr, new RegExp(`next step: .*(?:${one.nextStep.source})`));
        await one.mend?.();
        if (one.mend !== undefined) {
          // What failed may be remembered for a moment.
          const until = Date.now() + 10_000;
          let mended = await look(path).catch(lastError);
          while (!Buffer.isBuffer(mended) && !Array.isArray(mended) && Date.now() < until) {
            await sleep(100);
            mended = await look(path).catch(lastError);
          }
          assert.ok(Buffer.isBuffer(mended) || Array.isArray(mended), JSON.stringify(mended));
        }
      });
    }
  },
);
