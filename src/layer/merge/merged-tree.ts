/**
 * The tree that layers make together: what a container sees.
 *
 * A node is a name in the tree, by number; 0 is the root. Nodes that are hard links of each other have one inode.
 * `entryOf` says which entry of which layer a node is, so that content can be shared between images.
 */
import type { Name } from '../../oci/name.js';
import type { EntryTable } from '../index/entry-table.js';
import { implicitLayer, type InodeTable } from './inode-table.js';
import type { MergeInput, MergeProblem, Merger } from './merger.js';
import { none, rootNode, type NodeTable } from './node-table.js';
import type { Turns } from '../turns.js';

/** What a node is. Directories that no layer describes are `directory` with the attributes below. */
export type NodeKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo';

export interface NodeAttributes {
  readonly kind: NodeKind;
  /** Permission bits, setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes: of a file, or of a link's target; 0 for others. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly nlink: number;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** An entry of a layer: `layer` counts from the lowest, `row` is the place in its table. */
export interface EntryOf {
  readonly layer: number;
  readonly row: number;
}

/** Mode of directories that no entry describes: what mkdir with the usual umask gives. */
const implicitMode = 0o755;

export class MergedTree {
  readonly root = rootNode;
  readonly problems: readonly MergeProblem[];
  readonly problemCount: number;
  private readonly nodes: NodeTable;
  private readonly inodes: InodeTable;
  private readonly tables: readonly EntryTable[];
  /** Children of node n are `childList[childStart[n]]` up to `childStart[n + 1]`. */
  private readonly childStart: Uint32Array;
  private readonly childList: Uint32Array;

  private constructor(
    merger: Merger,
    inputs: readonly MergeInput[],
    childStart: Uint32Array,
    childList: Uint32Array,
  ) {
    this.nodes = merger.nodes;
    this.inodes = merger.inodes;
    this.tables = inputs.map((input) => input.table);
    this.problems = merger.problems;
    this.problemCount = merger.problemCount;
    this.childStart = childStart;
    this.childList = childList;
  }

  /**
   * A tree that is still being merged: names can be looked up and described as far as `merger` got; nothing is listed,
   * and link counts are 0.
   */
  static growing(merger: Merger, inputs: readonly MergeInput[]): MergedTree {
    return new MergedTree(merger, inputs, new Uint32Array(0), new Uint32Array(0));
  }

  /** Finish a merge: lists children and counts links. */
  static async build(merger: Merger, inputs: readonly MergeInput[], turns: Turns): Promise<MergedTree> {
    const { nodes, inodes } = merger;
    const { count } = nodes;
    const starts = new Uint32Array(count + 1);
    for (let node = 0; node < count; node += 1) {
      if (turns.step()) await turns.yield();
      if (!nodes.isAlive(node)) continue;
      const inode = nodes.inode(node);
      const isDirectory = inodes.isDirectory(inode);
      // A directory has its name and its `.`, and gives its parent a `..`.
      inodes.addLinks(inode, isDirectory ? 2 : 1);
      if (node === rootNode) continue;
      const parent = nodes.parent(node);
      if (isDirectory) inodes.addLinks(nodes.inode(parent), 1);
      starts[parent + 1] = (starts[parent + 1] ?? 0) + 1;
    }
    for (let node = 0; node < count; node += 1) {
      if (turns.step()) await turns.yield();
      starts[node + 1] = (starts[node + 1] ?? 0) + (starts[node] ?? 0);
    }
    const list = new Uint32Array(starts[count] ?? 0);
    const next = starts.slice();
    for (let node = 1; node < count; node += 1) {
      if (turns.step()) await turns.yield();
      if (!nodes.isAlive(node)) continue;
      const parent = nodes.parent(node);
      const at = next[parent] ?? 0;
      list[at] = node;
      next[parent] = at + 1;
    }
    await nodes.seal(turns);
    await inodes.seal(turns);
    return new MergedTree(merger, inputs, starts, list);
  }

  /** Numbers of nodes are below this; some of them are no longer in the tree. */
  get nodeLimit(): number {
    return this.nodes.count;
  }

  /** Nodes in the tree. */
  get nodeCount(): number {
    return this.childList.length + 1;
  }

