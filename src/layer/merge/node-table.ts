/**
 * The nodes of a tree while it is being merged: names under parents, in columns, found through one hash table.
 *
 * A node that is deleted keeps its number and its place; when the name comes again the node comes back.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Name } from '../../oci/name.js';
import { BytePool } from '../index/byte-pool.js';
import { ColumnTable } from '../index/columns.js';
import type { Turns } from '../turns.js';

/** More nodes are refused: twice what one layer may have, 400 MB. */
export const maxNodes = 8_000_000;

/** The number of no node. */
export const none = 0xffff_ffff;

export const rootNode = 0;

const shape = {
  parent: 'u32',
  name: 'u32',
  inode: 'u32',
  firstChild: 'u32',
  nextSibling: 'u32',
  /** Hash of parent and name: growing the table must not look at names again. */
  hash: 'u32',
  /** Number of the layer that last put something here or below, plus one. */
  touched: 'u16',
  nameLength: 'u8',
  /** Bits of `flag`. */
  flags: 'u8',
} as const;

const flag = {
  /** The node is part of the tree. */
  alive: 1,
  /** Lower layers, known or not, have no part in this name and what is below it. */
  closed: 2,
} as const;

/** FNV-1a over the parent's number and the name. */
function hashOf(parent: number, name: string): number {
  let hash = Math.imul(0x811c9dc5 ^ parent, 0x01000193) ^ (parent >>> 16);
  for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

export class NodeTable {
  readonly nodes: ColumnTable<typeof shape>;
  readonly names = new BytePool();
  private buckets: Uint32Array<ArrayBuffer>;

  /** Room is made for `expected` nodes: making it on the way would hold up everybody for tens of milliseconds. */
  constructor(expected = 0) {
    this.nodes = new ColumnTable(shape, expected);
    this.buckets = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(512, expected) * 2))).fill(none);
    this.add(none, '' as Name);
  }

  get count(): number {
    return this.nodes.count;
  }

  isAlive(node: number): boolean {
    return this.has(node, flag.alive);
  }

  /** No layer below those that were merged can change this name or what is below it. */
  isClosed(node: number): boolean {
    for (let at = node; ; at = this.parent(at)) {
      if (this.has(at, flag.closed)) return true;
      if (at === rootNode) return false;
    }
  }

  close(node: number): void {
    this.set(node, flag.closed);
  }

  /** Close a name, also one that never was there. @throws ImgfsError `too-large`. */
  closeName(parent: number, name: Name): void {
    const node = this.find(parent, name);
    this.close(node === none ? this.add(parent, name) : node);
  }

  parent(node: number): number {
    return node === rootNode ? rootNode : (this.nodes.columns.parent[node] ?? rootNode);
  }

  inode(node: number): number {
    return this.nodes.columns.inode[node] ?? none;
  }

  name(node: number): Name {
    const { columns } = this.nodes;
    return this.names.name(columns.name[node] ?? 0, columns.nameLength[node] ?? 0) as Name;
  }

  /** The node of that name, alive or not; `none` when there never was one. */
  find(parent: number, name: Name): number {
    const mask = this.buckets.length - 1;
    const { columns } = this.nodes;
    const hash = hashOf(parent, name);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const node = this.buckets[at] ?? none;
      if (node === none) return none;
      if (columns.hash[node] !== hash || columns.parent[node] !== parent) continue;
      if (this.names.equals(columns.name[node] ?? 0, columns.nameLength[node] ?? 0, name)) return node;
    }
  }

  /** The living node of that name; `none` when there is none. */
  lookup(parent: number, name: Name): number {
    const node = this.find(parent, name);
    return node !== none && this.isAlive(node) ? node : none;
  }

  /** Put a name into the tree with this inode. @throws ImgfsError `too-large`. */
  put(parent: number, name: Name, inode: number): number {
    let node = this.find(parent, name);
    if (node === none) node = this.add(parent, name);
    const { columns } = this.nodes;
    columns.inode[node] = inode;
    this.set(node, flag.alive);
    return node;
  }

  setInode(node: number, inode: number): void {
    this.nodes.columns.inode[node] = inode;
  }

  kill(node: number): void {
    const { flags } = this.nodes.columns;
    flags[node] = (flags[node] ?? 0) & ~flag.alive;
  }

  /** The newest child, alive or not; `none` when there never was one. */
  firstChild(node: number): number {
    return this.nodes.columns.firstChild[node] ?? none;
  }

  /** The child of the same parent that is next older, alive or not; `none` behind the oldest. */
  nextSibling(node: number): number {
    return this.nodes.columns.nextSibling[node] ?? none;
  }

  touchedBy(node: number): number {
    return this.nodes.columns.touched[node] ?? 0;
  }

  /** Mark a node and all above it. A marked node has marked parents, so this ends early. */
  touch(node: number, mark: number): void {
    const { columns } = this.nodes;
    for (let at = node; columns.touched[at] !== mark; at = this.parent(at)) {
      columns.touched[at] = mark;
      if (at === rootNode) return;
    }
  }

  /** Nothing will be added: give back what is only needed for that. */
  async seal(turns: Turns): Promise<void> {
    const { columns } = this.nodes;
    columns.firstChild = new Uint32Array(0);
    columns.nextSibling = new Uint32Array(0);
    columns.touched = new Uint16Array(0);
    await this.nodes.trim(turns);
  }

  private add(parent: number, name: Name): number {
    if (this.count >= maxNodes) {
      throw new ImgfsError('too-large', `merge layers: the tree has more than ${maxNodes} names`);
    }
    const node = this.nodes.add();
    const { columns } = this.nodes;
    columns.parent[node] = parent;
    columns.name[node] = this.names.appendName(name);
    columns.nameLength[node] = name.length;
    columns.inode[node] = none;
    columns.firstChild[node] = none;
    columns.touched[node] = 0;
    columns.flags[node] = 0;
    columns.nextSibling[node] = none;
    if (parent !== none) {
      columns.nextSibling[node] = columns.firstChild[parent] ?? none;
      columns.firstChild[parent] = node;
    }
    columns.hash[node] = hashOf(parent, name);
    if (this.count * 2 > this.buckets.length) this.rehash();
    else this.insert(node);
    return node;
  }

  private has(node: number, bit: number): boolean {
    return ((this.nodes.columns.flags[node] ?? 0) & bit) !== 0;
  }

  private set(node: number, bit: number): void {
    const { flags } = this.nodes.columns;
    flags[node] = (flags[node] ?? 0) | bit;
  }

  private insert(node: number): void {
    const mask = this.buckets.length - 1;
    let at = (this.nodes.columns.hash[node] ?? 0) & mask;
    while (this.buckets[at] !== none) at = (at + 1) & mask;
    this.buckets[at] = node;
  }

  private rehash(): void {
    this.buckets = new Uint32Array(this.buckets.length * 4).fill(none);
    for (let node = 0; node < this.count; node += 1) this.insert(node);
  }
}
