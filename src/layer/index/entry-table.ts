/**
 * All entries of one layer, in archive order, in columns: about 65 bytes each, names included.
 *
 * Paths are cleaned on the way in (`entry-path.ts`); entries whose name no file can have are left out and counted
 * as problems. Directories of paths are stored once.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Name } from '../../oci/name.js';
import { littleEndian } from '../tar/entry-record.js';
import { entryKinds, type EntryKind, type SparsePiece, type TarEntry } from '../tar/tar-entry.js';
import { BytePool } from './byte-pool.js';
import { ColumnTable } from './columns.js';
import type { Turns } from '../turns.js';
import { cleanPath, maxPathBytes } from './entry-path.js';
import { decodeExtras, encodeExtras, noExtras, needsExtras, type EntryExtras } from './entry-extras.js';

/** More entries are refused: the largest public images have below 1,000,000 files; this is 300 MB of index. */
export const maxEntries = 4_000_000;
/** Names, links and xattrs of one layer together. */
export const maxPoolBytes = 512 * 1024 * 1024;

const entryShape = {
  size: 'f64',
  dataOffset: 'f64',
  mtimeNs: 'i64',
  uid: 'u32',
  gid: 'u32',
  directory: 'u32',
  name: 'u32',
  extras: 'u32',
  mode: 'u16',
  nameLength: 'u8',
  kind: 'u8',
} as const;

const directoryShape = { path: 'u32', pathLength: 'u16' } as const;

/** Something odd about an entry that did not make the layer unreadable. */
export interface LayerProblem {
  /** Name as written, cut to 200 bytes. */
  readonly name: string;
  readonly reason: string;
  /** Offset of the entry's header in the decoded archive. */
  readonly offset: number;
}

/** Problems kept with their text; more are only counted. */
const keptProblems = 100;

export interface TableParts {
  readonly entries: ColumnTable<typeof entryShape>;
  readonly directories: ColumnTable<typeof directoryShape>;
  readonly names: BytePool;
  readonly paths: BytePool;
  readonly extras: BytePool;
}

/** For chown(2) all bits set means "leave it": what unpacks as root leaves root. It is no owner that the kernel can show. */
const ownerOf = (id: number): number => (id === 0xffff_ffff ? 0 : id);

export class EntryTable {
  readonly parts: TableParts;
  readonly problems: LayerProblem[] = [];
  problemCount = 0;
  private readonly directoryIds = new Map<Name, number>();

  constructor(parts?: TableParts) {
    this.parts = parts ?? {
      entries: new ColumnTable(entryShape),
      directories: new ColumnTable(directoryShape),
      names: new BytePool(),
      paths: new BytePool(),
      // Offset 0 stands for an entry without extras.
      extras: new BytePool(new Uint8Array(8)),
    };
  }

  static readonly entryShape = entryShape;
  static readonly directoryShape = directoryShape;

  get count(): number {
    return this.parts.entries.count;
  }

  /** Number of directories that paths of entries lie in. */
  get directoryCount(): number {
    return this.parts.directories.count;
  }

  /** Take one more entry. @throws ImgfsError `too-large`. */
  append(entry: TarEntry): void {
    if (entry.kind === 'other') {
      this.note(
        entry,
        `type ${JSON.stringify(String.fromCharCode(entry.typeFlag))} is none that runtimes unpack`,
      );
      return;
    }
    const path = cleanPath(entry.path);
    if (typeof path === 'string') {
      this.note(entry, path);
      return;
    }
    if (path.hadDotDot) this.note(entry, 'name holds ..; it was kept inside the root');
    if (path.base === '' && entry.kind !== 'directory') {
      this.note(entry, 'name means the root, which can only be a directory');
      return;
    }
    if (entry.kind === 'symlink' && entry.linkPath.length > maxPathBytes) {
      this.note(entry, `link leads to a name longer than ${maxPathBytes} bytes`);
      return;
    }
    this.checkRoom();
    const { entries, names } = this.parts;
    const row = entries.add();
    const { columns } = entries;
    columns.size[row] = entry.size;
    columns.dataOffset[row] = entry.dataOffset;
    columns.mtimeNs[row] = entry.mtimeNs;
    columns.uid[row] = ownerOf(entry.uid);
    columns.gid[row] = ownerOf(entry.gid);
    columns.directory[row] = this.directoryId(path.directory);
    columns.name[row] = names.appendName(path.base);
    columns.nameLength[row] = path.base.length;
    columns.mode[row] = entry.mode;
    columns.kind[row] = entryKinds.indexOf(entry.kind);
    columns.extras[row] = needsExtras(entry) ? this.parts.extras.append(encodeExtras(entry)) : 0;
  }

