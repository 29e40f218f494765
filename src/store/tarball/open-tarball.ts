/**
 * `tarball:path[:path…]`: tar files as an image, one layer each, the lowest first (containers/image tarball/). They are
 * served as they are, compressed or not; config and manifest are made, the same as long as the files are.
 */
import { stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import type { FileHandle } from 'node:fs/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { createDigester, digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { hostPlatform, type Platform } from '../../oci/platform.js';
import { archiveIdentity, sniffCompression } from '../archive/archive-file.js';
import { nodeZstd } from '../archive/unpack-native.js';
import { fileBody } from '../file-body.js';
import { fileError } from '../file-error.js';
import { ImageTable } from '../layout/image-table.js';
import { remembered } from '../remembered.js';
import { openRegularFile, type OpenedFile } from '../safe-open.js';
import {
  openSnapshotStore,
  type Snapshot,
  type SnapshotBlob,
  type SnapshotStore,
  type SnapshotStoreOptions,
} from '../snapshot-store.js';
import type { CallOptions } from '../store.js';

export interface TarballOptions extends SnapshotStoreOptions {
  /** Where digests are remembered. */
  readonly spoolDirectory?: string;
}

/** Bytes read and hashed at once: 0.6 ms of sha256. */
const chunkBytes = 1024 * 1024;

const layerTypes = {
  none: mediaTypes.ociLayer,
  gzip: mediaTypes.ociLayerGzip,
  zstd: mediaTypes.ociLayerZstd,
} as const;

interface TarDigests {
  readonly digest: Digest;
  readonly diffId: Digest;
}

interface TarLayer extends TarDigests {
  readonly file: OpenedFile;
  readonly path: string;
  readonly compression: keyof typeof layerTypes;
}

/**
 * Open tar files as one image, called `latest`.
 * @throws ImgfsError `not-found`, `denied`, `invalid-content` for what is no tar, `unsupported` for a compression that
 *   no layer has.
 */
export async function openTarball(
  text: string,
  options: TarballOptions & CallOptions = {},
): Promise<SnapshotStore> {
  const paths = text
    .split(':')
    .filter((path) => path !== '')
    .map((path) => resolvePath(path));
  const identity = async (): Promise<string> => {
    const stats = paths.map((path) =>
      stat(path, { bigint: true }).catch((error: unknown) => {
        throw fileError(error, 'open tarball', path, { missing: 'not-found' });
      }),
    );
    return (await Promise.all(stats)).map(archiveIdentity).join('; ');
  };
  const load = async (call: CallOptions): Promise<{ identity: string; snapshot: Snapshot }> => {
    const layers: TarLayer[] = [];
    try {
      for (const path of paths) layers.push(await openLayer(path, { ...options, ...call }));
      const identity = layers.map(({ file }) => archiveIdentity(file.stats)).join('; ');
      return { identity, snapshot: snapshotOf(paths.join(':'), layers, options.platform ?? hostPlatform()) };
    } catch (error) {
      await Promise.all(layers.map(({ file }) => file.handle.close()));
      throw error;
    }
  };
  const path = paths.join(':');
  const missingHint = 'it has its layers, a config and a manifest';
  return openSnapshotStore(
    { transport: 'tarball', id: `tarball:${path}`, path, missingHint, identity, load },
    options,
  );
}

async function openLayer(path: string, options: TarballOptions & CallOptions): Promise<TarLayer> {
  const file = await openRegularFile(path, {
    operation: 'open tarball',
    within: ['/'],
    missing: 'not-found',
  });
  try {
    const head = Buffer.alloc(512);
    await file.handle.read(head, 0, head.length, 0);
    const compression = sniffCompression(head) ?? 'none';
    if (compression === 'xz' || compression === 'bzip2') {
      throw new ImgfsError(
        'unsupported',
        `open tarball ${path}: compressed with ${compression}, as no layer is`,
        {
          path,
          hint: `decompress it first: ${compression} -d`,
        },
      );
    }
    const isTar = head.toString('latin1', 257, 262) === 'ustar' || head.every((byte) => byte === 0);
    if (compression === 'none' && !isTar) {
      throw new ImgfsError('invalid-content', `open tarball ${path}: not a tar file`, { path });
    }
    const key = `tarball ${path} ${archiveIdentity(file.stats)}`;
    const compute = (): Promise<TarDigests> => digestsOf(file.handle, path, compression, options);
    return {
      file,
      path,
      compression,
      ...(await remembered(options.spoolDirectory, key, isDigests, compute)),
    };
  } catch (error) {
    await file.handle.close();
    throw fileError(error, 'open tarball', path);
  }
}

function isDigests(value: unknown): value is TarDigests {
  const { digest, diffId } = (value ?? {}) as Partial<TarDigests>;
  return isDigest(digest) && isDigest(diffId);
}

/** One pass: of the file as it is, and of the tar in it. */
async function digestsOf(
  handle: FileHandle,
  path: string,
  compression: TarLayer['compression'],
  { signal }: CallOptions,
): Promise<TarDigests> {
  const stored = createDigester();
  const chunks = async function* chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; ;) {
      if (signal?.aborted === true) throw new ImgfsError('interrupted', `open tarball ${path}: given up`);
      const buffer = Buffer.allocUnsafe(chunkBytes);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      stored.update(buffer.subarray(0, bytesRead));
      yield buffer.subarray(0, bytesRead);
    }
  };
  if (compression === 'none') {
    for await (const chunk of chunks()) void chunk;
    const digest = stored.digest();
    return { digest, diffId: digest };
  }
  const decoder = compression === 'gzip' ? createGunzip() : nodeZstd();
  if (decoder === undefined) {
    throw new ImgfsError('unsupported', `open tarball ${path}: this Node cannot decompress zstd`, {
      path,
      hint: 'decompress it first: zstd -d; or use Node 22.15 or newer',
    });
  }
  const unpacked = createDigester();
  try {
    await pipeline(chunks, decoder, async (parts: AsyncIterable<Uint8Array>) => {
      for await (const part of parts) unpacked.update(part);
    });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!/^(Z_|ZSTD_)/.test(code)) throw error;
    throw new ImgfsError('invalid-content', `open tarball ${path}: damaged or cut short`, {
      path,
      cause: error,
    });
  }
  return { digest: stored.digest(), diffId: unpacked.digest() };
}

