/**
 * Small images, packed in every way imgfs reads and with every index that an image can bring, and caches that have all
 * or parts of them: what flipped-bits.test.ts damages.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { openContentCache } from '../../src/content/disk.js';
import { exportZtoc } from '../../src/layer/foreign/export-ztoc.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { layerAddon } from '../../src/layer/native/layer-addon.js';
import { createNodeZstd } from '../../src/layer/read/node-zstd.js';
import { mediaTypes } from '../../src/oci/media-type.js';
import { CountingStore } from '../support/counting-store.js';
import { buildImage, type BuiltSingleImage } from '../support/image-builder.js';
import { createPrng } from '../support/prng.js';
import { packings, sampleFiles, sampleTar, type SampleFile } from '../support/sample-layer.js';
import { makeTempDir } from '../support/temp.js';
import { estargzLayer, zstdChunkedLayer, type TocFile, type TocLayer } from '../support/toc-layers.js';

export const repository = 'app';

/** An image of two layers: files, and a whiteout of one of them. */
export interface FlipSubject {
  readonly image: BuiltSingleImage;
  /** Archive of layer 0. */
  readonly tar: Uint8Array;
  /** What `rootfs/` shows. */
  readonly files: readonly SampleFile[];
  /** In layer 0 alone. */
  readonly hidden: SampleFile;
  /** A store that has it all. */
  readonly store: () => CountingStore;
}

/** 14 files, 1.7 MiB: two places to start decoding at, sixteen spans. */
const files = [...sampleFiles(3)].filter(({ content }) => content.length < 300_000).slice(0, 24);
const hidden = files[3] ?? { path: '', content: Buffer.alloc(0) };
const seen = files.filter((file) => file !== hidden);
const tar = sampleTar(files);

const zstdType = 'application/vnd.oci.image.layer.v1.tar+zstd';
const whiteout = { entries: [{ name: hidden.path.replace(/[^/]*$/, (name) => `.wh.${name}`) }] };

interface Packed {
  readonly blob: Uint8Array;
  readonly tar: Uint8Array;
  readonly mediaType: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

async function subjectOf({ blob, tar: archive, mediaType, annotations }: Packed): Promise<FlipSubject> {
  const layer = { entries: archive, packed: blob, mediaType };
  const image = await buildImage({
    layers: [annotations === undefined ? layer : { ...layer, annotations }, whiteout],
  });
  const store = (): CountingStore => {
    const made = new CountingStore();
    made.add(repository, image, 'v1');
    return made;
  };
  return { image, tar: archive, files: seen, hidden, store };
}

const own = (pack: (bytes: Uint8Array) => Uint8Array, mediaType: string) => async (): Promise<FlipSubject> =>
  subjectOf({ blob: pack(tar), tar, mediaType });

const tocFiles = (): TocFile[] =>
  files.map(({ path, content }) => ({ name: path, content, mode: 0o644, mtime: 1_700_000_000 }));

const foreign = (make: (files: readonly TocFile[]) => TocLayer, mediaType: string) => async () => {
  const made = make(tocFiles());
  return subjectOf({ blob: made.blob, tar: made.tar, mediaType, annotations: made.annotations });
};

/** An image that names its SOCI index by digest. */
async function soci(): Promise<FlipSubject> {
  const plain = await subjectOf({ blob: gzipSync(tar), tar, mediaType: mediaTypes.ociLayerGzip });
  const descriptor = plain.image.layers[0]?.descriptor;
  if (descriptor === undefined) throw new Error('no layer');
  const directory = join(await makeTempDir('ztoc'), 'cache');
  const cache = await openContentCache({ directory });
  const layers = new LayerStore({ cache });
  const source = { store: plain.store(), repository, descriptor };
  const layer = await layers.openLayer(source);
  await layer.whenIndexed();
  await layer.close();
  const ztoc = await exportZtoc({ source, cache, spanBytes: 200_000, buildTool: 'test' });
  await layers.close();
  await cache.close();
  await rm(directory, { recursive: true });
  const parts = new CountingStore();
  const annotations = { 'com.amazon.soci.image-layer-digest': descriptor.digest };
  const blob = { ...parts.addBytes(repository, ztoc, 'application/octet-stream'), annotations };
  const empty = parts.addBytes(repository, Buffer.from('{}'), 'application/vnd.amazon.soci.index.v2+json');
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: empty, layers: [blob] };
  const index = parts.addBytes(repository, Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest);
  const layerSpec = { entries: tar, packed: gzipSync(tar) };
  const image = await buildImage({
    layers: [layerSpec, whiteout],
    annotations: { 'com.amazon.soci.index-digest': index.digest },
  });
  const store = (): CountingStore => {
    const made = new CountingStore();
    made.add(repository, image, 'v1');
    for (const [digest, found] of parts.repository(repository).blobs)
      made.repository(repository).blobs.set(digest, found);
    return made;
  };
  return { ...plain, image, store };
}

const makers = {
  gzip: own(packings.gzip, mediaTypes.ociLayerGzip),
  members: own(packings.members, mediaTypes.ociLayerGzip),
  many: own(packings.many, mediaTypes.ociLayerGzip),
  stored: own(packings.stored, mediaTypes.ociLayerGzip),
  plain: own(packings.plain, 'application/vnd.oci.image.layer.v1.tar'),
  zstd: own(packings.zstd, zstdType),
  frames: own(packings.frames, zstdType),
  estargz: foreign((list) => estargzLayer(list, { chunkBytes: 100_000 }), mediaTypes.ociLayerGzip),
  chunked: foreign((list) => zstdChunkedLayer(list, { chunkBytes: 100_000 }), zstdType),
  soci,
} as const;

export type SubjectName = keyof typeof makers;

const hasZstd = layerAddon()?.hasZstd() === true || createNodeZstd() !== undefined;
const needZstd: readonly string[] = ['zstd', 'frames', 'chunked'] satisfies SubjectName[];

/** Those that can be read here. */
export const subjectNames = (Object.keys(makers) as SubjectName[]).filter(
  (name) => hasZstd || !needZstd.includes(name),
);

const made = new Map<SubjectName, Promise<FlipSubject>>();

/** The same one for the same name. */
export function subjectFor(name: SubjectName): Promise<FlipSubject> {
  const known = made.get(name) ?? makers[name]();
  made.set(name, known);
  return known;
}

/** An order of the same files for each seed. */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const prng = createPrng(seed);
  return items
    .map((item) => [prng.next(), item] as const)
    .toSorted(([a], [b]) => a - b)
    .map(([, item]) => item);
}
