/** A content cache in memory: verifies, counts, and can be asked which bytes of which blob were fetched. */
import { ImgfsError } from '../../src/errors/imgfs-error.js';
import type {
  IntegrityListener,
  BlobReader,
  BlobSource,
  BlobStatus,
  ContentCache,
  KnownRef,
} from '../../src/content/content.js';
import { digestAlgorithm, digestOf, type Digest } from '../../src/oci/digest.js';
import type { Descriptor } from '../../src/oci/descriptor.js';
import type { ByteRange } from '../../src/store/store.js';

export interface MemoryContent extends ContentCache {
  readonly blobs: Map<Digest, Uint8Array>;
  /** Pretend that a blob turned out not to match its digest. */
  readonly failIntegrity: (digest: Digest) => void;
}

async function fetchAll(
  source: BlobSource,
  range: ByteRange | undefined,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const body = await source.store.fetch(source.repository, source.descriptor, {
    ...(range === undefined ? {} : { range }),
    ...(signal === undefined ? {} : { signal }),
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function check(descriptor: Descriptor, bytes: Uint8Array): void {
  const digest = digestOf(bytes, digestAlgorithm(descriptor.digest));
  if (digest === descriptor.digest && bytes.byteLength === descriptor.size) return;
  throw new ImgfsError('integrity', `got ${digest} of ${bytes.byteLength} bytes`, {
    digest: descriptor.digest,
  });
}

/** An empty cache. `directory` is shown by statfs. */
export function createMemoryContent(directory = '/'): MemoryContent {
  const blobs = new Map<Digest, Uint8Array>();
  const refs = new Map<string, KnownRef>();
  const listeners = new Set<IntegrityListener>();
  const key = (...parts: string[]): string => parts.join('\0');
  const readAll = async (source: BlobSource, options: { maxBytes: number; signal?: AbortSignal }) => {
    const { descriptor } = source;
    if (descriptor.size > options.maxBytes) throw new ImgfsError('too-large', 'blob is too large');
    const known = blobs.get(descriptor.digest);
    if (known !== undefined) return known;
    const bytes = descriptor.data ?? (await fetchAll(source, undefined, options.signal));
    check(descriptor, bytes);
    blobs.set(descriptor.digest, bytes);
    return bytes;
  };
  const statusOf = (digest: Digest): BlobStatus => {
    const size = blobs.get(digest)?.byteLength;
    return size === undefined
      ? { state: 'absent', presentBytes: 0, size: undefined, verified: false }
      : { state: 'complete', presentBytes: size, size, verified: true };
  };
  const open = async (source: BlobSource): Promise<BlobReader> => ({
    descriptor: source.descriptor,
    size: source.descriptor.size,
    read: async (buffer, offset, length, position, options) => {
      const end = Math.min(position + length, source.descriptor.size);
      const known = blobs.get(source.descriptor.digest)?.subarray(position, end);
      const bytes = known ?? (await fetchAll(source, { start: position, end }, options?.signal));
      buffer.set(bytes.subarray(0, length), offset);
      return bytes.byteLength;
    },
    fill: () => Promise.reject(new ImgfsError('cache-full', 'nothing is kept on disk')),
    backing: () => undefined,
    status: () => statusOf(source.descriptor.digest),
    close: () => Promise.resolve(),
  });
  return {
    blobs,
    directory,
    open,
    readAll,
    put: async (descriptor, bytes) => {
      check(descriptor, bytes);
      blobs.set(descriptor.digest, bytes);
    },
    status: async (digest) => statusOf(digest),
    list: async function* () {
      for (const digest of blobs.keys()) yield { digest, status: statusOf(digest) };
    },
    onIntegrityFailure: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    failIntegrity: (digest) => {
      blobs.delete(digest);
      for (const listener of listeners) listener(digest, new ImgfsError('integrity', 'scripted', { digest }));
    },
    refs: {
      get: async (...parts) => refs.get(key(...parts)),
      set: async (storeId, repository, tag, descriptor) => {
        refs.set(key(storeId, repository, tag), { descriptor, at: Date.now() });
      },
      delete: async (...parts) => void refs.delete(key(...parts)),
      repositories: async (storeId) => unique(refs, ([id]) => id === storeId, 1),
      tags: async (storeId, repository) =>
        unique(refs, ([id, name]) => id === storeId && name === repository, 2),
      stores: async () => unique(refs, () => true, 0),
    },
    close: async () => blobs.clear(),
  };
}

function unique(
  refs: ReadonlyMap<string, KnownRef>,
  fits: (parts: readonly string[]) => boolean,
  column: number,
): readonly string[] {
  const rows = [...refs.keys()].map((key) => key.split('\0')).filter(fits);
  return [...new Set(rows.map((parts) => parts[column] ?? ''))];
}
