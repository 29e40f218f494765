/** An entry table as bytes: its columns and pools one behind the other, each at a multiple of 8. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { BytePool } from './byte-pool.js';
import { ColumnTable } from './columns.js';
import { EntryTable, type LayerProblem } from './entry-table.js';

/** What is needed to find the parts again. */
export interface TableCounts {
  readonly entries: number;
  readonly directories: number;
  readonly names: number;
  readonly paths: number;
  readonly extras: number;
  readonly problemCount: number;
  readonly problems: readonly LayerProblem[];
}

const align = (length: number): number => Math.ceil(length / 8) * 8;

/** The bytes of the table are `parts`, one behind the other. They are views: the table must not change meanwhile. */
export function encodeTable(table: EntryTable): { counts: TableCounts; parts: readonly Uint8Array[] } {
  const { entries, directories, names, paths, extras } = table.parts;
  const blocks = [entries.toBytes(), directories.toBytes(), [names.all()], [paths.all()], [extras.all()]];
  const parts: Uint8Array[] = [];
  for (const block of blocks) {
    const length = block.reduce((sum, part) => sum + part.length, 0);
    parts.push(...block, new Uint8Array(align(length) - length));
  }
  const counts = {
    entries: entries.count,
    directories: directories.count,
    names: names.length,
    paths: paths.length,
    extras: extras.length,
    problemCount: table.problemCount,
    problems: table.problems,
  };
  return { counts, parts };
}

/** Inverse of `encodeTable`. `bytes` is kept. @throws ImgfsError `invalid-content`. */
export function decodeTable(counts: TableCounts, bytes: Uint8Array<ArrayBuffer>): EntryTable {
  // A view at an odd place cannot be looked at as numbers.
  const whole = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  let at = 0;
  const take = (length: number): Uint8Array<ArrayBuffer> => {
    const part = whole.subarray(at, at + length);
    if (!(length >= 0) || part.length !== length) {
      throw new ImgfsError('invalid-content', 'read layer index: its entries are cut off');
    }
    at = Math.min(whole.length, at + align(length));
    return part;
  };
  const rowBytes = (shape: Parameters<typeof ColumnTable.fromBytes>[0]): number =>
    new ColumnTable(shape, 0).rowBytes;
  const { entryShape, directoryShape } = EntryTable;
  const table = new EntryTable({
    entries: ColumnTable.fromBytes(entryShape, counts.entries, take(counts.entries * rowBytes(entryShape))),
    directories: ColumnTable.fromBytes(
      directoryShape,
      counts.directories,
      take(counts.directories * rowBytes(directoryShape)),
    ),
    names: new BytePool(take(counts.names)),
    paths: new BytePool(take(counts.paths)),
    extras: new BytePool(take(counts.extras)),
  });
  table.problems.push(...counts.problems);
  table.problemCount = counts.problemCount;
  return table;
}
