/**
 * Inode numbers, lookup counts and forgetting.
 *
 * The number of a node is a hash of what it is: of its identity for content, else of its parent's number, its name
 * and its version. So it stays the same when a node is forgotten and found again, and from one mount to the next;
 * `fts` and incremental backups compare inode numbers. Where two live nodes hash alike, the later one takes the
 * next free number.
 *
 * A node is in the table exactly while the kernel holds lookups on it; the root always is.
 */
import { hash } from 'node:crypto';
import { ImgfsError } from '../errors/imgfs-error.js';
import { rootInode, type Attributes, type Inode } from './file-system.js';
import type { Name } from './name.js';
import type { VfsNode } from './node.js';

export interface InodeRecord {
  readonly inode: Inode;
  /** The newest node found under this number: its store was reachable last. */
  node: VfsNode;
  /** Attributes of content, kept from the first answer: they must not change while the kernel has pages. */
  attributes: Attributes | undefined;
  /** Where it was found first; for messages. */
  readonly parent: InodeRecord | undefined;
  readonly name: Name;
  readonly key: string;
  lookups: number;
}

/** What a listing shows for a name that was never looked up (libfuse's FUSE_UNKNOWN_INO). */
export const unknownInode = 0xffff_ffff as Inode;

/** Numbers below this are reserved: 1 is the root. */
const firstHashed = 16;

export class InodeTable {
  readonly #records = new Map<number, InodeRecord>();
  readonly root: InodeRecord;

  constructor(root: VfsNode) {
    this.root = {
      inode: rootInode,
      node: root,
      attributes: undefined,
      parent: undefined,
      name: '' as Name,
      key: '',
      lookups: 1,
    };
    this.#records.set(rootInode, this.root);
  }

  /** Nodes that the kernel knows. */
  get size(): number {
    return this.#records.size;
  }

  /** @throws ImgfsError `stale` when the kernel asks about what it has forgotten. */
  get(inode: Inode): InodeRecord {
    const record = this.#records.get(inode);
    if (record !== undefined) return record;
    throw new ImgfsError('stale', `inode ${inode} is not known any more`);
  }

  has(inode: Inode): boolean {
    return this.#records.has(inode);
  }

  /** The number that a child has or would get, without counting a lookup. */
  peek(parent: InodeRecord, name: Name, node: VfsNode): Inode {
    return this.#slot(keyOf(parent, name, node)).inode;
  }

  /** Enter a node and count one lookup on it. */
  remember(parent: InodeRecord, name: Name, node: VfsNode): InodeRecord {
    const key = keyOf(parent, name, node);
    const { inode, record } = this.#slot(key);
    if (record !== undefined) {
      record.node = node;
      record.lookups += 1;
      return record;
    }
    const made: InodeRecord = { inode, node, attributes: undefined, parent, name, key, lookups: 1 };
    this.#records.set(inode, made);
    return made;
  }

  /** Give back lookups. Unknown numbers are ignored: the kernel's batches may be late. */
  forget(inode: Inode, count: number): void {
    const record = this.#records.get(inode);
    if (record === undefined || record === this.root) return;
    record.lookups -= count;
    if (record.lookups <= 0) this.#records.delete(inode);
  }

  clear(): void {
    this.#records.clear();
  }

  #slot(key: string): { readonly inode: Inode; readonly record: InodeRecord | undefined } {
    let inode = hashKey(key);
    for (;;) {
      const record = this.#records.get(inode);
      if (record === undefined || record.key === key) return { inode: inode as Inode, record };
      inode = inode + 1 === unknownInode ? inode + 2 : inode + 1;
    }
  }
}

function keyOf(parent: InodeRecord, name: Name, node: VfsNode): string {
  if (node.identity !== undefined) return node.identity;
  return `${parent.inode}/${name}\0${node.version ?? ''}`;
}

/** 48 bits of SHA-256: a million live nodes collide with a probability of 0.2 %, and then take the next number. */
function hashKey(key: string): number {
  const number = Number.parseInt(hash('sha256', key, 'hex').slice(0, 12), 16);
  return number < firstHashed || number === unknownInode ? number + firstHashed : number;
}

/** Path from the mount point, for messages. */
export function pathOf(record: InodeRecord, child?: Name): string {
  const parts: string[] = child === undefined ? [] : [child];
  for (let at: InodeRecord | undefined = record; at?.parent !== undefined; at = at.parent)
    parts.unshift(at.name);
  return `/${parts.map((part) => Buffer.from(part, 'latin1').toString('utf8')).join('/')}`;
}
