/**
 * Attributes and directory pages in the form in which they cross into the addon (native/src/fuse/attributes.h): one
 * write into memory instead of an object with seventeen properties, which costs about 1 µs each way.
 */
import type { FilePlace, SharedFile } from '../../content/shared-file.js';
import type { Attributes, DirectoryEntry, FileType, Lifetime } from '../../vfs/file-system.js';
import type { Name } from '../../vfs/name.js';

/** Bytes of one entry before its name. */
export const packedEntrySize = 112;

/** Targets of links that go along; longer ones are asked for. */
const maxTargetBytes = 255;

/** The longest entry: a name and a target of 255 bytes, padded to 8. */
const maxEntryBytes = packedEntrySize + 2 * 256;

/** S_IFMT bits of stat(2). */
const typeBits: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

const hasAttributes = 1;

type Placed = Lifetime & { readonly place?: FilePlace; readonly target?: Name };

/** A length, padded to 8. */
const padded = (length: number): number => (length + 7) & ~7;

/** Writes packed entries one behind the other; grows as needed. */
export class EntryPacker {
  #bytes: Buffer;
  #view: DataView;
  #length = 0;
  readonly #numberOf: (file: SharedFile) => number;

  /** `numberOf` gives the number by which the addon knows a file that others lie in; 0: by none. */
  constructor(numberOf: (file: SharedFile) => number, initialBytes = maxEntryBytes) {
    this.#numberOf = numberOf;
    this.#bytes = Buffer.alloc(Math.max(initialBytes, maxEntryBytes));
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }

  /** The memory; valid until the next entry is added to a page. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  /** Write one entry without a name at the beginning. */
  setAttributes(attributes: Attributes, lifetime: Placed): void {
    this.#attributes(0, attributes, lifetime);
    this.#view.setBigUint64(88, 0n, true);
    this.#name(0, '');
    this.#target(lifetime.target);
  }

  add(entry: DirectoryEntry): void {
    if (this.#length + maxEntryBytes > this.#bytes.length) this.#grow();
    const at = this.#length;
    const view = this.#view;
    if (entry.entry === undefined) {
      this.#bytes.fill(0, at, at + packedEntrySize);
      view.setFloat64(at, entry.inode, true);
      view.setUint32(at + 64, typeBits[entry.type], true);
    } else {
      this.#attributes(at, entry.entry.attributes, entry.entry);
    }
    view.setBigUint64(at + 88, entry.next, true);
    this.#name(at, entry.name);
    this.#target(entry.entry?.target);
  }

  #name(at: number, name: string): void {
    if (name.length > 255) throw new RangeError('a directory entry is longer than 255 bytes');
    this.#view.setUint32(at + 96, name.length, true);
    this.#bytes.write(name, at + packedEntrySize, 'latin1');
    this.#length = at + packedEntrySize + padded(name.length);
  }

  /** Behind the name; the attributes have told its length. */
  #target(target: Name | undefined): void {
    if (target === undefined || target.length > maxTargetBytes) return;
    this.#bytes.write(target, this.#length, 'latin1');
    this.#length += padded(target.length);
  }

  #attributes(at: number, attributes: Attributes, lifetime: Placed): void {
    const view = this.#view;
    const { place, target } = lifetime;
    const targetBytes = target === undefined || target.length > maxTargetBytes ? 0 : target.length;
    view.setFloat64(at, attributes.inode, true);
    view.setFloat64(at + 8, lifetime.attrTtlMs, true);
    view.setFloat64(at + 16, lifetime.entryTtlMs, true);
    view.setFloat64(at + 24, attributes.size, true);
    view.setFloat64(at + 32, attributes.blocks, true);
    view.setBigInt64(at + 40, attributes.mtimeNs, true);
    view.setBigInt64(at + 48, attributes.ctimeNs, true);
    view.setBigInt64(at + 56, attributes.atimeNs, true);
    view.setUint32(at + 64, typeBits[attributes.type] | (attributes.mode & 0o7777), true);
    view.setUint32(at + 68, attributes.nlink, true);
    view.setUint32(at + 72, attributes.uid, true);
    view.setUint32(at + 76, attributes.gid, true);
    view.setUint32(at + 80, attributes.rdev, true);
    view.setUint32(at + 84, hasAttributes, true);
    view.setUint32(at + 100, place === undefined ? targetBytes : this.#numberOf(place.file), true);
    view.setFloat64(at + 104, place?.offset ?? 0, true);
  }

  #grow(): void {
    const larger = Buffer.alloc(this.#bytes.length * 2 + maxEntryBytes);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer, larger.byteOffset, larger.byteLength);
  }
}
