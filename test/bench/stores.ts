/**
 * Opening stores of which nothing is read but what says what is in them: a docker-archive of 5 GB, and engines with 500
 * images.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openContainerd } from '../../src/store/containerd/open-containerd.js';
import { bigDataFile } from '../../src/store/containers-storage/documents.js';
import { openContainersStorage } from '../../src/store/containers-storage/open-storage.js';
import { digestHex } from '../../src/oci/digest.js';
import { collect } from '../support/bodies.js';
import { buildBolt, varint } from '../support/bolt-writer.js';
import { addStoredImage } from '../support/containers-storage.js';
import { buildImage, type BuiltSingleImage } from '../support/image-builder.js';
import { archiveOpening } from './archive-opening.js';
import { spread, timed, type Measurement, type Section } from './section.js';

const rounds = 7;
const images = 500;

async function fillStorage(root: string): Promise<void> {
  const entries: object[] = [];
  for (let at = 0; at < images; at += 1) {
    const image = await small(at);
    if (at === 0) await addStoredImage(root, image, []);
    const id = digestHex(image.config.descriptor.digest);
    const folder = join(root, 'overlay-images', id);
    await mkdir(folder, { recursive: true });
    const data = {
      manifest: image.manifests[0]?.bytes ?? Buffer.alloc(0),
      [image.config.descriptor.digest]: image.config.bytes,
    };
    for (const [key, bytes] of Object.entries(data)) await writeFile(join(folder, bigDataFile(key)), bytes);
    entries.push({
      id,
      digest: image.descriptor.digest,
      names: [`localhost/i:v${at}`],
      'big-data-names': Object.keys(data),
    });
  }
  await writeFile(join(root, 'overlay-images/images.json'), JSON.stringify(entries));
}

const small = (at: number): Promise<BuiltSingleImage> =>
  buildImage({ layers: [], runConfig: { Labels: { at: String(at) } } });

async function fillContainerd(root: string): Promise<void> {
  const targets: Record<string, { target: Record<string, Buffer> }> = {};
  for (let at = 0; at < images; at += 1) {
    const { digest, mediaType, size } = (await small(at)).descriptor;
    targets[`localhost/i:v${at}`] = {
      target: { digest: Buffer.from(digest), mediatype: Buffer.from(mediaType), size: varint(size) },
    };
  }
  const path = join(root, 'io.containerd.metadata.v1.bolt/meta.db');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, buildBolt({ v1: { default: { images: targets } } }));
}

async function* engineRows(directory: string): AsyncGenerator<Measurement> {
  const [storage, containerd] = [join(directory, 'storage'), join(directory, 'containerd')];
  await fillStorage(storage);
  await fillContainerd(containerd);
  for (const [name, openStore] of [
    ['containers-storage', () => openContainersStorage({ root: storage })],
    ['containerd', () => openContainerd({ root: containerd })],
  ] as const) {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      times.push(
        await timed(async () => {
          const store = await openStore();
          const tags = await collect(store.tags('localhost/i'));
          if (tags.length !== images) throw new Error(`${name} lists ${tags.length} images`);
          await store.close();
        }),
      );
    }
    yield {
      what: `${name} with 500 images: opened and listed, ms`,
      measured: spread(times, 0),
      figure: '< 1000',
      reached: Math.max(...times) < 1000,
    };
  }
}

export const stores: Section = {
  title: 'Opening other stores',
  run: async function* run() {
    const directory = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'imgfs-bench-stores-'));
    try {
      yield* archiveOpening(directory);
      yield* engineRows(directory);
    } finally {
      await rm(directory, { recursive: true });
    }
  },
};
