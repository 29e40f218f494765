/** Writes SOCI's zTOC from an index of our own. Sources as in `ztoc.ts` and `zinfo.ts`. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { nameToBytes } from '../../oci/name.js';
import type { EntryTable } from '../index/entry-table.js';
import { FlatBuilder, type FlatField } from './flat-builder.js';
import type { HeaderNames } from './header-names.js';
import { formatTime } from './rfc3339.js';
import { checkpointBytes, windowBytes, zinfoHeaderBytes, type Checkpoint } from './zinfo.js';
import { compressionAlgorithms, ztocSlots, ztocVersion } from './ztoc.js';

export interface ZtocContent {
  readonly buildTool: string;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  /** Decoded bytes of a span, about. */
  readonly spanBytes: number;
  readonly table: EntryTable;
  /** Of every row. */
  readonly names: HeaderNames['byDataOffset'];
  readonly checkpoints: readonly Checkpoint[];
  /** sha256 of the blob's bytes of each span. */
  readonly spanDigests: readonly Uint8Array[];
}

const entriesPerTurn = 500;

const types = {
  file: 'reg',
  directory: 'dir',
  symlink: 'symlink',
  hardlink: 'hardlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
  other: 'reg',
} as const;

function zinfoBytes(checkpoints: readonly Checkpoint[], spanBytes: number): Uint8Array {
  const bytes = Buffer.alloc(zinfoHeaderBytes + checkpoints.length * checkpointBytes);
  bytes.writeInt32LE(checkpoints.length, 0);
  bytes.writeBigInt64LE(BigInt(spanBytes), 4);
  for (const [index, { in: start, out, bits, window }] of checkpoints.entries()) {
    const at = zinfoHeaderBytes + index * checkpointBytes;
    bytes.writeBigInt64LE(BigInt(start + (bits === 0 ? 0 : 1)), at);
    bytes.writeBigInt64LE(BigInt(out), at + 8);
    bytes[at + 16] = bits;
    // A window that is shorter, near the beginning, ends where decoding starts.
    bytes.set(window, at + 17 + windowBytes - window.length);
  }
  return bytes;
}

function writeFile(builder: FlatBuilder, { table, names }: ZtocContent, row: number): number {
  const { file: slots, pax: paxSlots } = ztocSlots;
  const kind = table.kind(row);
  const { major, minor } = table.device(row);
  const { path, linkPath } = names.get(table.dataOffset(row)) ?? {
    path: table.path(row),
    linkPath: table.linkPath(row),
  };
  const offset = (slot: number, value: number): FlatField => ({ slot, kind: 'offset', value });
  const int64 = (slot: number, value: number): FlatField => ({ slot, kind: 'int64', value });
  const records = [...table.xattrs(row)]
    .map(([name, value]) => [`SCHILY.xattr.${name}`, value] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => {
      const keyAt = builder.string(Buffer.from(key, 'latin1'));
      return builder.table([offset(paxSlots.key, keyAt), offset(paxSlots.value, builder.string(value))]);
    });
  const name = builder.string(nameToBytes(path));
  const type = builder.string(types[kind]);
  const link = builder.string(nameToBytes(linkPath));
  const none = builder.string('');
  const time = builder.string(formatTime(table.mtimeNs(row)));
  const pax = builder.vector(records);
  return builder.table([
    offset(slots.name, name),
    offset(slots.type, type),
    int64(slots.offset, table.dataOffset(row)),
    int64(slots.size, kind === 'file' ? table.size(row) : 0),
    offset(slots.linkName, link),
    int64(slots.mode, table.mode(row)),
    { slot: slots.uid, kind: 'uint32', value: table.uid(row) },
    { slot: slots.gid, kind: 'uint32', value: table.gid(row) },
    offset(slots.userName, none),
    offset(slots.groupName, none),
    offset(slots.modTime, time),
    int64(slots.devMajor, major),
    int64(slots.devMinor, minor),
    offset(slots.pax, pax),
  ]);
}

/** The zTOC. Layers with sparse files cannot be told: leave them out. */
export async function writeZtoc(content: ZtocContent): Promise<Uint8Array> {
  const builder = new FlatBuilder();
  const { table, checkpoints, spanDigests } = content;
  const { ztoc: slots, toc: tocSlots, compression } = ztocSlots;
  const files: number[] = [];
  for (let row = 0; row < table.count; row += 1) {
    files.push(writeFile(builder, content, row));
    if (row % entriesPerTurn === entriesPerTurn - 1) await nextTurn();
  }
  const toc = builder.table([{ slot: tocSlots.metadata, kind: 'offset', value: builder.vector(files) }]);
  const zinfo = builder.byteVector(zinfoBytes(checkpoints, content.spanBytes));
  const digests = spanDigests.map((digest) =>
    builder.string(`sha256:${Buffer.from(digest).toString('hex')}`),
  );
  const digestVector = builder.vector(digests);
  const info = builder.table([
    { slot: compression.maxSpanId, kind: 'int32', value: checkpoints.length - 1 },
    { slot: compression.spanDigests, kind: 'offset', value: digestVector },
    { slot: compression.checkpoints, kind: 'offset', value: zinfo },
    { slot: compression.algorithm, kind: 'int8', value: compressionAlgorithms.gzip, byDefault: 1 },
  ]);
  const version = builder.string(ztocVersion);
  const tool = builder.string(content.buildTool);
  const root = builder.table([
    { slot: slots.version, kind: 'offset', value: version },
    { slot: slots.buildTool, kind: 'offset', value: tool },
    { slot: slots.toc, kind: 'offset', value: toc },
    { slot: slots.compressedSize, kind: 'int64', value: content.compressedSize },
    { slot: slots.uncompressedSize, kind: 'int64', value: content.uncompressedSize },
    { slot: slots.compression, kind: 'offset', value: info },
  ]);
  return builder.finish(root);
}
