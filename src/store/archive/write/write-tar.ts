/** A planned archive on its way to a file: every blob verified as it passes, the file in place at once or not at all. */
import { randomUUID } from 'node:crypto';
import { open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImgfsError, isImgfsError } from '../../../errors/imgfs-error.js';
import { createDigester, digestAlgorithm, type Digest } from '../../../oci/digest.js';
import { fileError } from '../../file-error.js';
import type { CallOptions } from '../../store.js';
import { syncDirectory } from '../../write-file.js';
import type { MemberBlob, PlanSegment, TarPlan } from './tar-plan.js';

export interface WriteTarOptions extends CallOptions {
  /** A blob begins, goes on, has ended. */
  readonly onBlob?: (digest: Digest, size: number, state: 'start' | 'end') => void;
  readonly onBytes?: (digest: Digest, bytes: number) => void;
}

/** Bodies that break are asked for again from where they broke: the stores have retried their requests by then. */
const maxAttempts = 4;

/** Bytes hashed between two looks at the event loop: sha256 takes 0.6 ms for 1 MiB. */
const sliceBytes = 1024 * 1024;

/**
 * The bytes of a plan in order, blobs checked against their digests: what follows a wrong blob never comes.
 * @throws ImgfsError `integrity`, `interrupted`, and what the blobs throw.
 */
export async function* verifiedTar(plan: TarPlan, options: WriteTarOptions = {}): AsyncGenerator<Uint8Array> {
  for (const segment of plan.segments) {
    if (options.signal?.aborted === true) throw new ImgfsError('interrupted', 'write archive: given up');
    if (segment.content === undefined || segment.content instanceof Uint8Array) {
      yield* plan.read(segment, options);
    } else {
      options.onBlob?.(segment.content.digest, segment.content.size, 'start');
      yield* verifiedBlob(plan, segment, segment.content, options);
      options.onBlob?.(segment.content.digest, segment.content.size, 'end');
    }
  }
}

async function* verifiedBlob(
  plan: TarPlan,
  segment: PlanSegment,
  { digest }: MemberBlob,
  options: WriteTarOptions,
): AsyncGenerator<Uint8Array> {
  const digester = createDigester(digestAlgorithm(digest));
  let at = segment.start;
  for (let attempt = 1; at < segment.end;) {
    try {
      for await (const chunk of plan.read({ start: at, end: segment.end }, options)) {
        for (let from = 0; from < chunk.length; from += sliceBytes) {
          const slice = chunk.subarray(from, from + sliceBytes);
          digester.update(slice);
          at += slice.length;
          options.onBytes?.(digest, slice.length);
          yield slice;
        }
      }
    } catch (error) {
      if (attempt >= maxAttempts || options.signal?.aborted === true || !isWorthAnother(error)) throw error;
      attempt += 1;
    }
  }
  const found = digester.digest();
  if (found === digest) return;
  throw new ImgfsError('integrity', `write archive: the source gave ${found} for ${digest}`, {
    digest,
    hint: 'the source is damaged, or a proxy before it changes bytes',
  });
}

function isWorthAnother(error: unknown): boolean {
  return isImgfsError(error) && ['unavailable', 'timeout', 'protocol', 'rate-limited'].includes(error.code);
}

/**
 * Write a plan to `path`. A reader of the path sees the old file or the new one, whole.
 * @throws as {@link verifiedTar}, and `cache-full`, `denied`, `read-only-store` for the disk.
 */
export async function writeTarFile(
  path: string,
  plan: TarPlan,
  options: WriteTarOptions = {},
): Promise<void> {
  const temporary = join(dirname(path), `.imgfs-${randomUUID()}`);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await writeAll(handle, verifiedTar(plan, options));
      await handle.chmod(0o666 & ~process.umask());
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw fileError(error, 'write archive', path);
  }
}

/** Write a plan to what is no regular file: a pipe, a terminal's redirection. @throws as {@link writeTarFile}. */
export async function writeTarStream(
  path: string,
  plan: TarPlan,
  options: WriteTarOptions = {},
): Promise<void> {
  try {
    const handle = await open(path, 'w');
    try {
      await writeAll(handle, verifiedTar(plan, options));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw fileError(error, 'write archive', path);
  }
}

async function writeAll(handle: FileHandle, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) {
    for (let written = 0; written < chunk.length;) {
      written += (await handle.write(chunk, written)).bytesWritten;
    }
  }
}
