/**
 * SOCI's zTOC: the entries of a layer, and places in its gzip stream where decoding can start.
 *
 * soci-snapshotter's ztoc/fbs/ztoc.fbs (slots below are in its order), ztoc/ztoc_marshaler.go, ztoc/toc_builder.go.
 */
import { FlatTable } from './flat-buffer.js';
import { foreignError } from './foreign-error.js';

/** Slots of the tables, in the order of the schema. */
export const ztocSlots = {
  ztoc: { version: 0, buildTool: 1, compressedSize: 2, uncompressedSize: 3, toc: 4, compression: 5 },
  toc: { metadata: 0 },
  compression: { algorithm: 0, maxSpanId: 1, spanDigests: 2, checkpoints: 3 },
  file: {
    name: 0,
    type: 1,
    offset: 2,
    size: 3,
    linkName: 4,
    mode: 5,
    uid: 6,
    gid: 7,
    userName: 8,
    groupName: 9,
    modTime: 10,
    devMajor: 11,
    devMinor: 12,
    pax: 13,
  },
  pax: { key: 0, value: 1 },
} as const;

/** The only version that was ever written. */
export const ztocVersion = '0.9';
export const compressionAlgorithms = { gzip: 1, uncompressed: 2 } as const;

export interface ZtocFile {
  readonly name: Uint8Array;
  readonly type: string;
  /** Where its data begins in the decoded archive. */
  readonly offset: number;
  readonly size: number;
  readonly linkName: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modTime: string;
  readonly devMajor: number;
  readonly devMinor: number;
  /** PAX records; the schema calls them xattrs. */
  readonly pax: readonly (readonly [key: string, value: Uint8Array])[];
}

export interface Ztoc {
  readonly compressedSize: number;
  /** Up to where Go's tar reader read: what follows the end of the archive is not counted. */
  readonly uncompressedSize: number;
  readonly isGzip: boolean;
  readonly maxSpanId: number;
  /** sha256 of the blob's bytes of each span. */
  readonly spanDigests: readonly Buffer[];
  readonly checkpoints: Uint8Array;
  readonly fileCount: number;
  file(index: number): ZtocFile;
}

const text = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

function digestOf(bytes: Uint8Array): Buffer {
  const match = /^sha256:([0-9a-f]{64})$/.exec(text(bytes));
  if (match === null) throw foreignError('a span has no sha256 digest');
  return Buffer.from(match[1] ?? '', 'hex');
}

/** PAX records of one entry: real ones have a dozen. */
const maxPaxRecords = 1000;

function readFile(table: FlatTable): ZtocFile {
  const { file: slots, pax } = ztocSlots;
  if (table.count(slots.pax) > maxPaxRecords)
    throw foreignError(`an entry has more than ${maxPaxRecords} records`);
  return {
    name: table.bytes(slots.name),
    type: text(table.bytes(slots.type)),
    offset: table.int64(slots.offset),
    size: table.int64(slots.size),
    linkName: table.bytes(slots.linkName),
    mode: table.int64(slots.mode),
    uid: table.uint32(slots.uid),
    gid: table.uint32(slots.gid),
    modTime: text(table.bytes(slots.modTime)),
    devMajor: table.int64(slots.devMajor),
    devMinor: table.int64(slots.devMinor),
    pax: Array.from({ length: table.count(slots.pax) }, (_, index) => {
      const record = table.tableIn(slots.pax, index);
      return [text(record.bytes(pax.key)), record.bytes(pax.value)] as const;
    }),
  };
}

/** @throws ImgfsError `invalid-content`: for what is wrong as a whole at once, for a file when it is asked for. */
export function parseZtoc(bytes: Uint8Array): Ztoc {
  const root = FlatTable.root(bytes);
  const { ztoc, toc: tocSlots, compression: slots } = ztocSlots;
  if (text(root.bytes(ztoc.version)) !== ztocVersion) throw foreignError('its version is not known');
  const toc = root.table(ztoc.toc);
  const compression = root.table(ztoc.compression);
  if (toc === undefined || compression === undefined) throw foreignError('it has no entries or no spans');
  const algorithm = compression.int8(slots.algorithm, compressionAlgorithms.gzip);
  if (algorithm !== compressionAlgorithms.gzip && algorithm !== compressionAlgorithms.uncompressed) {
    throw foreignError('its compression is not known');
  }
  const digests = compression.count(slots.spanDigests);
  return {
    compressedSize: root.int64(ztoc.compressedSize),
    uncompressedSize: root.int64(ztoc.uncompressedSize),
    isGzip: algorithm === compressionAlgorithms.gzip,
    maxSpanId: compression.int32(slots.maxSpanId),
    spanDigests: Array.from({ length: digests }, (_, index) =>
      digestOf(compression.bytesIn(slots.spanDigests, index)),
    ),
    checkpoints: compression.bytes(slots.checkpoints),
    fileCount: toc.count(tocSlots.metadata),
    file: (index) => readFile(toc.tableIn(tocSlots.metadata, index)),
  };
}
