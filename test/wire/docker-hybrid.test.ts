/**
 * Archives as Docker 25 and later writes them (moby daemon/internal/image/tarexport/save.go): an image layout and
 * `manifest.json` over the same blobs, layers uncompressed under their diffIDs, `index.json` without the images that have no
 * name. Judged by skopeo and podman, which read the other half.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestHex, digestOf, type Digest } from '../../src/oci/digest.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { parseManifest } from '../../src/oci/parse-manifest.js';
import { openArchiveStore } from '../../src/store/archive/archive-store.js';
import { collect, readBody } from '../support/bodies.js';
import { mustRun, skipWithout } from '../support/child.js';
import { sampleImage, type BuiltSingleImage } from '../support/image-builder.js';
import { buildTar, type TarEntry } from '../support/tar-builder.js';
import { tempDir } from '../support/temp.js';

interface Saved {
  readonly image: BuiltSingleImage;
  readonly tags: readonly string[];
}

const blobPath = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;

/** Members in the order of their names, as moby's tar of a folder has them. */
function hybridEntries(saved: readonly Saved[]): TarEntry[] {
  const blobs = new Map<string, Uint8Array>();
  const put = (bytes: Uint8Array): { digest: Digest; size: number } => {
    const digest = digestOf(bytes);
    blobs.set(blobPath(digest), bytes);
    return { digest, size: bytes.length };
  };
  const [list, index]: [object[], object[]] = [[], []];
  const repositories: Record<string, Record<string, string>> = {};
  for (const { image, tags } of saved) {
    const config = { mediaType: mediaTypes.ociConfig, ...put(image.config.bytes) };
    const layers = image.layers.map(({ tar }) => ({ mediaType: mediaTypes.ociLayer, ...put(tar) }));
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers };
    const descriptor = { mediaType: mediaTypes.ociManifest, ...put(Buffer.from(JSON.stringify(manifest))) };
    // What is left of the first format: a config for each layer, which nothing names.
    for (const { diffId } of image.layers)
      put(Buffer.from(JSON.stringify({ id: digestHex(diffId), os: 'linux' })));
    for (const tag of tags) {
      const [name = '', version = ''] = tag.split(':');
      repositories[name] = {
        ...repositories[name],
        [version]: digestHex(layers.at(-1)?.digest ?? descriptor.digest),
      };
      const annotations = {
        'io.containerd.image.name': `docker.io/library/${tag}`,
        'org.opencontainers.image.ref.name': version,
      };
      index.push({ ...descriptor, annotations });
    }
    // Of images without a name only one that comes before all that have one.
    if (index.length === 0) index.push(descriptor);
    const sources = layers.map((layer) => [layer.digest, layer] as const);
    list.push({
      Config: blobPath(config.digest),
      RepoTags: tags.length === 0 ? null : tags,
      Layers: layers.map(({ digest }) => blobPath(digest)),
      LayerSources: Object.fromEntries(sources),
    });
  }
  const text = (name: string, value: unknown): TarEntry => ({ name, content: JSON.stringify(value) });
  return [
    { name: 'blobs/' },
    { name: 'blobs/sha256/' },
    ...[...blobs.keys()].sort().map((name) => ({ name, content: blobs.get(name) ?? '' })),
    text('index.json', { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: index }),
    text('manifest.json', list),
    text('oci-layout', { imageLayoutVersion: '1.0.0' }),
    text('repositories', repositories),
  ];
}

test(
  'archives of Docker 25 are read whatever their order, and are to us what they are to skopeo and podman',
  { timeout: 120_000, skip: skipWithout('skopeo') },
  async (t) => {
    const directory = await tempDir(t, 'hybrid');
    const [named, bare] = [await sampleImage({ seed: 1 }), await sampleImage({ seed: 2 })];
    const entries = hybridEntries([
      { image: named, tags: ['app:v1', 'app:v2'] },
      { image: bare, tags: [] },
    ]);
    const bareFirst = hybridEntries([
      { image: bare, tags: [] },
      { image: named, tags: ['app:v1'] },
    ]);
    await writeFile(join(directory, 'bare-first.tar'), await buildTar(bareFirst));
    const first = await openArchiveStore('docker-archive', join(directory, 'bare-first.tar'));
    t.after(() => first.close());
    assert.equal(
      (await first.images()).length,
      2,
      'each once, though the one without a name is in both lists',
    );
    assert.deepEqual(await collect(first.tags('app')), ['v1']);
    for (const [order, members] of Object.entries({ sorted: entries, reversed: entries.toReversed() })) {
      const path = join(directory, `${order}.tar`);
      await writeFile(path, await buildTar(members));
      const store = await openArchiveStore('docker-archive', path);
      t.after(() => store.close());
      assert.deepEqual(await collect(store.tags('app')), ['v1', 'v2'], order);
      assert.equal((await store.images()).length, 2, 'the one without a name is only in manifest.json');
      for (const [reference, image] of [
        ['app:v1', named],
        ['@1', bare],
      ] as const) {
        const [repository, tag] = reference === '@1' ? ['', '@1'] : ['app', 'v1'];
        const { descriptor } = await store.resolve({ repository, tag });
        const manifest = parseManifest(
          await readBody(await store.fetch('', descriptor)),
          descriptor.mediaType,
        );
        assert.ok(manifest.kind === 'image');
        const place = `docker-archive:${path}:${reference}`;
        const { stdout } = await mustRun('skopeo', ['--insecure-policy', 'inspect', '--raw', place]);
        const theirs = parseManifest(Buffer.from(stdout), mediaTypes.dockerManifest);
        assert.ok(theirs.kind === 'image');
        assert.equal(manifest.config.digest, theirs.config.digest, `${order} ${reference}`);
        assert.deepEqual(
          manifest.layers.map(({ digest }) => digest),
          theirs.layers.map(({ digest }) => digest),
        );
        assert.deepEqual(
          manifest.layers.map(({ digest }) => digest),
          image.layers.map(({ diffId }) => diffId),
        );
        for (const [at, layer] of manifest.layers.entries())
          assert.deepEqual(
            await readBody(await store.fetch('', layer)),
            Buffer.from(image.layers[at]?.tar ?? []),
          );
      }
    }
  },
);

test(
  'podman loads the archive of Docker 25 that we read',
  {
    timeout: 120_000,
    skip: skipWithout('podman') || (process.getuid?.() !== 0 && 'needs root: a storage of its own'),
  },
  async (t) => {
    const directory = await tempDir(t, 'hybrid');
    const image = await sampleImage();
    const path = join(directory, 'app.tar');
    await writeFile(path, await buildTar(hybridEntries([{ image, tags: ['app:v1'] }])));
    const storage = [
      '--root',
      join(directory, 'root'),
      '--runroot',
      join(directory, 'run'),
      '--storage-driver',
      'vfs',
    ];
    const loaded = await mustRun('podman', [...storage, 'load', '-q', '-i', path], { timeoutMs: 60_000 });
    assert.match(loaded.stdout, /app:v1/);
  },
);
