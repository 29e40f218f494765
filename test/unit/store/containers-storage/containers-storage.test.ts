import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { digestOf } from '../../../../src/oci/digest.js';
import type { ImageManifest } from '../../../../src/oci/manifest.js';
import { parseManifest } from '../../../../src/oci/parse-manifest.js';
import { openContainersStorage } from '../../../../src/store/containers-storage/open-storage.js';
import { findStorage } from '../../../../src/store/containers-storage/storage-root.js';
import type { SnapshotStore } from '../../../../src/store/snapshot-store.js';
import { collect, readBody, readRange, rejectsWith } from '../../../support/bodies.js';
import { mustRun, skipWithout } from '../../../support/child.js';
import { addStoredImage } from '../../../support/containers-storage.js';
import { buildImage, sampleImage, type BuiltSingleImage } from '../../../support/image-builder.js';
import { createPrng } from '../../../support/prng.js';
import { tempDir } from '../../../support/temp.js';

const limits = { timeout: 30_000 };

interface Fixture {
  readonly root: string;
  readonly image: BuiltSingleImage;
  readonly ids: readonly string[];
  readonly open: () => Promise<SnapshotStore>;
}

async function storage(t: TestContext, image?: BuiltSingleImage): Promise<Fixture> {
  const root = await tempDir(t, 'storage');
  const stored = image ?? (await sampleImage());
  const ids = await addStoredImage(root, stored, [
    'docker.io/library/app:v1',
    'localhost/mine:latest',
    `quay.io/x/y@sha256:${'1'.repeat(64)}`,
  ]);
  const open = async (): Promise<SnapshotStore> => {
    const store = await openContainersStorage({ root });
    t.after(() => store.close());
    return store;
  };
  return { root, image: stored, ids, open };
}

async function manifestOf(store: SnapshotStore, repository = 'app', tag = 'v1'): Promise<ImageManifest> {
  const { descriptor } = await store.resolve({ repository, tag });
  const bytes = await readBody(await store.fetch(repository, descriptor));
  assert.equal(digestOf(bytes), descriptor.digest);
  const manifest = parseManifest(bytes, descriptor.mediaType);
  assert.ok(manifest.kind === 'image');
  return manifest;
}

