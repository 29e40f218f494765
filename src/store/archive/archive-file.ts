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
import { canUnpackZstd, nodeZstd, unpackZstd } from './unpack-zstd.js';

export interface ArchiveFileOptions {
  /** Where a compressed archive is unpacked to; default `TMPDIR`, else /var/tmp, which is meant for large files. */
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

/**
 * Open an archive.
 * @throws ImgfsError `not-found` when there is no such file; `unsupported` for a compression we cannot undo;
 *   `invalid-content` for a damaged one; `too-large`.
 */
export async function openArchiveFile(
  path: string,
  options: ArchiveFileOptions & CallOptions = {},
): Promise<ArchiveFile> {
  const operation = 'open archive';
  const opened = await openRegularFile(path, { operation, within: ['/'], missing: 'not-found' });
  const identity = archiveIdentity(opened.stats);
  const plain = { path, identity, size: opened.size, handle: opened.handle };
  try {
    const compression = await sniff(opened.handle);
    if (compression === undefined) return { ...plain, close: () => opened.handle.close() };
    const handle = await spool(opened.handle, path, compression, options);
    await opened.handle.close();
    return { path, identity, handle, size: (await handle.stat()).size, close: () => handle.close() };
  } catch (error) {
    await opened.handle.close();
    throw fileError(error, operation, path);
  }
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
  return magics.find(({ magic }) => magic.every((byte, at) => bytes[at] === byte))?.compression;
}

const magics: readonly { readonly compression: Compression; readonly magic: readonly number[] }[] = [
  { compression: 'gzip', magic: [0x1f, 0x8b] },
  { compression: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { compression: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0] },
  { compression: 'bzip2', magic: [0x42, 0x5a, 0x68] },
];

/** Undefined: the addon does it. */
function decompressor(path: string, compression: Compression): Transform | undefined {
  if (compression === 'gzip') return createGunzip();
  if (compression === 'zstd') {
    const stream = nodeZstd();
    if (stream !== undefined || canUnpackZstd()) return stream;
  }
  throw new ImgfsError('unsupported', `open archive ${path}: compressed with ${compression}`, {
    path,
    hint:
      compression === 'zstd'
        ? 'decompress it first: zstd -d; or install libzstd and build the addon (npm run build:native)'
        : `decompress it first: ${compression} -d`,
  });
}

/** Decompress to a file without a name: it goes away with the process, however that ends. */
async function spool(
  source: FileHandle,
  path: string,
  compression: Compression,
  options: ArchiveFileOptions & CallOptions,
): Promise<FileHandle> {
  const transform = decompressor(path, compression);
  const directory = options.spoolDirectory ?? process.env['TMPDIR'] ?? '/var/tmp';
  const spooled = join(directory, `imgfs-archive-${randomUUID()}`);
  await mkdir(directory, { recursive: true }).catch(() => undefined);
  const handle = await open(spooled, 'wx+', 0o600).catch((error: unknown) => {
    throw fileError(error, 'unpack archive into', spooled);
  });
  try {
    await unlink(spooled);
    const limit = options.maxSpoolBytes ?? defaultMaxSpoolBytes;
    if (transform === undefined) {
      const signal = options.signal === undefined ? {} : { signal: options.signal };
      await unpackZstd(readAll(source), handle, { path, maxBytes: limit, ...signal });
      return handle;
    }
    const sink = (chunks: AsyncIterable<Buffer>): Promise<void> => writeAll(handle, chunks, path, limit);
    await pipeline(
      readAll(source),
      transform,
      sink,
      options.signal === undefined ? {} : { signal: options.signal },
    );
    return handle;
  } catch (error) {
    await handle.close();
    throw unpackError(error, path, spooled);
  }
}

function unpackError(error: unknown, path: string, spooled: string): ImgfsError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  // zlib's own codes: Z_DATA_ERROR, Z_BUF_ERROR (cut short).
  if (typeof code === 'string' && /^(Z_|ZSTD_)/.test(code)) {
    return new ImgfsError('invalid-content', `unpack archive ${path}: damaged or cut short`, {
      path,
      cause: error,
      hint: 'the archive is incomplete: copy or save it again',
    });
  }
  return fileError(error, `unpack archive ${path} into`, spooled);
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
