/**
 * Attributes and directory pages in the form in which they cross into the addon (native/src/fuse/attributes.h): one
 * write into memory instead of an object with seventeen properties, which costs about 1 µs each way.
 */
import type { Attributes, DirectoryEntry, FileType, Lifetime } from '../../vfs/file-system.js';

/** Bytes of one entry before its name. */
export const packedEntrySize = 104;

/** The longest entry: a name of 255 bytes, padded to 8. */
const maxEntryBytes = packedEntrySize + 256;

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

/** Writes packed entries one behind the other; grows as needed. */
export class EntryPacker {
  #bytes: Buffer;
  #view: DataView;
  #length = 0;

  constructor(initialBytes = maxEntryBytes) {
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
  setAttributes(attributes: Attributes, lifetime: Lifetime): void {
    this.#attributes(0, attributes, lifetime);
    this.#view.setBigUint64(88, 0n, true);
    this.#view.setUint32(96, 0, true);
    this.#length = packedEntrySize;
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
    const nameLength = entry.name.length;
    view.setUint32(at + 96, nameLength, true);
    if (nameLength > 255) throw new RangeError('a directory entry is longer than 255 bytes');
    this.#bytes.write(entry.name, at + packedEntrySize, 'latin1');
    this.#length = at + packedEntrySize + ((nameLength + 7) & ~7);
  }

  #attributes(at: number, attributes: Attributes, lifetime: Lifetime): void {
    const view = this.#view;
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
    view.setUint32(at + 100, 0, true);
  }

  #grow(): void {
    const larger = Buffer.alloc(this.#bytes.length * 2 + maxEntryBytes);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer, larger.byteOffset, larger.byteLength);
  }
}
