/** What an archive holds, whatever its format: images by name, and blobs by digest at offsets of the file. */
import { createDigester, type Digest, type DigestAlgorithm } from '../../oci/digest.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { ImageTable } from '../layout/image-table.js';
import type { CallOptions } from '../store.js';
import type { ArchiveFile } from './archive-file.js';
import type { MemberTable } from './member-table.js';
import type { SeenBytes } from './seen-bytes.js';
import type { TarMember } from './scan-tar.js';

/** Bytes of a blob: in the archive, or made by us. */
export type ArchiveBlob = { readonly offset: number; readonly size: number } | { readonly bytes: Uint8Array };

export interface ArchiveContents {
  readonly images: ImageTable;
  /** index.json as it is, where the archive is an image layout. */
  readonly index?: Uint8Array;
  /** Undefined when the archive has no such blob. */
  blob(digest: Digest): ArchiveBlob | undefined;
}

/** An archive that was scanned, for the loaders of the formats. */
export interface ScannedArchive {
  readonly file: ArchiveFile;
  readonly members: MemberTable;
  /** What was read along with the headers, as long as it is kept. */
  readonly seen?: SeenBytes;
}

export function blobSize(blob: ArchiveBlob): number {
  return 'bytes' in blob ? blob.bytes.length : blob.size;
}

/** A small member whole. @throws ImgfsError `too-large`, `stale`. */
export async function readMember(
  { file, seen }: ScannedArchive,
  { name, offset, size }: TarMember,
  maxBytes: number,
): Promise<Buffer> {
  if (size > maxBytes) {
    throw new ImgfsError(
      'too-large',
      `read ${file.path}: ${name} has ${size} bytes, the limit is ${maxBytes}`,
    );
  }
  const known = seen?.find(offset, size);
  // A copy: what was seen is forgotten, a config is kept.
  if (known !== undefined) return Buffer.from(known);
  const buffer = Buffer.alloc(size);
  await readExactly(file, buffer, offset, size);
  return buffer;
}

/** Digest of the stored bytes of a member: one pass over it. */
export async function digestMember(
  { file }: { readonly file: Pick<ArchiveFile, 'path' | 'handle' | 'ensure'> },
  { offset, size }: Pick<TarMember, 'offset' | 'size'>,
  algorithm: DigestAlgorithm,
  { signal }: CallOptions,
): Promise<Digest> {
  const digester = createDigester(algorithm);
  const buffer = Buffer.allocUnsafeSlow(Math.min(1024 * 1024, size));
  for (let at = 0; at < size; at += buffer.length) {
    if (signal?.aborted === true) throw new ImgfsError('interrupted', `read ${file.path}: given up`);
    const length = Math.min(buffer.length, size - at);
    await readExactly(file, buffer, offset + at, length);
    digester.update(buffer.subarray(0, length));
  }
  return digester.digest();
}

/** Fill the first `length` bytes of the buffer. @throws ImgfsError `stale` when the file ends before. */
export async function readExactly(
  file: Pick<ArchiveFile, 'path' | 'handle' | 'ensure'>,
  buffer: Buffer,
  position: number,
  length: number,
): Promise<void> {
  await file.ensure?.(position, position + length);
  for (let filled = 0; filled < length;) {
    const { bytesRead } = await file.handle.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) throw new ImgfsError('stale', `read ${file.path}: it was cut while it was read`);
    filled += bytesRead;
  }
}