function snapshotOf(path: string, layers: readonly TarLayer[], platform: Platform): Snapshot {
  const newest = Math.max(...layers.map(({ file }) => Number(file.stats.mtimeMs)));
  const created = new Date(newest).toISOString();
  const blobs = new Map<Digest, SnapshotBlob>();
  for (const { file, path, digest } of layers) {
    const { handle, size } = file;
    const region = { handle, path, offset: 0, size, release: async () => undefined };
    blobs.set(digest, { size, open: async (range, options) => fileBody(region, range, options) });
  }
  const put = (value: object, mediaType: string): { mediaType: string; digest: Digest; size: number } => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = digestOf(bytes);
    blobs.set(digest, { bytes });
    return { mediaType, digest, size: bytes.length };
  };
  const config = put(
    {
      created,
      architecture: platform.architecture,
      os: platform.os,
      config: {},
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
      history: layers.map(({ diffId }) => ({
        created,
        created_by: `/bin/sh -c #(nop) ADD file:${diffId} in /`,
      })),
    },
    mediaTypes.ociConfig,
  );
  const descriptor = put(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config,
      layers: layers.map(({ compression, digest, file }) => ({
        mediaType: layerTypes[compression],
        digest,
        size: file.size,
      })),
    },
    mediaTypes.ociManifest,
  );
  return {
    images: new ImageTable(path, [{ descriptor, names: [{ repository: '', tag: 'latest' }] }]),
    blob: (digest) => blobs.get(digest),
    close: async () => void (await Promise.all(layers.map(({ file }) => file.handle.close()))),
  };
}