describe('containers-storage', limits, () => {
  it('lists names, and gives layers byte for byte under their diffIDs, in ranges', async (t) => {
    const { image, open } = await storage(t);
    const store = await open();
    assert.deepEqual(await collect(store.repositories()), ['docker.io/library/app', 'localhost/mine']);
    assert.deepEqual(await collect(store.tags('localhost/mine')), ['latest']);
    const { layers, config } = await manifestOf(store);
    assert.deepEqual(
      layers.map(({ digest, size }) => [digest, size]),
      image.layers.map(({ diffId, tar }) => [diffId, tar.length]),
    );
    assert.deepEqual(await readBody(await store.fetch('', config)), Buffer.from(image.config.bytes));
    for (const [at, layer] of layers.entries()) {
      const tar = Buffer.from(image.layers[at]?.tar ?? []);
      assert.deepEqual(await readBody(await store.fetch('', layer)), tar);
      for (const [start, end] of [
        [0, 1],
        [700, 2000],
        [tar.length - 3, tar.length],
      ] as const) {
        const range = { start, end };
        assert.deepEqual(
          await readRange(await store.fetch('', layer, { range }), range),
          tar.subarray(start, end),
        );
      }
    }
  });

  it('gives the same bytes to reads that go on, that skip, that go back and that are at once', async (t) => {
    const { root, ids, image, open } = await storage(t);
    const store = await open();
    const layer = (await manifestOf(store)).layers[1];
    assert.ok(layer);
    const tar = Buffer.from(image.layers[1]?.tar ?? []);
    const prng = createPrng(21);
    const read = async (start: number, end: number): Promise<void> => {
      const range = { start, end: Math.min(end, tar.length) };
      const bytes = await readRange(await store.fetch('', layer, { range }), range);
      assert.ok(bytes.equals(tar.subarray(start, end)), `${start} to ${end}`);
    };
    for (let at = 0; at < tar.length; at += 10_007) await read(at, at + 10_007);
    for (let round = 0; round < 60; round += 1) {
      const start = prng.integer(tar.length - 1);
      const one = read(start, start + 1 + prng.integer(20_000));
      if (round % 3 === 0) await Promise.all([one, read(0, 5_000), read(tar.length - 10, tar.length)]);
      else await one;
    }
    const left = await store.fetch('', layer);
    for await (const chunk of left.chunks) {
      assert.ok(chunk.length > 0);
      break;
    }
    left.cancel();
    await read(0, tar.length);
    // What goes on does not begin again: it has the record open, and another one would be refused.
    await read(0, 100_000);
    await writeFile(join(root, 'overlay-layers', `${ids[1]}.tar-split.gz`), 'no gzip');
    await read(100_000, 150_000);
    await read(160_000, tar.length);
    await rejectsWith(read(0, 100), 'invalid-content');
  });

  it('keeps the original manifest under its digest; its compressed layers are told to be elsewhere', async (t) => {
    const { image, open } = await storage(t);
    const store = await open();
    const { descriptor } = await store.resolve({ repository: 'app', digest: image.descriptor.digest });
    assert.deepEqual(
      await readBody(await store.fetch('', descriptor)),
      Buffer.from(image.manifests[0]?.bytes ?? []),
    );
    const compressed = image.layers[0]?.descriptor;
    assert.ok(compressed);
    await assert.rejects(store.fetch('', compressed), { code: 'not-found', hint: /layers unpacked/ });
  });

  it('takes the original where its layers are stored as they are', async (t) => {
    const plain = await sampleImage({ compression: 'none', docker: true });
    const store = await (await storage(t, plain)).open();
    const { descriptor } = await store.resolve({ repository: 'app', tag: 'v1' });
    assert.equal(descriptor.digest, plain.descriptor.digest);
  });

  it('sees what an engine adds, and says what it is doing to an image', async (t) => {
    const { root, open, ids } = await storage(t);
    const store = await open();
    await addStoredImage(root, await sampleImage({ seed: 2 }), ['localhost/second:v2']);
    assert.equal((await manifestOf(store, 'localhost/second', 'v2')).layers.length, 2);
    const path = join(root, 'overlay-layers/layers.json');
    const layers = JSON.parse(await readFile(path, 'utf8')) as { id: string; flags?: object }[];
    await writeFile(
      path,
      JSON.stringify(
        layers.map((layer) => (layer.id === ids[1] ? { ...layer, flags: { incomplete: true } } : layer)),
      ),
    );
    await rejectsWith(manifestOf(store), 'busy');
    // Looking for referrers reads every image.
    const { digest } = (await store.resolve({ repository: 'localhost/second', tag: 'v2' })).descriptor;
    assert.deepEqual(await collect(store.referrers('', digest)), []);
    assert.equal((await manifestOf(store, 'localhost/second', 'v2')).layers.length, 2);
    await writeFile(path, JSON.stringify(layers.filter(({ id }) => id !== ids[1])));
    await rejectsWith(manifestOf(store), 'stale');
    assert.equal((await manifestOf(store, 'localhost/second', 'v2')).layers.length, 2);
  });

  it('says when files of a layer are not what was unpacked, and when its record is damaged', async (t) => {
    const { root, ids, open } = await storage(t);
    const store = await open();
    const { layers } = await manifestOf(store);
    const top = layers[1];
    assert.ok(top);
    const read = async (): Promise<Buffer> => readBody(await store.fetch('', top));
    const payload = join(root, 'overlay', ids[1] ?? '', 'diff/usr/payload');
    await truncate(payload, 100);
    await rejectsWith(read(), 'stale');
    await rm(payload);
    await rejectsWith(read(), 'stale');
    const record = join(root, 'overlay-layers', `${ids[1]}.tar-split.gz`);
    const whole = await readFile(record);
    for (const [bytes, code] of [
      [whole.subarray(0, 200), 'invalid-content'],
      [gzipSync('{'), 'invalid-content'],
      [gzipSync('{"type":1,"size":-1}\n'), 'invalid-content'],
      [gzipSync(`{"type":2,"payload":"${Buffer.alloc(900_000).toString('base64')}"}\n`), 'invalid-content'],
      [gzipSync(''), 'invalid-content'],
      [Buffer.from('no gzip'), 'invalid-content'],
    ] as const) {
      await writeFile(record, bytes);
      await rejectsWith(read(), code);
    }
    await rm(record);
    await rejectsWith(read(), 'not-found');
  });

  it('never follows a link of an image out of the layer', async (t) => {
    const image = await buildImage({
      layers: [{ entries: [{ name: 'etc/passwd', content: 'of the image' }] }],
    });
    const { root, ids, open } = await storage(t, image);
    const outside = await tempDir(t, 'outside');
    await writeFile(join(outside, 'passwd'), 'not for you!');
    const diff = join(root, 'overlay', ids[0] ?? '', 'diff');
    const [layer] = (await manifestOf(await open())).layers;
    assert.ok(layer);
    await rm(join(diff, 'etc'), { recursive: true });
    await symlink(outside, join(diff, 'etc'));
    await rejectsWith((async () => readBody(await (await open()).fetch('', layer)))(), 'stale');
    await rm(join(diff, 'etc'));
    await symlink('../../../../..', join(diff, 'etc'));
    await rejectsWith((async () => readBody(await (await open()).fetch('', layer)))(), 'stale');
  });

  it('lists 500 images, and one that is damaged does not hide the others', async (t) => {
    const { root, image, open } = await storage(t);
    const path = join(root, 'overlay-images/images.json');
    const [entry] = JSON.parse(await readFile(path, 'utf8')) as object[];
    const many = Array.from({ length: 500 }, (_, at) => ({ ...entry, names: [`localhost/many:v${at}`] }));
    const missing = {
      ...entry,
      id: 'gone',
      names: ['localhost/gone:v1'],
      digest: `sha256:${'9'.repeat(64)}`,
    };
    await writeFile(path, JSON.stringify([missing, ...many]));
    const store = await open();
    assert.equal((await collect(store.tags('localhost/many'))).length, 500);
    assert.equal(
      (await manifestOf(store, 'localhost/many', 'v77')).config.digest,
      image.config.descriptor.digest,
    );
    await rejectsWith(manifestOf(store, 'localhost/gone', 'v1'), 'unavailable');
  });

  it('finds the storage of a user: by his file, by the one of the system, where it usually is', async (t) => {
    const system = await tempDir(t, 'rootless');
    const home = join(system, 'home');
    const write = async (path: string, text: string): Promise<void> => {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    };
    const user = { environment: { HOME: home, USER: 'me' }, uid: 1234, system };
    const place = async (path: string): Promise<void> => {
      await mkdir(join(path, 'overlay-images'), { recursive: true });
      assert.equal((await findStorage({}, user)).path, path);
    };
    await place(join(home, '.local/share/containers/storage'));
    const shared = `[storage]\ngraphroot = "/of-root"\nrootless_storage_path = "${system}/$UID/\${USER}"\n`;
    await write(join(system, 'etc/containers/storage.conf'), shared);
    await place(join(system, '1234/me'));
    await write(join(home, '.config/containers/storage.conf'), '[storage]\ngraphroot = "$HOME/mine"\n');
    await place(join(home, 'mine'));
    await assert.rejects(findStorage({}, { ...user, uid: 0 }), { code: 'not-found', message: /\/of-root/ });
  });

  it(
    'gives a rootless layer as it was: owners and modes are kept beside the files',
    { skip: skipWithout('setfattr') },
    async (t) => {
      const { root, image, ids, open } = await storage(t);
      // What fuse-overlayfs and overlay with force_mask make of the files of a user.
      for (const id of ids) {
        const files = join(root, 'overlay', id, 'diff');
        for (const entry of await readdir(files, { recursive: true, withFileTypes: true })) {
          if (!entry.isFile()) continue;
          const path = join(entry.parentPath, entry.name);
          await chmod(path, 0o600);
          await mustRun('setfattr', ['-n', 'user.containers.override_stat', '-v', '0:0:0100755', path]).catch(
            () => undefined,
          );
        }
      }
      const store = await open();
      for (const [at, layer] of (await manifestOf(store)).layers.entries())
        assert.deepEqual(
          await readBody(await store.fetch('', layer)),
          Buffer.from(image.layers[at]?.tar ?? []),
        );
    },
  );

  it('says what is wrong with a place', async (t) => {
    const { root } = await storage(t);
    await rejectsWith(openContainersStorage({ root: join(root, 'overlay') }), 'not-found');
    await rejectsWith(openContainersStorage({ root, part: 'zfs' }), 'unsupported');
    await writeFile(join(root, 'overlay-images/images.json'), '{');
    await rejectsWith(openContainersStorage({ root }), 'invalid-content');
    await writeFile(join(root, 'overlay-images/images.json'), '[{"id":"../../etc"}]');
    await rejectsWith(openContainersStorage({ root }), 'invalid-content');
    const conf = join(root, 'storage.conf');
    await writeFile(conf, `[storage]\ndriver = "overlay"\ngraphroot = ${JSON.stringify(root)}\n`);
    assert.equal((await findStorage({}, { environment: { CONTAINERS_STORAGE_CONF: conf } })).path, root);
  });
});
