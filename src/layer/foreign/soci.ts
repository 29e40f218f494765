/** A layer by its zTOC: entries with their place in the archive, and spans known by the sha256 of the blob's bytes. */
import { promisify } from 'node:util';
import { deflateRaw } from 'node:zlib';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { nameFromBytes, type Name } from '../../oci/name.js';
import type { CallOptions } from '../../store/store.js';
import { EntryTable } from '../index/entry-table.js';
import { encodeSpan, SpanTable } from '../index/span-table.js';
import { checkLimits, type DecodeLimits } from '../pass/limits.js';
import { Turns } from '../turns.js';
import { clampNs } from '../../store/tar/pax.js';
import type { EntryKind } from '../tar/tar-entry.js';
import { FlatTable } from './flat-buffer.js';
import { foreignError } from './foreign-error.js';
import type { ForeignIndex } from './foreign-index.js';
import { parseTime } from './rfc3339.js';
import { parseZinfo, windowBytes, type Checkpoint } from './zinfo.js';
import { parseZtoc, type Ztoc, type ZtocFile } from './ztoc.js';

const deflate = promisify<Uint8Array, { level: number }, Buffer>(deflateRaw);

export interface SociParts {
  readonly ztoc: Uint8Array;
  readonly blobBytes: number;
  readonly limits: DecodeLimits;
}

/** Entries taken over in one turn: 2 ms. */
const entriesPerTurn = 500;
/** A span is in memory as a whole, twice. SOCI's default is 4 MiB. */
const maxSpanBytes = 256 << 20;

const kinds: Readonly<Record<string, Exclude<EntryKind, 'other'>>> = {
  reg: 'file',
  dir: 'directory',
  symlink: 'symlink',
  hardlink: 'hardlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
};

const xattrPrefix = 'SCHILY.xattr.';

function xattrsOf({ pax }: ZtocFile): ReadonlyMap<Name, Uint8Array> {
  const found = pax.filter(([key]) => key.startsWith(xattrPrefix) && key.length > xattrPrefix.length);
  return new Map(
    found.map(([key, value]) => [key.slice(xattrPrefix.length) as Name, Uint8Array.from(value)]),
  );
}

const as32 = (value: number): number => Number(BigInt.asUintN(32, BigInt(value)));

function appendFile(table: EntryTable, file: ZtocFile, archiveBytes: number): void {
  const kind = Object.hasOwn(kinds, file.type) ? kinds[file.type] : undefined;
  if (kind === undefined) throw foreignError('the type of an entry is not known');
  // Go tells the length of a file with its holes, and not where they are.
  if (file.pax.some(([key]) => key.startsWith('GNU.sparse.'))) throw foreignError('it has files with holes');
  const size = kind === 'file' ? file.size : 0;
  if (size < 0 || file.offset < 0 || file.offset + size > archiveBytes)
    throw foreignError('a file lies outside the layer');
  const time = file.modTime === '' ? 0n : parseTime(file.modTime);
  if (time === undefined) throw foreignError('a time is none');
  const isLink = kind === 'symlink' || kind === 'hardlink';
  const isDevice = kind === 'char' || kind === 'block';
  table.append({
    kind,
    typeFlag: 0x30,
    path: nameFromBytes(file.name),
    linkPath: isLink ? nameFromBytes(file.linkName) : ('' as Name),
    mode: as32(file.mode) & 0o7777,
    uid: file.uid,
    gid: file.gid,
    size,
    mtimeNs: clampNs(time),
    devMajor: isDevice ? as32(file.devMajor) : 0,
    devMinor: isDevice ? as32(file.devMinor) : 0,
    xattrs: xattrsOf(file),
    headerOffset: 0,
    dataOffset: file.offset,
    storedSize: size,
    sparse: undefined,
  });
}

