/**
 * eStargz: a gzip layer whose members begin where files do, with a table of contents in its last member, or in an image
 * beside it. The annotation of the layer in the manifest has the table's digest, and the table those of the chunks.
 */
import type { Name } from '../../oci/name.js';
import type { CallOptions } from '../../store/store.js';
import type { DecodeLimits } from '../pass/limits.js';
import { blockSize, parseHeaderBlock, type HeaderBlock } from '../../store/tar/header-block.js';
import { maxFooterBytes, parseEstargzFooter } from './estargz-footer.js';
import { foreignError } from './foreign-error.js';
import type { ForeignIndex } from './foreign-index.js';
import type { ReadRange } from './read-range.js';
import { gunzipPieces } from './toc-bytes.js';
import { tocDigest, type TocEntry } from './toc-entry.js';
import { TocTable } from './toc-table.js';

/** In the annotations of a layer: the sha256 of the table's JSON. */
export const tocDigestKey = 'containerd.io/snapshot/stargz/toc.digest';
const tocName = 'stargz.index.json';
/**
 * What is read of the end of a blob at first: 2.6 ms at 25 MB/s, a fraction of the round trip, and all of the table of
 * layers with up to 1,000 files.
 */
const tailBytes = 64 << 10;
/** A packed table: 26,000 entries take 1.3 MB. */
const maxPackedBytes = 128 << 20;

export interface EstargzParts {
  readonly blobBytes: number;
  readonly read: ReadRange;
  readonly limits: DecodeLimits;
  /** The value of the annotation. */
  readonly digest: string;
  /** The packed table of a layer that does not hold it itself; undefined when there is none. */
  readonly external?: (options?: CallOptions) => Promise<Uint8Array | undefined>;
}

/** Takes the archive that the table is packed in: one header, then the JSON. */
class TocArchive {
  header: HeaderBlock | undefined;
  private start = Buffer.alloc(0);
  private left = 0;
  private readonly toc: TocTable;

  constructor(toc: TocTable) {
    this.toc = toc;
  }

  push(piece: Uint8Array): void {
    let json = piece;
    if (this.header === undefined) {
      this.start = Buffer.concat([this.start, piece]);
      if (this.start.length < blockSize) return;
      this.header = tocHeader(this.start.subarray(0, blockSize));
      this.left = Number(this.header.size);
      json = this.start.subarray(blockSize);
    }
    const part = json.subarray(0, this.left);
    this.left -= part.length;
    if (part.length > 0) this.toc.push(part);
  }

  end(): HeaderBlock {
    if (this.header === undefined || this.left > 0) throw foreignError('its archive is cut off');
    return this.header;
  }
}

function tocHeader(block: Uint8Array): HeaderBlock {
  const header = parseHeaderBlock(block);
  if (typeof header === 'string') throw foreignError(`its archive is none: ${header}`);
  const isFile = header.typeFlag === 0x30 || header.typeFlag === 0;
  if (isFile && header.path === tocName && header.size >= 0n && header.size < 2n ** 40n) return header;
  throw foreignError('its archive holds something else');
}

/** The table as the file that it is in the layer. */
function tocFile(header: HeaderBlock, offset: number, size: number, sha256: Buffer): TocEntry {
  return {
    kind: 'file',
    name: tocName as Name,
    linkName: '' as Name,
    mode: Number(header.mode & 0o7777n),
    uid: Number(BigInt.asUintN(32, header.uid)),
    gid: Number(BigInt.asUintN(32, header.gid)),
    size,
    mtimeNs: header.mtime * 1_000_000_000n,
    devMajor: 0,
    devMinor: 0,
    xattrs: new Map(),
    offset,
    endOffset: 0,
    innerOffset: blockSize,
    chunkOffset: 0,
    chunkSize: 0,
    chunkDigest: sha256,
    digest: undefined,
  };
}

interface Packed {
  readonly bytes: Uint8Array;
  /** Where it lies in the blob; undefined when it does not. */
  readonly offset: number | undefined;
  /** Where the chunks end. */
  readonly payloadEnd: number;
  /** Where the table may end. */
  readonly tocEnd: number;
}

async function readPacked(parts: EstargzParts, options?: CallOptions): Promise<Packed> {
  const { blobBytes, read } = parts;
  const tailStart = Math.max(0, blobBytes - tailBytes);
  const tail = await read({ start: tailStart, end: blobBytes }, options);
  const footer = parseEstargzFooter(tail.subarray(-maxFooterBytes));
  if (footer === undefined) throw foreignError('the layer has no eStargz footer');
  const tocEnd = blobBytes - footer.footerBytes;
  if (footer.kind === 'external') {
    const bytes = await parts.external?.(options);
    if (bytes === undefined) throw foreignError('its table of contents is in an image that is not there');
    return { bytes, offset: undefined, payloadEnd: tocEnd, tocEnd };
  }
  const { tocOffset } = footer;
  if (tocOffset <= 0 || tocOffset >= tocEnd || tocEnd - tocOffset > maxPackedBytes) {
    throw foreignError('its footer points outside the layer');
  }
  const missing =
    tocOffset < tailStart ? await read({ start: tocOffset, end: tailStart }, options) : undefined;
  const have = tail.subarray(Math.max(0, tocOffset - tailStart), tail.length - footer.footerBytes);
  const bytes = missing === undefined ? have : Buffer.concat([missing, have]);
  return { bytes, offset: tocOffset, payloadEnd: tocOffset, tocEnd };
}

/**
 * @throws ImgfsError `invalid-content` when the layer is no eStargz, its table does not match the digest or cannot be
 *   true; `too-large`; what reading throws.
 */
export async function loadEstargz(parts: EstargzParts, options?: CallOptions): Promise<ForeignIndex> {
  const { blobBytes, limits } = parts;
  const wanted = tocDigest(parts.digest, 'the digest in the manifest');
  const packed = await readPacked(parts, options);
  // The table itself is a file of the layer and lies behind the others.
  const payloadEnd = packed.offset === undefined ? packed.payloadEnd : packed.tocEnd;
  const toc = new TocTable({ limits, blobBytes, payloadEnd });
  const archive = new TocArchive(toc);
  await gunzipPieces(packed.bytes, (piece) => archive.push(piece));
  const header = archive.end();
  const { offset } = packed;
  const sha256 = await toc.finish(
    offset === undefined ? undefined : (digest) => tocFile(header, offset, toc.jsonBytes, digest),
  );
  if (wanted === undefined || !sha256.equals(wanted))
    throw foreignError('its digest is not that in the manifest');
  return { origin: 'estargz', format: 'gzip', table: toc.table, spans: toc.spans, windows: [] };
}
