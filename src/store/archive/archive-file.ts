/** An archive on disk: opened once, decompressed to a nameless file when it is compressed, read at positions. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { fileError } from '../file-error.js';
import { openRegularFile } from '../safe-open.js';
import type { CallOptions } from '../store.js';
import { findArchiveIndex, saveArchiveIndex } from './archive-index.js';
import { LazyArchive } from './lazy-archive.js';
import { beginWalk, type ArchiveBytes, type BegunWalk } from './walk-headers.js';
import type { TarMember } from './scan-tar.js';
import {
  canUnpackByAddon,
  nodeZstd,
  NotReadableTar,
  unpackByAddon,
  type UnpackedSpans,
} from './unpack-native.js';

export interface ArchiveFileOptions {
  /**
   * Where a compressed archive is unpacked to, and where it is kept what was found in it; default `TMPDIR`, else /var/tmp,
   * which is meant for large files, and nothing is kept.
   */
  readonly spoolDirectory?: string;
  /** Largest archive after decompression, in bytes; default 64 GiB. */
  readonly maxSpoolBytes?: number;
}

const defaultMaxSpoolBytes = 64 * 1024 ** 3;

export interface ArchiveFile {
  readonly path: string;
  /** Size of the tar, decompressed. */
  readonly size: number;
  readonly handle: FileHandle;
  /** Changes when the file is replaced or rewritten. */
  readonly identity: string;
  /** The walk over its headers that began when it was opened. */
  readonly begun?: BegunWalk;
  /** What an earlier process found in it. */
  readonly members?: readonly TarMember[];
  /** Bytes `[start, end)` are in `handle` now: only what is read is decompressed. @throws ImgfsError `stale`. */
  ensure?(start: number, end: number, options?: CallOptions): Promise<void>;
  /** Keep what was found, for the next process. */
  remember?(members: readonly TarMember[]): Promise<void>;
  close(): Promise<void>;
}

/** What {@link ArchiveFile.identity} is made of. */
export function archiveIdentity(stats: {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs].join(' ');
}

export interface OpenArchiveOptions extends ArchiveFileOptions, CallOptions {
  /** Gets the end of an archive that is not compressed, while its headers are being read. */
  readonly onEnd?: (end: ArchiveBytes) => void;
}

/**
 * Open an archive. Its headers are being read meanwhile, out of a descriptor of their own: what else there is to do takes as
 * long as some twenty of them.
 * @throws ImgfsError `not-found` when there is no such file; `unsupported` for a compression we cannot undo;
 *   `invalid-content` for a damaged one; `too-large`.
 */
export async function openArchiveFile(path: string, options: OpenArchiveOptions = {}): Promise<ArchiveFile> {
  const operation = 'open archive';
  // First: everything else is done while it reads.
  const walk = beginWalk(path, options.onEnd);
  const opened = await openRegularFile(path, { operation, within: ['/'], missing: 'not-found' });
  const identity = archiveIdentity(opened.stats);
  const plain = { path, identity, size: opened.size, handle: opened.handle };
  try {
    const compression = await sniff(opened.handle);
    if (compression === undefined) {
      const begun = await walk;
      const isSame = begun?.identity === identity;
      return { ...plain, ...(isSame ? { begun } : {}), close: () => opened.handle.close() };
    }
    const key = `archive ${path} ${identity}`;
    const known = await openKnown(opened.handle, path, identity, key, options);
    if (known !== undefined) return known;
    const { handle, spans } = await spool(opened.handle, path, compression, options);
    await opened.handle.close();
    const { size } = await handle.stat();
    return {
      path,
      identity,
      handle,
      size,
      close: () => handle.close(),
      ...keeper(key, { handle, size, compression, spans }, options),
    };
  } catch (error) {
    await opened.handle.close();
    throw fileError(error, operation, path);
  }
}

/** The archive by what an earlier process kept of it; undefined when nothing was kept, or it is of no use. */
async function openKnown(
  source: FileHandle,
  path: string,
  identity: string,
  key: string,
  options: ArchiveFileOptions,
): Promise<ArchiveFile | undefined> {
  const { spoolDirectory, maxSpoolBytes = defaultMaxSpoolBytes } = options;
  const index = spoolDirectory === undefined ? undefined : await findArchiveIndex(spoolDirectory, key);
  if (index === undefined) return undefined;
  const handle = await namelessFile(options);
  const lazy = index.size <= maxSpoolBytes ? await LazyArchive.open(source, handle, index) : undefined;
  if (lazy === undefined) {
    await handle.close();
    await index.handle.close();
    return undefined;
  }
  const { members, size } = index;
  return {
    path,
    identity,
    handle,
    size,
    members,
    ensure: (start, end, call) => lazy.ensure(start, end, call),
    close: async () => {
      await handle.close();
      await index.handle.close();
      await source.close();
    },
  };
}

function keeper(
  key: string,
  {
    handle,
    size,
    compression,
    spans,
  }: Spooled & { readonly size: number; readonly compression: Compression },
  { spoolDirectory }: ArchiveFileOptions,
): Pick<ArchiveFile, 'remember'> {
  if (spoolDirectory === undefined || spans === undefined) return {};
  if (compression !== 'gzip' && compression !== 'zstd') return {};
  return {
    remember: (members) =>
      saveArchiveIndex(spoolDirectory, key, { ...spans, format: compression, size, members }, handle),
  };
}

