/** A range of an open file as a {@link Body}. */
import type { FileHandle } from 'node:fs/promises';
import { ImgfsError } from '../errors/imgfs-error.js';
import { fileError } from './file-error.js';
import type { Body, ByteRange, CallOptions, ReadableBytes } from './store.js';

/**
 * Bytes per read: 100 MB of page cache came at 1.4 GB/s on two busy cores, where 64 KiB would cost four times as many
 * trips through libuv's pool; 16 readers hold 4 MiB.
 */
const chunkBytes = 256 * 1024;

export interface FileRegion {
  readonly handle: FileHandle;
  /** For messages. */
  readonly path: string;
  /** Where byte 0 of the blob is in the file. */
  readonly offset: number;
  /** Length of the blob in bytes. */
  readonly size: number;
  /** Called before bytes `[start, end)` of the file are read: they may have to be made first. */
  prepare?(start: number, end: number, options: CallOptions): Promise<void>;
  /** Called once, when the body ends or is cancelled. */
  release(): Promise<void>;
}

/**
 * Check a range against the size of a blob; none means all of it. The end is cut at the size, as servers do.
 * @throws ImgfsError `invalid` when it begins behind the end or is empty.
 */
export function clipRange(range: ByteRange | undefined, size: number): ByteRange {
  if (range === undefined) return { start: 0, end: size };
  const { start, end } = range;
  if (!Number.isSafeInteger(start) || start < 0 || end <= start || start >= size) {
    throw new ImgfsError('invalid', `read bytes ${start} to ${end}: the blob has ${size} bytes`);
  }
  return { start, end: Math.min(end, size) };
}

/** Stream `range` of the region. The region is released at the end, on failure and by `cancel`. */
export function fileBody(region: FileRegion, range: ByteRange, options: CallOptions = {}): Body {
  let released: Promise<void> | undefined;
  let cancelled = false;
  const release = (): Promise<void> => (released ??= region.release());
  return {
    start: range.start,
    end: range.end,
    totalSize: region.size,
    file: readableFile(region),
    chunks: readChunks(region, range, options.signal, () => cancelled, release),
    cancel: () => {
      cancelled = true;
      // A failed close of a file opened for reading loses nothing.
      release().catch(() => undefined);
    },
  };
}

function readableFile({ handle, path, offset, size }: FileRegion): ReadableBytes {
  return {
    read: async (buffer, position) => {
      const want = Math.min(buffer.length, size - position);
      let done = 0;
      try {
        while (done < want) {
          const { bytesRead } = await handle.read(buffer, done, want - done, offset + position + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
      } catch (error) {
        throw fileError(error, 'read', path);
      }
      return done;
    },
  };
}

async function* readChunks(
  region: FileRegion,
  range: ByteRange,
  signal: AbortSignal | undefined,
  isCancelled: () => boolean,
  release: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  const { handle, path, offset, size } = region;
  try {
    for (let at = range.start; at < range.end;) {
      if (isCancelled() || signal?.aborted === true) {
        throw new ImgfsError('interrupted', `read ${path}: given up at byte ${at}`, { path });
      }
      const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, range.end - at));
      const from = offset + at;
      await region.prepare?.(from, from + buffer.length, signal === undefined ? {} : { signal });
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, from);
      if (bytesRead === 0) {
        throw new ImgfsError('stale', `read ${path}: it ends at byte ${at} of ${size}`, {
          path,
          hint: 'something cut the file while it was read: check who writes to the store',
        });
      }
      at += bytesRead;
      yield bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    throw isCancelled()
      ? new ImgfsError('interrupted', `read ${path}: given up`, { path, cause: error })
      : fileError(error, 'read', path);
  } finally {
    await release();
  }
}

/** A body of bytes that are in memory. */
export function memoryBody(bytes: Uint8Array, range: ByteRange): Body {
  return {
    start: range.start,
    end: range.end,
    totalSize: bytes.length,
    chunks: (async function* once() {
      if (range.end > range.start) yield bytes.subarray(range.start, range.end);
    })(),
    cancel: () => undefined,
  };
}
