/**
 * Opening stores of which nothing is read but what says what is in them: a docker-archive of 5 GB with 100 layers, written
 * out and read from the disk (its pages are dropped before each round) and from memory; and engines with 500 images.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
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
const archiveRounds = 25;
const layers = 100;
const layerBytes = 50 * 1024 * 1024;

/** As skopeo writes them: layers first, what says what they are last. */
async function writeArchive(path: string): Promise<void> {
  const diffIds = Array.from({ length: layers }, (_, at) => digestOf(Buffer.from(`layer ${at}`)));
  const history = diffIds.map((digest) => ({
    created: '2026-01-01T00:00:00Z',
    created_by: `/bin/sh -c #(nop) COPY file:${digestHex(digest)} in /`,
  }));
  const rootfs = { type: 'layers', diff_ids: diffIds };
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs, history }));
  const names = diffIds.map((digest) => `${digestHex(digest)}.tar`);
  const configName = `${digestHex(digestOf(config))}.json`;
  const manifest = Buffer.from(JSON.stringify([{ Config: configName, RepoTags: ['a:b'], Layers: names }]));
  const layer = randomBytes(layerBytes);
  const handle = await open(path, 'w');
  let at = 0;
  const add = async (name: string, content: Uint8Array): Promise<void> => {
    await handle.write(await memberHeader({ name, size: content.length }), 0, 512, at);
    await handle.write(content, 0, content.length, at + 512);
    at += 512 + Math.ceil(content.length / 512) * 512;
  };
  for (const name of names) await add(name, layer);
  await add(configName, config);
  await add('manifest.json', manifest);
  await handle.truncate(at + 1024);
  await handle.sync();
  await handle.close();
}

/** As fast as Node can: no way through the thread pool, no header looked at but for its size. */
function readHeaders(path: string): void {
  const descriptor = openSync(path, 'r');
  const block = Buffer.alloc(512);
  for (let at = 0; readSync(descriptor, block, 0, 512, at) === 512 && block[0] !== 0;) {
    at += 512 + Math.ceil(Number.parseInt(block.toString('latin1', 124, 135), 8) / 512) * 512;
  }
  closeSync(descriptor);
}

/** POSIX_FADV_DONTNEED of all of the file, without root. */
function dropPages(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
}

async function openAndList(path: string): Promise<void> {
  const store = await openArchiveStore('docker-archive', path);
  await collect(store.repositories());
  await store.close();
}

async function* archiveRows(directory: string): AsyncGenerator<Measurement> {
  const path = join(directory, 'large.tar');
  await writeArchive(path);
  const before = process.memoryUsage.rss();
  let most = before;
  for (const [where, prepare] of [
    ['on the disk', dropPages],
    ['in memory', () => undefined],
  ] as const) {
    const contenders = {
      read: async () => readHeaders(path),
      opened: () => openAndList(path),
      listed: async () => void execFileSync('tar', ['--seek', '-tf', path]),
    };
    const times: Record<keyof typeof contenders, number[]> = { read: [], opened: [], listed: [] };
    for (let round = 0; round < archiveRounds; round += 1) {
      for (const name of ['read', 'opened', 'listed'] as const) {
        prepare(path);
        times[name].push(await timed(contenders[name]));
      }
      most = Math.max(most, process.memoryUsage.rss());
    }
    const ratio = median(times.opened) / median(times.read);
    const isFigure = where === 'on the disk';
    yield {
      what: `docker-archive of 5 GB ${where}: first opening, ms`,
      measured: (times.opened[0] ?? 0).toFixed(1),
      figure: '',
    };
    yield { what: '… later openings, ms', measured: spread(times.opened, 1), figure: '< 200', reached: median(times.opened) < 200 }; // prettier-ignore
    yield { what: '… reading its headers, ms', measured: spread(times.read, 1), figure: '' };
    yield { what: '… `tar --seek -t`, ms', measured: spread(times.listed, 1), figure: '' };
    yield {
      what: '… opening against reading its headers, medians',
      measured: ratio.toFixed(2),
      figure: isFigure ? '<= 1.2' : '',
      ...(isFigure ? { reached: ratio <= 1.2 } : {}),
    };
  }
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
    const directory = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'imgfs-bench-stores-'));
    try {
      yield* archiveRows(directory);
      yield* engineRows(directory);
    } finally {
      await rm(directory, { recursive: true });
    }
  },
};
