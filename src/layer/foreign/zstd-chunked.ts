/**
 * zstd:chunked: a zstd layer whose frames begin where chunks of files do, with a table of contents in a frame that
 * decoders skip. Annotations of the layer in the manifest tell where that is, and its sha256 as it is stored.
 *
 * containers/storage pkg/chunked/internal/minimal/compression.go. The footer of the blob says the same and is not
 * looked at: nothing binds it to the manifest.
 */
import type { CallOptions } from '../../store/store.js';
import type { DecodeLimits } from '../pass/limits.js';
import { foreignError } from './foreign-error.js';
import type { ForeignIndex } from './foreign-index.js';
import type { ReadRange } from './read-range.js';
import { sha256Of, unzstdPieces } from './toc-bytes.js';
import { tocDigest } from './toc-entry.js';
import { TocTable } from './toc-table.js';

/** `<offset>:<length>:<decoded length>:<type>`. */
const positionSuffix = 'zstd-chunked.manifest-position';
const checksumSuffix = 'zstd-chunked.manifest-checksum';
/** Writers before 2023 (skopeo 1.9, podman 4.3) have the shorter one. */
const prefixes = ['io.github.containers.', 'io.containers.'];

/** What the annotations of a layer say about its table; undefined when they do not say both. */
export function zstdChunkedAnnotations(
  annotations: Readonly<Record<string, string>>,
): { readonly position: string; readonly checksum: string } | undefined {
  for (const prefix of prefixes) {
    const position = annotations[prefix + positionSuffix];
    const checksum = annotations[prefix + checksumSuffix];
    if (position !== undefined && checksum !== undefined) return { position, checksum };
  }
  return undefined;
}

/** The only type of table there is. */
const typeCrfs = 1;
/** In front of each frame that is skipped: magic and length. */
const skippableHeaderBytes = 8;
const maxPackedBytes = 128 << 20;

export interface ZstdChunkedParts {
  readonly blobBytes: number;
  readonly read: ReadRange;
  readonly limits: DecodeLimits;
  readonly position: string;
  readonly checksum: string;
}

interface Position {
  readonly offset: number;
  readonly length: number;
  readonly decoded: number;
}

function parsePosition(text: string, blobBytes: number): Position {
  if (!/^\d{1,16}(:\d{1,16}){3}$/.test(text)) throw foreignError('its position in the manifest is malformed');
  const [offset = 0, length = 0, decoded = 0, type] = text.split(':').map(Number);
  if (type !== typeCrfs) throw foreignError('its type is not known');
  const isInside = offset > skippableHeaderBytes && length > 0 && offset + length <= blobBytes;
  if (!isInside) throw foreignError('its position in the manifest is outside the layer');
  if (length > maxPackedBytes) throw foreignError(`it is longer than ${maxPackedBytes} bytes`);
  return { offset, length, decoded };
}

/**
 * @throws ImgfsError `invalid-content` when the table does not match the checksum or cannot be true; `too-large`;
 *   `unsupported` without a zstd decoder; what reading throws.
 */
export async function loadZstdChunked(parts: ZstdChunkedParts, options?: CallOptions): Promise<ForeignIndex> {
  const { blobBytes, limits, read } = parts;
  const { offset, length, decoded } = parsePosition(parts.position, blobBytes);
  const wanted = tocDigest(parts.checksum, 'the checksum in the manifest');
  const packed = await read({ start: offset, end: offset + length }, options);
  if (wanted === undefined || !(await sha256Of(packed)).equals(wanted)) {
    throw foreignError('its digest is not that in the manifest');
  }
  const toc = new TocTable({ limits, blobBytes, payloadEnd: offset - skippableHeaderBytes });
  await unzstdPieces(packed, decoded, (piece) => toc.push(piece));
  await toc.finish();
  return { origin: 'zstd-chunked', format: 'zstd', table: toc.table, spans: toc.spans, windows: [] };
}
