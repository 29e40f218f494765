/** Fetch an image with everything it reaches, so that it can be pinned: `imgfs pull`. */
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { manifestKind } from '../oci/media-type.js';
import { maxManifestBytes } from '../oci/parse-manifest.js';
import type { CallOptions } from '../store/store.js';
import type { BlobReader, BlobSource, ContentCache } from './content.js';
import { childrenOf } from './pins.js';

/** Blobs fetched at the same time, each over several connections of its own. */
const parallelBlobs = 2;
const maxDepth = 4;

export interface PinProgress {
  readonly digest: Digest;
  readonly size: number;
  /** Blobs done so far, and all that are known by now. */
  readonly done: number;
  readonly total: number;
}

export interface PinOptions extends CallOptions {
  /** Name of the pin, and of the image in the layout: a reference. */
  readonly name: string;
  /** Which children of an index belong to it; default all. */
  readonly include?: (child: Descriptor) => boolean;
  /** Called after each blob. */
  readonly onProgress?: (progress: PinProgress) => void;
}

/** Fetch everything, then `record` the pin of these blobs. They stay open until then: none is evicted in between. */
export async function pinImage(
  cache: ContentCache,
  source: BlobSource,
  options: PinOptions,
  record: (blobs: readonly Descriptor[]) => Promise<void>,
): Promise<void> {
  const wanted = new Map<Digest, BlobSource>();
  const readers: BlobReader[] = [];
  try {
    await collect(cache, source, options, wanted, maxDepth);
    await fillAll(cache, [...wanted.values()], readers, options);
    await record([...wanted.values()].map(({ descriptor }) => descriptor));
  } finally {
    await Promise.all(readers.map((reader) => reader.close()));
  }
}

async function collect(
  cache: ContentCache,
  source: BlobSource,
  options: PinOptions,
  wanted: Map<Digest, BlobSource>,
  depth: number,
): Promise<void> {
  const { descriptor } = source;
  if (wanted.has(descriptor.digest)) return;
  wanted.set(descriptor.digest, source);
  const kind = manifestKind(descriptor.mediaType);
  if (kind === undefined || depth === 0) return;
  const bytes = await cache.readAll(source, { ...signalOf(options), maxBytes: maxManifestBytes });
  for (const child of childrenOf(bytes, descriptor)) {
    if (kind === 'index' && options.include?.(child) === false) continue;
    await collect(cache, { ...source, descriptor: child }, options, wanted, depth - 1);
  }
}

const signalOf = ({ signal }: CallOptions): CallOptions => (signal === undefined ? {} : { signal });

async function fillAll(
  cache: ContentCache,
  sources: readonly BlobSource[],
  readers: BlobReader[],
  options: PinOptions,
): Promise<void> {
  const queue = [...sources];
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
      const reader = await cache.open(source, signalOf(options));
      readers.push(reader);
      await reader.fill({ start: 0, end: reader.size }, signalOf(options));
      done += 1;
      const { digest, size } = source.descriptor;
      options.onProgress?.({ digest, size, done, total: sources.length });
    }
  };
  await Promise.all(Array.from({ length: parallelBlobs }, worker));
}
