/** Makes SOCI's zTOC of a layer from our own index of it and the layer's blob. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import type { BlobReader, BlobSource, ContentCache } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { CallOptions } from '../../store/store.js';
import { IndexFile } from '../index/index-file.js';
import type { Span } from '../index/span-table.js';
import { layerKey } from '../read/decoded-file.js';
import { gzipHeaderBytes, maxGzipHeaderBytes } from './gzip-header.js';
import { readHeaderNames, type HeaderNames } from './header-names.js';
import { writeZtoc } from './write-ztoc.js';
import { windowBytes, type Checkpoint } from './zinfo.js';

const inflate = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw);

/** SOCI's own default: a window of 32 KiB for each. */
export const defaultSpanBytes = 4 << 20;
const pieceBytes = 1 << 20;

export interface ExportParts {
  readonly source: BlobSource;
  readonly cache: ContentCache;
  /** Decoded bytes of a span, at least. */
  readonly spanBytes?: number;
  readonly buildTool: string;
}

async function readFully(
  blob: BlobReader,
  start: number,
  end: number,
  options?: CallOptions,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  for (let at = 0; at < bytes.length;) {
    const got = await blob.read(bytes, at, bytes.length - at, start + at, options);
    if (got === 0) throw new ImgfsError('integrity', `read layer: blob ends at byte ${start + at}`);
    at += got;
  }
  return bytes;
}

async function* pieces(
  blob: BlobReader,
  start: number,
  end: number,
  options?: CallOptions,
): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += pieceBytes) {
    yield await readFully(blob, at, Math.min(end, at + pieceBytes), options);
  }
}

async function digestRange(
  blob: BlobReader,
  start: number,
  end: number,
  options?: CallOptions,
): Promise<Buffer> {
  const hash = createHash('sha256');
  for await (const piece of pieces(blob, start, end, options)) hash.update(piece);
  return hash.digest();
}

/** Decoding starts behind the header of the member, with nothing before it. */
async function freshCheckpoint(
  blob: BlobReader,
  span: Span,
  options?: CallOptions,
): Promise<Checkpoint | undefined> {
  const head = await readFully(blob, span.in, Math.min(blob.size, span.in + maxGzipHeaderBytes), options);
  const length = gzipHeaderBytes(head);
  return length === undefined
    ? undefined
    : { in: span.in + length, out: span.out, bits: 0, window: new Uint8Array(windowBytes) };
}

async function checkpointAt(
  index: IndexFile,
  blob: BlobReader,
  span: Span,
  options?: CallOptions,
): Promise<Checkpoint | undefined> {
  if (span.kind === 'fresh') return freshCheckpoint(blob, span, options);
  const { windowLength } = span;
  const window =
    windowLength === 0
      ? new Uint8Array(0)
      : await inflate(await index.readWindow(span), { maxOutputLength: windowLength + 1 });
  return { in: span.in, out: span.out, bits: span.bits, window };
}

async function checkpointsOf(
  index: IndexFile,
  blob: BlobReader,
  spanBytes: number,
  options?: CallOptions,
): Promise<readonly Checkpoint[]> {
  const found: Checkpoint[] = [];
  let next = 0;
  for (let at = 0; at < index.spans.count; at += 1) {
    const span = index.spans.get(at);
    if (span.kind === 'inside' || span.out < next) continue;
    const checkpoint = await checkpointAt(index, blob, span, options);
    if (checkpoint === undefined) continue;
    found.push(checkpoint);
    next = span.out + spanBytes;
  }
  return found;
}

function refuse(reason: string, { descriptor }: BlobSource): ImgfsError {
  return new ImgfsError('unsupported', `make zTOC of ${descriptor.digest}: ${reason}`, {
    digest: descriptor.digest,
  });
}

/**
 * SOCI takes the header of an entry to begin where the data of the one before ends, and compares its name when the file
 * is opened (soci-snapshotter fs/reader/reader.go, `Verify`).
 */
async function namesOf(
  parts: ExportParts,
  blob: BlobReader,
  { table }: IndexFile,
  options?: CallOptions,
): Promise<HeaderNames['byDataOffset']> {
  const { byDataOffset, isGapless } = await readHeaderNames(pieces(blob, 0, blob.size, options));
  if (!isGapless || byDataOffset.size !== table.count)
    throw refuse('it has headers that are of no entry, or of one that no container sees', parts.source);
  return byDataOffset;
}

/**
 * The bytes of the zTOC. The blob is read as a whole: SOCI wants a digest of each of its spans.
 * @throws ImgfsError `unsupported` for layers that SOCI cannot tell about: not gzip, with sparse files, global headers or
 *   entries of unknown type; `not-found` when there is no index of our own; what reading throws.
 */
export async function exportZtoc(parts: ExportParts, options?: CallOptions): Promise<Uint8Array> {
  const { source, cache, spanBytes = defaultSpanBytes, buildTool } = parts;
  const { digest } = source.descriptor;
  const path = join(cache.directory, 'index', `${layerKey(digest)}.lidx`);
  const index = await IndexFile.open(path, digest);
  if (index === undefined) throw new ImgfsError('not-found', `make zTOC: ${digest} has no index`, { digest });
  const blob = await cache.open(source, { ...options, verify: 'default' });
  try {
    const { facts, table } = index;
    if (facts.format !== 'gzip') throw refuse(`it is ${facts.format}, and SOCI knows gzip`, source);
    for (let row = 0; row < table.count; row += 1)
      if (table.sparse(row) !== undefined) throw refuse('it has files with holes', source);
    const names = await namesOf(parts, blob, index, options);
    const checkpoints = await checkpointsOf(index, blob, spanBytes, options);
    const spanDigests: Buffer[] = [];
    for (const [at, start] of checkpoints.entries()) {
      const next = checkpoints[at + 1];
      const end = next === undefined ? blob.size : next.in + (next.bits === 0 ? 0 : 1);
      spanDigests.push(await digestRange(blob, start.in, end, options));
    }
    return await writeZtoc({
      buildTool,
      compressedSize: facts.blobSize,
      uncompressedSize: facts.decodedSize,
      spanBytes,
      table,
      names,
      checkpoints,
      spanDigests,
    });
  } finally {
    await blob.close();
    await index.close();
  }
}
