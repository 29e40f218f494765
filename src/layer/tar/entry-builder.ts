/**
 * Puts one entry together from its header block and what came before it (PAX records, GNU long names), in the
 * order in which Go's archive/tar lets them override each other.
 */
import { nameFromBytes, type Name } from '../../oci/name.js';
import type { HeaderBlock } from '../../store/tar/header-block.js';
import { parseDecimal, safeCount } from '../../store/tar/number-field.js';
import { clampNs, parsePaxTime, type PaxRecords } from '../../store/tar/pax.js';
import { isValidMap, readPaxSparse, type PaxSparse } from './sparse.js';
import type { EntryKind, SparsePiece, TarEntry } from './tar-entry.js';

/** What preceded a header and belongs to it. */
export interface Preceding {
  /** Where the first of these headers begins. */
  headerOffset: number;
  pax: PaxRecords | undefined;
  longName: Name | undefined;
  longLink: Name | undefined;
}

/** An entry that may still lack its sparse map. Offsets as in `TarEntry`. */
export interface Draft {
  readonly entry: Omit<TarEntry, 'dataOffset' | 'storedSize' | 'sparse'>;
  /** Bytes that follow the header, by its size field. */
  readonly storedSize: number;
  /** The map, when the headers held it. */
  readonly sparse: readonly SparsePiece[] | undefined;
  /** What must be read before the entry is complete. */
  readonly pendingMap: 'old' | '1.0' | undefined;
}

const xattrPrefix = 'SCHILY.xattr.';

const kindsByFlag: Readonly<Record<string, EntryKind>> = {
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};

function kindOf(typeFlag: number, path: Name): EntryKind {
  // Old archives mark a directory by the slash behind its name.
  if (typeFlag === 0) return path.endsWith('/') ? 'directory' : 'file';
  return kindsByFlag[String.fromCharCode(typeFlag)] ?? 'other';
}

interface Fields {
  path: Name;
  linkPath: Name;
  uid: bigint;
  gid: bigint;
  size: bigint;
  mtimeNs: bigint;
  readonly xattrs: Map<Name, Uint8Array>;
}

/** True when the record was understood or is none of ours; false when its value is malformed. */
function applyRecord(fields: Fields, key: string, value: Uint8Array): boolean {
  // An empty value takes an earlier setting back: what the header block says holds.
  if (value.length === 0) return true;
  if (key.startsWith(xattrPrefix)) {
    if (key.length > xattrPrefix.length) fields.xattrs.set(key.slice(xattrPrefix.length) as Name, value);
    return true;
  }
  switch (key) {
    case 'path':
      fields.path = nameFromBytes(value);
      return true;
    case 'linkpath':
      fields.linkPath = nameFromBytes(value);
      return true;
    case 'mtime': {
      const time = parsePaxTime(nameFromBytes(value));
      fields.mtimeNs = time ?? 0n;
      return time !== undefined;
    }
    case 'size':
    case 'uid':
    case 'gid': {
      const number = parseDecimal(nameFromBytes(value));
      fields[key] = number ?? 0n;
      return number !== undefined;
    }
    default:
      return true;
  }
}

function gatherFields(header: HeaderBlock, preceding: Preceding): Fields | string {
  const { path, linkPath, uid, gid, size, mtime } = header;
  const fields: Fields = {
    path,
    linkPath,
    uid,
    gid,
    size,
    mtimeNs: mtime * 1_000_000_000n,
    xattrs: new Map(),
  };
  for (const [key, value] of preceding.pax ?? []) {
    if (!applyRecord(fields, key, value)) return `extended header holds a malformed ${key}`;
  }
  if (preceding.longName !== undefined && preceding.longName !== '') fields.path = preceding.longName;
  if (preceding.longLink !== undefined && preceding.longLink !== '') fields.linkPath = preceding.longLink;
  return fields;
}

const as32 = (value: bigint): number => Number(BigInt.asUintN(32, value));

function draftFrom(
  header: HeaderBlock,
  fields: Fields,
  headerOffset: number,
  sparse: PaxSparse | undefined,
): Draft | string {
  const size = safeCount(fields.size);
  if (size === undefined) return 'size is negative or too large';
  const kind = kindOf(header.typeFlag, fields.path);
  const hasData = kind === 'file' || kind === 'other';
  if (sparse !== undefined && kind !== 'file') return 'sparse map on an entry that is not a file';
  const isOldSparse = header.typeFlag === 0x53;
  if (isOldSparse && header.format !== 'gnu') return 'sparse entry outside a GNU archive';
  const isDevice = kind === 'char' || kind === 'block';
  const pendingMap = isOldSparse
    ? 'old'
    : sparse !== undefined && sparse.map === undefined
      ? '1.0'
      : undefined;
  return {
    entry: {
      kind,
      typeFlag: header.typeFlag,
      path: isOldSparse ? fields.path : (sparse?.name ?? fields.path),
      linkPath: kind === 'symlink' || kind === 'hardlink' ? fields.linkPath : ('' as Name),
      mode: Number(header.mode & 0o7777n),
      uid: as32(fields.uid),
      gid: as32(fields.gid),
      size: kind === 'file' ? (sparse?.size ?? size) : 0,
      mtimeNs: clampNs(fields.mtimeNs),
      devMajor: isDevice ? as32(header.devMajor) : 0,
      devMinor: isDevice ? as32(header.devMinor) : 0,
      headerOffset,
      xattrs: fields.xattrs,
    },
    storedSize: hasData ? size : 0,
    sparse: pendingMap === undefined ? sparse?.map : undefined,
    pendingMap,
  };
}

/** Build a draft. Returns the reason, as text, when the headers contradict themselves. */
export function draftEntry(header: HeaderBlock, preceding: Preceding): Draft | string {
  const fields = gatherFields(header, preceding);
  if (typeof fields === 'string') return fields;
  // The old format has its map in the header: PAX has nothing to say then.
  const { pax } = preceding;
  const sparse = pax !== undefined && header.typeFlag !== 0x53 ? readPaxSparse(pax) : undefined;
  if (typeof sparse === 'string') return sparse;
  return draftFrom(header, fields, preceding.headerOffset, sparse);
}

/** The finished entry; a reason as text when the sparse map is not one. */
export function finishEntry(
  draft: Draft,
  dataOffset: number,
  storedSize: number,
  sparse: readonly SparsePiece[] | undefined,
  realSize?: number,
): TarEntry | string {
  const size = realSize ?? draft.entry.size;
  if (sparse !== undefined && !isValidMap(sparse, size, storedSize))
    return 'sparse map does not fit the file';
  return { ...draft.entry, size, dataOffset, storedSize, sparse };
}