  /** Node of a name in a directory; undefined when it is not there. */
  lookup(parent: number, name: Name): number | undefined {
    const node = this.nodes.lookup(parent, name);
    return node === none ? undefined : node;
  }

  /** Node of a path as text, links not followed; undefined when it is not there. */
  find(path: Name): number | undefined {
    let node: number | undefined = rootNode;
    for (const part of path.split('/')) {
      if (part === '' || node === undefined) continue;
      node = this.lookup(node, part as Name);
    }
    return node;
  }

  /**
   * True when no layer below those that were merged can have a part in what a directory holds. Of a tree of the upper
   * layers of an image; `name`: only in that name.
   */
  isSettled(directory: number, name?: Name): boolean {
    if (this.nodes.isClosed(directory)) return true;
    const node = name === undefined ? none : this.nodes.find(directory, name);
    return node !== none && this.nodes.isClosed(node);
  }

  childCount(node: number): number {
    return (this.childStart[node + 1] ?? 0) - (this.childStart[node] ?? 0);
  }

  /** The child at a place from 0 to `childCount` - 1; the order never changes. */
  child(node: number, place: number): number {
    return this.childList[(this.childStart[node] ?? 0) + place] ?? none;
  }

  /** Children from a place on, at most `limit`. */
  children(node: number, from = 0, limit = Infinity): Uint32Array {
    const start = this.childStart[node] ?? 0;
    const end = this.childStart[node + 1] ?? 0;
    return this.childList.subarray(start + from, Math.min(end, start + from + limit));
  }

  name(node: number): Name {
    return this.nodes.name(node);
  }

  /** Of the root it is the root. */
  parent(node: number): number {
    return this.nodes.parent(node);
  }

  /** Path inside the root, without a leading slash. */
  path(node: number): Name {
    const parts: string[] = [];
    for (let at = node; at !== rootNode; at = this.parent(at)) parts.push(this.name(at));
    return parts.reverse().join('/') as Name;
  }

  /** Equal for hard links of each other. */
  inode(node: number): number {
    return this.nodes.inode(node);
  }

  /** Undefined for directories that no layer describes. */
  entryOf(node: number): EntryOf | undefined {
    const inode = this.nodes.inode(node);
    const layer = this.inodes.layer(inode);
    return layer === implicitLayer ? undefined : { layer, row: this.inodes.row(inode) };
  }

  kind(node: number): NodeKind {
    const inode = this.nodes.inode(node);
    if (this.inodes.isDirectory(inode)) return 'directory';
    const kind = this.tables[this.inodes.layer(inode)]?.kind(this.inodes.row(inode));
    return kind === undefined || kind === 'other' || kind === 'hardlink' ? 'file' : kind;
  }

  attributes(node: number): NodeAttributes {
    const inode = this.nodes.inode(node);
    const kind = this.kind(node);
    const nlink = this.inodes.nlink(inode);
    const table = this.tables[this.inodes.layer(inode)];
    if (table === undefined) {
      return {
        kind,
        mode: implicitMode,
        uid: 0,
        gid: 0,
        size: 0,
        mtimeNs: 0n,
        nlink,
        devMajor: 0,
        devMinor: 0,
      };
    }
    const row = this.inodes.row(inode);
    const isDevice = kind === 'char' || kind === 'block';
    const device = isDevice ? table.device(row) : { major: 0, minor: 0 };
    return {
      kind,
      mode: kind === 'symlink' ? 0o777 : table.mode(row),
      uid: table.uid(row),
      gid: table.gid(row),
      size: kind === 'file' || kind === 'symlink' ? table.size(row) : 0,
      mtimeNs: table.mtimeNs(row),
      nlink,
      devMajor: device.major,
      devMinor: device.minor,
    };
  }

  /** Extended attributes as the layer has them, `security.*` and `trusted.*` included. */
  xattrs(node: number): ReadonlyMap<Name, Uint8Array> {
    const entry = this.entryOf(node);
    return entry === undefined ? new Map() : (this.tables[entry.layer]?.xattrs(entry.row) ?? new Map());
  }

  /** Target of a symbolic link, as written; empty for everything else. */
  linkPath(node: number): Name {
    const entry = this.entryOf(node);
    if (entry === undefined || this.kind(node) !== 'symlink') return '' as Name;
    return this.tables[entry.layer]?.linkPath(entry.row) ?? ('' as Name);
  }
}