  /** Record a problem with an entry. */
  note(entry: { readonly path: Name; readonly headerOffset: number }, reason: string): void {
    this.problemCount += 1;
    if (this.problems.length >= keptProblems) return;
    this.problems.push({ name: entry.path.slice(0, 200), reason, offset: entry.headerOffset });
  }

  kind(row: number): EntryKind {
    return entryKinds[this.parts.entries.columns.kind[row] ?? 7] ?? 'other';
  }

  /** Last component of the path; empty for the root. */
  name(row: number): Name {
    const { columns } = this.parts.entries;
    return this.parts.names.name(columns.name[row] ?? 0, columns.nameLength[row] ?? 0) as Name;
  }

  directory(row: number): number {
    return this.parts.entries.columns.directory[row] ?? 0;
  }

  /** Path of a directory by its number, without slashes at either end. */
  directoryPath(id: number): Name {
    const { columns } = this.parts.directories;
    return this.parts.paths.name(columns.path[id] ?? 0, columns.pathLength[id] ?? 0) as Name;
  }

  /** Whole path inside the root. */
  path(row: number): Name {
    const directory = this.directoryPath(this.directory(row));
    return (directory === '' ? this.name(row) : `${directory}/${this.name(row)}`) as Name;
  }

  mode(row: number): number {
    return this.parts.entries.columns.mode[row] ?? 0;
  }

  uid(row: number): number {
    return this.parts.entries.columns.uid[row] ?? 0;
  }

  gid(row: number): number {
    return this.parts.entries.columns.gid[row] ?? 0;
  }

  mtimeNs(row: number): bigint {
    return this.parts.entries.columns.mtimeNs[row] ?? 0n;
  }

  /** Length in bytes: of a file its content, of a symbolic link its target. */
  size(row: number): number {
    return this.kind(row) === 'symlink'
      ? this.linkPath(row).length
      : (this.parts.entries.columns.size[row] ?? 0);
  }

  /** Where the stored bytes begin in the decoded archive. */
  dataOffset(row: number): number {
    return this.parts.entries.columns.dataOffset[row] ?? 0;
  }

  linkPath(row: number): Name {
    return this.extras(row).linkPath;
  }

  xattrs(row: number): ReadonlyMap<Name, Uint8Array> {
    return this.extras(row).xattrs;
  }

  sparse(row: number): readonly SparsePiece[] | undefined {
    return this.extras(row).sparse;
  }

  /** Device numbers of a char or block entry. */
  device(row: number): { readonly major: number; readonly minor: number } {
    const { devMajor, devMinor } = this.extras(row);
    return { major: devMajor, minor: devMinor };
  }

  extras(row: number): EntryExtras {
    const at = this.parts.entries.columns.extras[row] ?? 0;
    return at === 0 ? noExtras : decodeExtras(this.parts.extras, at);
  }

  /** No more entries will come: give back spare memory. */
  async seal(turns: Turns): Promise<void> {
    this.directoryIds.clear();
    await this.parts.entries.trim(turns);
    await this.parts.directories.trim(turns);
  }

  /** Bytes of memory the table takes. */
  get memoryBytes(): number {
    const { entries, directories, names, paths, extras } = this.parts;
    return (
      entries.count * entries.rowBytes +
      directories.count * directories.rowBytes +
      names.capacity +
      paths.capacity +
      extras.capacity
    );
  }

  private directoryId(path: Name): number {
    const known = this.directoryIds.get(path);
    if (known !== undefined) return known;
    const { directories, paths } = this.parts;
    const id = directories.add();
    directories.columns.path[id] = paths.appendName(path);
    directories.columns.pathLength[id] = path.length;
    this.directoryIds.set(path, id);
    return id;
  }

  private checkRoom(): void {
    const { names, paths, extras } = this.parts;
    if (this.count < maxEntries && names.length + paths.length + extras.length < maxPoolBytes) return;
    throw new ImgfsError(
      'too-large',
      `index layer: more than ${maxEntries} entries or ${maxPoolBytes} bytes of names`,
    );
  }
}

/** Byte order mark of everything that is stored as the machine has it. */
export const byteOrder = littleEndian ? 'LE' : 'BE';
