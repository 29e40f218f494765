/**
 * Reads a tar archive as its bytes arrive: the reference implementation, byte for byte what the native parser does.
 *
 * Understood: V7, ustar, star, GNU (long names, base-256, old sparse), PAX (path, linkpath, size, uid, gid, mtime,
 * SCHILY.xattr.*, GNU.sparse 0.0, 0.1 and 1.0). Global PAX headers are skipped, as container runtimes do. What is
 * accepted follows Go's archive/tar: an archive may end without its two zero blocks, and its last file may lack
 * padding.
 */
import { nameFromBytes } from '../../oci/name.js';
import { draftEntry, finishEntry, type Draft, type Preceding } from './entry-builder.js';
import { blockSize, isZeroBlock, parseHeaderBlock, type HeaderBlock } from '../../store/tar/header-block.js';
import { parseNumber, safeCount } from '../../store/tar/number-field.js';
import { parsePax } from '../../store/tar/pax.js';
import { maxSparsePieces, readOldPieces, SparseMapReader } from './sparse.js';
import { tarError } from './tar-error.js';
import type { SparsePiece, TarEntry } from './tar-entry.js';

/** Longest extended header or long name, as in Go's reader: 1 MiB. Real ones hold a path and some xattrs. */
export const maxSpecialBytes = 1 << 20;

const flag = { pax: 0x78, global: 0x67, longName: 0x4c, longLink: 0x4b } as const;

type Phase =
  | { readonly name: 'header' }
  | { readonly name: 'payload'; readonly typeFlag: number; readonly bytes: Uint8Array; filled: number }
  | { readonly name: 'oldMap'; readonly draft: Draft; readonly size: number; readonly pieces: SparsePiece[] }
  | { readonly name: 'map'; readonly draft: Draft; readonly reader: SparseMapReader; left: number }
  | { readonly name: 'skip'; data: number; padding: number }
  | { readonly name: 'zero' }
  | { readonly name: 'ended' };

const paddingOf = (size: number): number => (blockSize - (size % blockSize)) % blockSize;

export class TarReader {
  /** Bytes taken so far: the offset of the next byte in the archive. */
  offset = 0;
  private readonly onEntry: (entry: TarEntry) => void;
  private readonly block = new Uint8Array(blockSize);
  private blockFilled = 0;
  private phase: Phase = { name: 'header' };
  private preceding: Preceding | undefined;

  /** `onEntry` is called in archive order, when the headers of an entry are complete and before its data. */
  constructor(onEntry: (entry: TarEntry) => void) {
    this.onEntry = onEntry;
  }

  /** True once the end-of-archive mark was seen; what follows it is ignored. */
  get ended(): boolean {
    return this.phase.name === 'ended';
  }

