/**
 * Turns a table of contents into entries and spans.
 *
 * Such a table does not say where tar headers are, so the spans decode not to the archive but to the files of the layer
 * one behind the other: each chunk is a span, known by the sha256 of what it decodes to.
 */
import type { EntryTable } from '../index/entry-table.js';
import { encodeSpan, type SpanTable } from '../index/span-table.js';
import { checkLimits, type DecodeLimits } from '../pass/limits.js';
import { foreignError } from './foreign-error.js';
import type { TocEntry } from './toc-entry.js';

/**
 * Decoded bytes of a chunk and of what lies before it in its member: all of them are in memory at once. Writers make
 * chunks of 4 MiB (eStargz) and below 1 MiB (zstd:chunked).
 */
const maxChunkBytes = 64 << 20;

export interface ConverterParts {
  readonly table: EntryTable;
  readonly spans: SpanTable;
  readonly limits: DecodeLimits;
  readonly blobBytes: number;
  /** Chunks end here at the latest: where the table of contents begins. */
  readonly payloadEnd: number;
}

/**
 * Bytes that are enough to decode `length` bytes from: what cannot be compressed grows by 5 bytes in 64 KiB (RFC 1951)
 * or 3 in 128 KiB (RFC 8878). The rest is for headers, and for writers that flush often. Between two chunks may lie
 * headers of thousands of entries: they are not fetched with the one before them.
 */
const packedBound = (length: number): number => length + Math.ceil(length / 100) + 4096;

/** A chunk whose end is where the next one begins. */
interface PendingChunk {
  readonly in: number;
  /** Where it ends at the latest; 0: not said. */
  readonly inEnd: number;
  readonly length: number;
  readonly skip: number;
  readonly sha256: Uint8Array;
}

/** The file whose chunks are being collected. */
interface OpenFile {
  readonly entry: TocEntry;
  at: number;
}

export class TocConverter {
  private readonly parts: ConverterParts;
  private pending: PendingChunk[] = [];
  private file: OpenFile | undefined;
  /** Decoded bytes up to here. */
  private out = 0;
  private spanOut = 0;
  private lastOffset = 0;

  constructor(parts: ConverterParts) {
    this.parts = parts;
  }

  /** Take the next entry. @throws ImgfsError `invalid-content` when it cannot be so, `too-large`. */
  add(entry: TocEntry): void {
    if (entry.kind !== 'chunk') {
      this.endFile();
      this.append(entry);
    }
    const { file } = this;
    if (file === undefined) {
      if (entry.kind === 'chunk') throw foreignError('a chunk without a file');
      return;
    }
    if (entry.kind === 'chunk' && entry.name !== '' && entry.name !== file.entry.name) {
      throw foreignError('a chunk of another file than the one before');
    }
    this.addChunk(file, entry);
  }

  /** No more entries will come. @throws ImgfsError `invalid-content`. */
  finish(): void {
    this.endFile();
    this.flush(this.parts.payloadEnd);
  }

  private append(entry: TocEntry): void {
    const { kind, name, linkName, mode, uid, gid, size, mtimeNs, devMajor, devMinor, xattrs } = entry;
    if (kind === 'chunk') return;
    this.parts.table.append({
      kind,
      typeFlag: 0x30,
      path: name,
      linkPath: linkName,
      mode,
      uid,
      gid,
      size,
      mtimeNs,
      devMajor,
      devMinor,
      xattrs,
      headerOffset: 0,
      dataOffset: this.out,
      storedSize: size,
      sparse: undefined,
    });
    if (kind === 'file' && size > 0) this.file = { entry, at: 0 };
  }

  private endFile(): void {
    if (this.file !== undefined) throw foreignError('the chunks of a file do not make up its size');
  }

  private addChunk(file: OpenFile, chunk: TocEntry): void {
    const { size } = file.entry;
    const length = chunk.chunkSize === 0 ? size - chunk.chunkOffset : chunk.chunkSize;
    if (chunk.chunkOffset !== file.at || length <= 0 || file.at + length > size) {
      throw foreignError('the chunks of a file do not follow each other');
    }
    checkLimits(this.parts.limits, this.parts.blobBytes, this.out + length);
    // The digest of a file is that of its only chunk.
    const isWhole = length === size;
    const sha256 = chunk.chunkDigest ?? (isWhole ? chunk.digest : undefined);
    this.addData(file, chunk, length, sha256);
    file.at += length;
    this.out += length;
    if (file.at === size) this.file = undefined;
  }

  private addData(file: OpenFile, chunk: TocEntry, length: number, sha256: Uint8Array | undefined): void {
    const { offset, innerOffset } = chunk;
    if (sha256 === undefined) throw foreignError('a chunk without a digest');
    if (length + innerOffset > maxChunkBytes)
      throw foreignError(`a chunk needs more than ${maxChunkBytes} bytes`);
    if (offset <= 0 || offset < this.lastOffset || offset >= this.parts.payloadEnd) {
      throw foreignError('a chunk lies outside the data or before the one that it follows');
    }
    if (offset > this.lastOffset) this.flush(offset);
    this.lastOffset = offset;
    const { endOffset } = file.entry;
    if (endOffset !== 0 && (endOffset <= offset || endOffset > this.parts.payloadEnd)) {
      throw foreignError('a file ends before it begins or outside the data');
    }
    this.pending.push({ in: offset, inEnd: endOffset, length, skip: innerOffset, sha256 });
  }

  /** Chunks that wait end where the next one begins. */
  private flush(next: number): void {
    for (const chunk of this.pending) {
      const { length, skip, sha256 } = chunk;
      const bound = chunk.inEnd === 0 ? next : Math.min(chunk.inEnd, next);
      const inEnd = Math.min(bound, chunk.in + packedBound(length + skip));
      this.parts.spans.append(
        encodeSpan({
          in: chunk.in,
          inEnd,
          out: this.spanOut,
          outEnd: this.spanOut + length,
          kind: 'fresh',
          bits: 0,
          check: 'output',
          crc: 0,
          skip,
          sha256,
          windowLength: 0,
          windowStored: 0,
        }),
      );
      this.spanOut += length;
    }
    this.pending = [];
  }
}