type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** By the first bytes; undefined for everything else: the tar scan says what is wrong with it. */
async function sniff(handle: FileHandle): Promise<Compression | undefined> {
  const buffer = Buffer.alloc(6);
  await handle.read(buffer, 0, buffer.length, 0);
  return sniffCompression(buffer);
}

/** Compression of a file by its first 6 bytes. */
export function sniffCompression(bytes: Uint8Array): Compression | undefined {
  return magics.find(({ magic }) => magic[0] === bytes[0] && magic.every((byte, at) => bytes[at] === byte))
    ?.compression;
}

const magics: readonly { readonly compression: Compression; readonly magic: readonly number[] }[] = [
  { compression: 'gzip', magic: [0x1f, 0x8b] },
  { compression: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { compression: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0] },
  { compression: 'bzip2', magic: [0x42, 0x5a, 0x68] },
];

/** Node's own. @throws ImgfsError `unsupported`. */
function decompressor(path: string, compression: Compression): Transform {
  if (compression === 'gzip') return createGunzip();
  const stream = compression === 'zstd' ? nodeZstd() : undefined;
  if (stream !== undefined) return stream;
  throw new ImgfsError('unsupported', `open archive ${path}: compressed with ${compression}`, {
    path,
    hint:
      compression === 'zstd'
        ? 'decompress it first: zstd -d; or install libzstd and build the addon (npm run build:native)'
        : `decompress it first: ${compression} -d`,
  });
}

/** It goes away with the process, however that ends. */
async function namelessFile({ spoolDirectory }: ArchiveFileOptions): Promise<FileHandle> {
  const directory = spoolDirectory ?? process.env['TMPDIR'] ?? '/var/tmp';
  const path = join(directory, `imgfs-archive-${randomUUID()}`);
  await mkdir(directory, { recursive: true }).catch(() => undefined);
  try {
    const handle = await open(path, 'wx+', 0o600);
    await unlink(path);
    return handle;
  } catch (error) {
    throw fileError(error, 'unpack archive into', path);
  }
}

interface Spooled {
  readonly handle: FileHandle;
  /** Undefined where the addon did not unpack it. */
  readonly spans: UnpackedSpans | undefined;
}

/** Decompress to a file without a name. */
async function spool(
  source: FileHandle,
  path: string,
  compression: Compression,
  options: ArchiveFileOptions & CallOptions,
): Promise<Spooled> {
  const limit = options.maxSpoolBytes ?? defaultMaxSpoolBytes;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const isNative = (compression === 'gzip' || compression === 'zstd') && canUnpackByAddon(compression);
  // Refused before anything is written.
  if (!isNative) decompressor(path, compression).destroy();
  const handle = await namelessFile(options);
  try {
    const spans = isNative
      ? await unpackByAddon(compression, readAll(source), handle, { path, maxBytes: limit, ...signal }).catch(
          orByNode(path, compression),
        )
      : undefined;
    if (spans !== undefined) return { handle, spans };
    await handle.truncate(0);
    const sink = (chunks: AsyncIterable<Buffer>): Promise<void> => writeAll(handle, chunks, path, limit);
    await pipeline(readAll(source), decompressor(path, compression), sink, signal);
    return { handle, spans };
  } catch (error) {
    await handle.close();
    throw unpackError(error, path);
  }
}

/** What is no tar for the addon is unpacked by Node, where that can: the scan says what is wrong with it. */
function orByNode(path: string, compression: Compression) {
  return (error: unknown): undefined => {
    if (!(error instanceof NotReadableTar)) throw error;
    if (compression === 'gzip' || nodeZstd() !== undefined) return undefined;
    throw new ImgfsError('invalid-content', `unpack archive ${path}: no tar: ${error.message}`, { path });
  };
}

function unpackError(error: unknown, path: string): ImgfsError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  // zlib's own codes: Z_DATA_ERROR, Z_BUF_ERROR (cut short).
  if (typeof code === 'string' && /^(Z_|ZSTD_)/.test(code)) {
    return new ImgfsError('invalid-content', `unpack archive ${path}: damaged or cut short`, {
      path,
      cause: error,
      hint: 'the archive is incomplete: copy or save it again',
    });
  }
  return fileError(error, 'unpack archive', path);
}

/** The file from its beginning, in pieces that cost little besides copying. */
async function* readAll(source: FileHandle): AsyncGenerator<Buffer> {
  for (let at = 0; ;) {
    const buffer = Buffer.allocUnsafe(256 * 1024);
    const { bytesRead } = await source.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function writeAll(
  target: FileHandle,
  chunks: AsyncIterable<Buffer>,
  path: string,
  limit: number,
): Promise<void> {
  let at = 0;
  for await (const chunk of chunks) {
    if (at + chunk.length > limit) {
      throw new ImgfsError('too-large', `unpack archive ${path}: more than ${limit} bytes`, { path });
    }
    for (let written = 0; written < chunk.length;) {
      const left = chunk.length - written;
      written += (await target.write(chunk, written, left, at + written)).bytesWritten;
    }
    at += chunk.length;
  }
}
