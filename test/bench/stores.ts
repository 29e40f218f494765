/**
 * Opening stores of which nothing is read but what says what is in them: a docker-archive of 5 GB (sparse, 100 layers),
 * and engines with 500 images.
 */
import { mkdir, mkdtemp, open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openArchiveStore } from '../../src/store/archive/archive-store.js';
import { memberHeader } from '../../src/store/archive/write/member-header.js';
import { openContainerd } from '../../src/store/containerd/open-containerd.js';
import { bigDataFile } from '../../src/store/containers-storage/documents.js';
import { openContainersStorage } from '../../src/store/containers-storage/open-storage.js';
import { digestHex, digestOf } from '../../src/oci/digest.js';
import { collect } from '../support/bodies.js';
import { buildBolt, varint } from '../support/bolt-writer.js';
import { addStoredImage } from '../support/containers-storage.js';
import { buildImage, type BuiltSingleImage } from '../support/image-builder.js';
import { median, spread, timed, type Measurement, type Section } from './section.js';

const rounds = 7;
const layers = 100;
const layerBytes = 50 * 1024 * 1024;

/** Offsets of the headers of a sparse archive that was written to `path`. */
async function writeSparse(path: string): Promise<readonly number[]> {
  const diffIds = Array.from({ length: layers }, (_, at) => digestOf(Buffer.from(`layer ${at}`)));
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }),
  );
  const names = diffIds.map((digest) => `${digestHex(digest)}.tar`);
  const configName = `${digestHex(digestOf(config))}.json`;
  const manifest = Buffer.from(JSON.stringify([{ Config: configName, RepoTags: ['a:b'], Layers: names }]));
  const handle = await open(path, 'w');
  const headers: number[] = [];
  let at = 0;
  const add = async (name: string, content: Uint8Array | number): Promise<void> => {
    const size = typeof content === 'number' ? content : content.length;
    headers.push(at);
    await handle.write(await memberHeader({ name, size }), 0, 512, at);
    if (typeof content !== 'number') await handle.write(content, 0, size, at + 512);
    at += 512 + Math.ceil(size / 512) * 512;
  };
  for (const name of names) await add(name, layerBytes);
  await add(configName, config);
  await add('manifest.json', manifest);
  await handle.truncate(at + 1024);
  await handle.close();
  return headers;
}

async function readHeaders(path: string, headers: readonly number[]): Promise<void> {
  const handle: FileHandle = await open(path, 'r');
  const buffer = Buffer.alloc(4096);
  for (const at of headers) await handle.read(buffer, 0, buffer.length, at);
  await handle.close();
}

async function* archiveRows(directory: string): AsyncGenerator<Measurement> {
  const path = join(directory, 'large.tar');
  const headers = await writeSparse(path);
  const [opened, read]: [number[], number[]] = [[], []];
  const before = process.memoryUsage.rss();
  let most = before;
  for (let round = 0; round < rounds; round += 1) {
    read.push(await timed(() => readHeaders(path, headers)));
    opened.push(
      await timed(async () => {
        const store = await openArchiveStore('docker-archive', path);
        await collect(store.repositories());
        await store.close();
      }),
    );
    most = Math.max(most, process.memoryUsage.rss());
  }
  const ratios = opened.map((ms, at) => ms / (read[at] ?? ms));
  yield {
    what: 'docker-archive of 5 GB: first opening, ms',
    measured: (opened[0] ?? 0).toFixed(1),
    figure: '',
  };
  yield {
    what: '… against reading its headers',
    measured: spread(ratios.slice(1)),
    figure: '<= 1.2',
    reached: median(ratios.slice(1)) <= 1.2,
  };
  const later = opened.slice(1);
  yield {
    what: '… later openings, ms',
    measured: spread(later, 1),
    figure: '< 200',
    reached: Math.max(...later) < 200,
  };
  const grown = (most - before) / 2 ** 20;
  yield {
    what: '… memory more than before, MiB',
    measured: grown.toFixed(0),
    figure: '<= 100',
    reached: grown <= 100,
  };
}

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
    const directory = await mkdtemp(join(tmpdir(), 'imgfs-bench-stores-'));
    try {
      yield* archiveRows(directory);
      yield* engineRows(directory);
    } finally {
      await rm(directory, { recursive: true });
    }
  },
};