async function readFiles(ztoc: Ztoc): Promise<EntryTable> {
  const table = new EntryTable();
  let before = 0;
  for (let index = 0; index < ztoc.fileCount; index += 1) {
    if (index % entriesPerTurn === 0 && index > 0) await nextTurn();
    const file = ztoc.file(index);
    // The order of the archive: a later entry of a name replaces an earlier one.
    if (file.offset < before) throw foreignError('its entries are not in the order of the layer');
    before = file.offset + (file.type === 'reg' ? file.size : 0);
    appendFile(table, file, ztoc.uncompressedSize);
  }
  await table.seal(new Turns());
  return table;
}

interface Spans {
  readonly spans: SpanTable;
  readonly windows: readonly Uint8Array[];
}

/** A plain archive has spans of one length: TarZinfo {version, span_size, size} of ztoc/compression/fbs/zinfo.fbs. */
function plainCheckpoints(ztoc: Ztoc): readonly Checkpoint[] {
  const zinfo = FlatTable.root(ztoc.checkpoints);
  const [spanBytes, size] = [zinfo.int64(1), zinfo.int64(2)];
  if (
    size !== ztoc.compressedSize ||
    spanBytes <= 0 ||
    Math.ceil(size / spanBytes) !== ztoc.spanDigests.length
  ) {
    throw foreignError('its spans do not make up the layer');
  }
  const window = new Uint8Array(0);
  return ztoc.spanDigests.map((_, index) => ({
    in: index * spanBytes,
    out: index * spanBytes,
    bits: 0,
    window,
  }));
}

async function readSpans(ztoc: Ztoc, blobBytes: number): Promise<Spans> {
  const checkpoints = ztoc.isGzip ? parseZinfo(ztoc.checkpoints) : plainCheckpoints(ztoc);
  const { spanDigests } = ztoc;
  if (checkpoints.length !== spanDigests.length || ztoc.maxSpanId !== checkpoints.length - 1) {
    throw foreignError('it has not one digest for each span');
  }
  const spans = new SpanTable();
  const windows: Uint8Array[] = [];
  for (const [index, start] of checkpoints.entries()) {
    const next = checkpoints[index + 1];
    // The first whole byte of the next span: the byte before it may be shared.
    const inEnd = next === undefined ? blobBytes : next.in + (next.bits === 0 ? 0 : 1);
    const outEnd = next?.out ?? (ztoc.isGzip ? ztoc.uncompressedSize : blobBytes);
    const isFirst = index === 0;
    if (inEnd <= start.in || inEnd > blobBytes || outEnd < start.out || (isFirst && start.out !== 0)) {
      throw foreignError('its spans do not follow each other');
    }
    if (outEnd - start.out > maxSpanBytes || inEnd - start.in > maxSpanBytes) {
      throw foreignError(`a span is longer than ${maxSpanBytes} bytes`);
    }
    const hasWindow = ztoc.isGzip && !isFirst;
    const window = hasWindow ? await deflate(start.window, { level: 6 }) : new Uint8Array(0);
    windows.push(window);
    spans.append(
      encodeSpan({
        in: start.in,
        inEnd,
        out: start.out,
        outEnd,
        kind: ztoc.isGzip ? 'block' : 'fresh',
        bits: start.bits,
        check: 'input',
        crc: 0,
        sha256: spanDigests[index] ?? new Uint8Array(32),
        windowLength: hasWindow ? windowBytes : 0,
        windowStored: window.length,
      }),
    );
  }
  return { spans, windows };
}

/** @throws ImgfsError `invalid-content` when it cannot be true or is not understood, `too-large`, `interrupted`. */
export async function loadSoci(parts: SociParts, options?: CallOptions): Promise<ForeignIndex> {
  const { blobBytes, limits } = parts;
  const ztoc = parseZtoc(parts.ztoc);
  if (ztoc.compressedSize !== blobBytes) throw foreignError('it is of a layer of another size');
  checkLimits(limits, blobBytes, ztoc.uncompressedSize);
  const { spans, windows } = await readSpans(ztoc, blobBytes);
  options?.signal?.throwIfAborted();
  const table = await readFiles(ztoc);
  return { origin: 'soci', format: ztoc.isGzip ? 'gzip' : 'plain', table, spans, windows };
}
