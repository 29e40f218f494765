/** One entry of a tar archive, as its headers say it: not yet checked against other entries. */
import type { Name } from '../../oci/name.js';

/** What an entry is. `other` stands for type flags that no container runtime unpacks. */
export const entryKinds = [
  'file',
  'directory',
  'symlink',
  'hardlink',
  'char',
  'block',
  'fifo',
  'other',
] as const;
export type EntryKind = (typeof entryKinds)[number];

/** A stored piece of a sparse file: `length` bytes that belong at `offset` of the file. */
export interface SparsePiece {
  readonly offset: number;
  readonly length: number;
}

export interface TarEntry {
  readonly kind: EntryKind;
  /** The type flag byte of the header. */
  readonly typeFlag: number;
  /** The name as it is written, bytes as char codes: may hold `..`, be absolute or empty. */
  readonly path: Name;
  /** Target of a symbolic or hard link, as written; empty otherwise. */
  readonly linkPath: Name;
  /** Permission bits with setuid, setgid, sticky: 0o7777 at most. */
  readonly mode: number;
  /** 32 bits, as chown(2) would take it. */
  readonly uid: number;
  readonly gid: number;
  /** Length of the file in bytes, holes included; 0 for everything that is not a file. */
  readonly size: number;
  /** Nanoseconds since the epoch, kept within 64 bits. */
  readonly mtimeNs: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Where the first header block of the entry begins (its PAX or GNU long name header, if it has one). */
  readonly headerOffset: number;
  /** Where the stored bytes begin in the decoded archive. */
  readonly dataOffset: number;
  /** Number of stored bytes; differs from `size` for sparse files only. */
  readonly storedSize: number;
  /** Names as bytes; values exact. */
  readonly xattrs: ReadonlyMap<Name, Uint8Array>;
  /** Sorted, disjoint; the lengths add up to `storedSize`. Undefined for files without holes. */
  readonly sparse: readonly SparsePiece[] | undefined;
}