  /** Take the next bytes, in pieces of any length. @throws ImgfsError `invalid-content`. */
  feed(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const taken = this.step(chunk, at);
      at += taken;
      this.offset += taken;
      if (this.blockFilled === blockSize) {
        this.blockFilled = 0;
        this.takeBlock();
      }
    }
  }

  /** Say that the archive is over. @throws ImgfsError `invalid-content` when it breaks off inside an entry. */
  end(): void {
    const { phase } = this;
    if (this.blockFilled > 0 || phase.name === 'payload' || phase.name === 'oldMap' || phase.name === 'map') {
      throw tarError('archive breaks off inside a header', this.offset);
    }
    if (phase.name === 'skip' && phase.data > 0) {
      throw tarError('archive breaks off inside the data of a file', this.offset);
    }
  }

  /** Consume bytes of `chunk` from `at`: data is skipped, everything else is gathered into blocks. */
  private step(chunk: Uint8Array, at: number): number {
    const available = chunk.length - at;
    const { phase } = this;
    if (phase.name === 'ended') return available;
    if (phase.name === 'skip') return this.skip(phase, available);
    const take = Math.min(available, blockSize - this.blockFilled);
    this.block.set(chunk.subarray(at, at + take), this.blockFilled);
    this.blockFilled += take;
    return take;
  }

  private skip(phase: { data: number; padding: number }, available: number): number {
    const data = Math.min(available, phase.data);
    phase.data -= data;
    const padding = Math.min(available - data, phase.padding);
    phase.padding -= padding;
    if (phase.data === 0 && phase.padding === 0) this.phase = { name: 'header' };
    return data + padding;
  }

  private takeBlock(): void {
    const { phase } = this;
    switch (phase.name) {
      case 'header':
        if (isZeroBlock(this.block)) this.phase = { name: 'zero' };
        else this.takeHeader();
        return;
      case 'zero':
        if (!isZeroBlock(this.block))
          throw tarError('one zero block, then more headers', this.offset - blockSize);
        this.phase = { name: 'ended' };
        return;
      case 'payload':
        this.takePayload(phase);
        return;
      case 'oldMap':
        this.takeOldMap(phase);
        return;
      case 'map':
        this.takeMap(phase);
        return;
      case 'skip':
      case 'ended':
        return;
    }
  }

  private takeHeader(): void {
    const start = this.offset - blockSize;
    const header = parseHeaderBlock(this.block);
    if (typeof header === 'string') throw tarError(header, start);
    const { typeFlag } = header;
    if (typeFlag === flag.pax || typeFlag === flag.longName || typeFlag === flag.longLink) {
      this.startPayload(header, start);
    } else if (typeFlag === flag.global) {
      const size = safeCount(header.size);
      if (size === undefined) throw tarError('size is negative or too large', start);
      this.preceding = undefined;
      this.startSkip(size);
    } else {
      this.startEntry(header, start);
    }
  }

  private startPayload(header: HeaderBlock, start: number): void {
    const size = safeCount(header.size);
    if (size === undefined || size > maxSpecialBytes) {
      throw tarError(`extended header is longer than ${maxSpecialBytes} bytes`, start);
    }
    this.preceding ??= { headerOffset: start, pax: undefined, longName: undefined, longLink: undefined };
    const phase = {
      name: 'payload',
      typeFlag: header.typeFlag,
      bytes: new Uint8Array(size),
      filled: 0,
    } as const;
    this.phase = phase;
    if (size === 0) this.finishPayload(phase);
  }

  private takePayload(phase: Phase & { name: 'payload' }): void {
    const take = Math.min(blockSize, phase.bytes.length - phase.filled);
    phase.bytes.set(this.block.subarray(0, take), phase.filled);
    phase.filled += take;
    if (phase.filled === phase.bytes.length) this.finishPayload(phase);
  }

  private finishPayload(phase: { readonly typeFlag: number; readonly bytes: Uint8Array }): void {
    const { bytes } = phase;
    const preceding = this.preceding;
    if (preceding === undefined) return;
    if (phase.typeFlag === flag.pax) {
      preceding.pax = parsePax(bytes);
      if (preceding.pax === undefined) throw tarError('extended header is malformed', this.offset);
    } else {
      const end = bytes.indexOf(0);
      const name = nameFromBytes(end < 0 ? bytes : bytes.subarray(0, end));
      if (phase.typeFlag === flag.longName) preceding.longName = name;
      else preceding.longLink = name;
    }
    this.phase = { name: 'header' };
  }

  private startEntry(header: HeaderBlock, start: number): void {
    const preceding = this.preceding ?? {
      headerOffset: start,
      pax: undefined,
      longName: undefined,
      longLink: undefined,
    };
    this.preceding = undefined;
    const draft = draftEntry(header, preceding);
    if (typeof draft === 'string') throw tarError(draft, start);
    if (draft.pendingMap === 'old') this.startOldMap(draft, start);
    else if (draft.pendingMap === '1.0') {
      this.phase = { name: 'map', draft, reader: new SparseMapReader(), left: draft.storedSize };
      if (draft.storedSize < blockSize) throw tarError('sparse map is malformed', start);
    } else this.emit(draft, draft.storedSize, draft.sparse);
  }

  private startOldMap(draft: Draft, start: number): void {
    const pieces = readOldPieces(this.block, 386, 4);
    const size = safeCount(parseNumber(this.block.subarray(483, 495)));
    if (pieces === undefined || size === undefined) throw tarError('sparse map is malformed', start);
    if (this.block[482] !== 0) this.phase = { name: 'oldMap', draft, size, pieces };
    else this.emit(draft, draft.storedSize, pieces, size);
  }

  private takeOldMap(phase: Phase & { name: 'oldMap' }): void {
    const more = readOldPieces(this.block, 0, 21);
    if (more === undefined || phase.pieces.length + more.length > maxSparsePieces) {
      throw tarError('sparse map is malformed', this.offset);
    }
    // An extension block that adds nothing could be followed by any number of its like.
    if (more.length === 0 && this.block[504] !== 0) throw tarError('sparse map is malformed', this.offset);
    phase.pieces.push(...more);
    if (this.block[504] === 0) this.emit(phase.draft, phase.draft.storedSize, phase.pieces, phase.size);
  }

  private takeMap(phase: Phase & { name: 'map' }): void {
    phase.left -= blockSize;
    const state = phase.reader.push(this.block);
    if (state === 'malformed' || (state === 'more' && phase.left < blockSize)) {
      throw tarError('sparse map is malformed', this.offset);
    }
    if (state === 'done') this.emit(phase.draft, phase.left, phase.reader.pieces);
  }

  /** The headers of an entry are complete: its data begins here. */
  private emit(
    draft: Draft,
    storedSize: number,
    sparse: readonly SparsePiece[] | undefined,
    size?: number,
  ): void {
    const entry = finishEntry(draft, this.offset, storedSize, sparse, size);
    if (typeof entry === 'string') throw tarError(entry, this.offset);
    if (!Number.isSafeInteger(this.offset + storedSize + blockSize)) {
      throw tarError('size is negative or too large', this.offset);
    }
    this.startSkip(storedSize);
    this.onEntry(entry);
  }

  private startSkip(size: number): void {
    this.phase = size === 0 ? { name: 'header' } : { name: 'skip', data: size, padding: paddingOf(size) };
  }
}
