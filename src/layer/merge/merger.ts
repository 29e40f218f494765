/**
 * Applies layers on top of each other, as umoci and containerd unpack them (image-spec layer.md, "Applying
 * Changesets"; umoci oci/layer/tar_extract.go).
 *
 * - A whiteout hides what lower layers have, whatever its place in its layer.
 * - The last entry of a name holds. A directory over a directory keeps what is in it; anything else replaces.
 * - Parents that are missing, or no directories, become directories. Symbolic links in parents are followed inside
 *   the root.
 * - A hard link shares the inode that its target has at that moment.
 */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Name } from '../../oci/name.js';
import { cleanPath } from '../index/entry-path.js';
import type { EntryTable } from '../index/entry-table.js';
import { implicitLayer, InodeTable } from './inode-table.js';
import { maxNodes, NodeTable, none, rootNode } from './node-table.js';

/** One layer to be merged. */
export interface MergeInput {
  readonly table: EntryTable;
  /** Names in the root that are not shown: helpers of an index format. */
  readonly hidden?: ReadonlySet<string>;
  /** Show whiteouts as the files they are in the archive, and hide nothing. */
  readonly raw?: boolean;
}

export interface MergeProblem {
  /** Number of the layer, counted from the lowest. */
  readonly layer: number;
  readonly path: Name;
  readonly reason: string;
}

const whiteoutPrefix = '.wh.';
const opaqueName = '.wh..wh..opq';

/** Links followed for one path, as in filepath-securejoin. */
const maxLinks = 255;
/** Components looked up in one merge: an image of 1,000,000 files needs 20,000,000 at most, hostile ones need more. */
const maxSteps = 500_000_000;
const keptProblems = 100;
/** For `proceed`: 0.1 ms. */
export const stepsAtOnce = 256;

const split = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

/** Push a node that there is. */
function pushNode(nodes: number[], node: number): void {
  if (node !== none) nodes.push(node);
}

/** A place: a living directory, and names below it that do not exist. */
interface Place {
  node: number;
  readonly missing: string[];
}

export class Merger {
  readonly nodes: NodeTable;
  readonly inodes: InodeTable;
  readonly problems: MergeProblem[] = [];
  problemCount = 0;
  /**
   * Something depends on layers below those that are merged: a path that they may have a symbolic link in, or a hard
   * link to a name of theirs. Only of interest when there are such layers.
   */
  isUncertain = false;
  private readonly tables: EntryTable[] = [];
  private layer = 0;
  private steps = 0;
  /** Nodes of the directories of the layer under way, and the generation in which they were found. */
  private places = new Uint32Array(0);
  private placeGenerations = new Uint32Array(0);
  /** Raised when a directory or link goes: a path may mean something else then. */
  private generation = 1;
  /** Nodes from which on siblings are to be removed, with all that is below them. */
  private readonly doomed: number[] = [];
  /** Nodes from which on siblings lose what lower layers have. */
  private readonly lowered: number[] = [];

  /** `expected` is the number of entries of all layers. */
  constructor(expected = 0) {
    const room = Math.min(expected, maxNodes);
    this.nodes = new NodeTable(room);
    this.inodes = new InodeTable(room);
    this.nodes.put(none, '' as Name, this.inodes.add(implicitLayer, 0, true));
  }

  /** Begin the next layer up. */
  startLayer(input: MergeInput): void {
    this.layer = this.tables.length;
    this.tables.push(input.table);
    this.places = new Uint32Array(input.table.directoryCount);
    this.placeGenerations = new Uint32Array(input.table.directoryCount);
  }

  /**
   * Apply one entry of the layer under way. Returns the steps it took. What it removed may have to be gone through with
   * `proceed` before the next one.
   * @throws ImgfsError `too-large`.
   */
  apply(input: MergeInput, row: number): number {
    const before = this.steps;
    this.applyEntry(input, row);
    this.checkSteps();
    return this.steps - before + 1;
  }

  /** An entry that was applied has removed what is not gone through yet. */
  get isBusy(): boolean {
    return this.doomed.length > 0 || this.lowered.length > 0;
  }

  /**
   * Go on with what the last entry removed, for about `limit` steps: a whiteout may stand for 100,000 names. Returns the
   * steps it took. @throws ImgfsError `too-large`.
   */
  proceed(limit: number): number {
    const before = this.steps;
    while (this.isBusy && this.steps - before < limit) {
      const isDoomed = this.doomed.length > 0;
      const names = isDoomed ? this.doomed : this.lowered;
      const node = names.pop() ?? none;
      this.steps += 1;
      pushNode(names, this.nodes.nextSibling(node));
      if (!this.nodes.isAlive(node)) continue;
      if (isDoomed) this.kill(node);
      else this.removeIfLower(node);
    }
    this.checkSteps();
    return this.steps - before + 1;
  }

  private checkSteps(): void {
    if (this.steps > maxSteps) {
      throw new ImgfsError(
        'too-large',
        'merge layers: paths through symbolic links take too long to resolve',
      );
    }
  }

  private get mark(): number {
    return this.layer + 1;
  }

  /** Directories of a table that grows come later than its layer. */
  private growPlaces(count: number): void {
    const grown = new Uint32Array(Math.max(count, this.places.length * 2));
    grown.set(this.places);
    this.places = grown;
    const generations = new Uint32Array(grown.length);
    generations.set(this.placeGenerations);
    this.placeGenerations = generations;
  }

  private applyEntry(input: MergeInput, row: number): void {
    const { table } = input;
    const name = table.name(row);
    if (name === '') {
      this.inodes.describe(this.nodes.inode(rootNode), this.layer, row);
      this.nodes.touch(rootNode, this.mark);
      return;
    }
    if (input.raw !== true && name.startsWith(whiteoutPrefix)) {
      this.whiteout(table, row, name);
      return;
    }
    if (input.hidden?.has(name) === true && table.directoryPath(table.directory(row)) === '') return;
    const parent = this.parentOf(table, row);
    if (parent === none) return;
    const kind = table.kind(row);
    if (kind === 'directory') this.putDirectory(parent, name, row);
    else if (kind === 'hardlink') this.putLink(table, parent, name, row);
    else this.nodes.close(this.replace(parent, name, this.inodes.add(this.layer, row, false)));
  }

  private putDirectory(parent: number, name: Name, row: number): void {
    const existing = this.nodes.lookup(parent, name);
    if (existing !== none && this.isDirectory(existing)) {
      this.inodes.describe(this.nodes.inode(existing), this.layer, row);
      this.nodes.touch(existing, this.mark);
    } else {
      this.replace(parent, name, this.inodes.add(this.layer, row, true));
    }
  }

  private putLink(table: EntryTable, parent: number, name: Name, row: number): void {
    const path = cleanPath(table.linkPath(row));
    if (typeof path === 'string') return this.note(table, row, `hard link: ${path}`);
    const directory = this.resolve(path.directory);
    const isThere = directory !== undefined && directory.missing.length === 0;
    const target = isThere && path.base !== '' ? this.nodes.lookup(directory.node, path.base) : none;
    if (target === none) {
      this.isUncertain = true;
      return this.note(table, row, 'hard link to a name that is not there');
    }
    if (this.isDirectory(target)) return this.note(table, row, 'hard link to a directory');
    if (target === this.nodes.lookup(parent, name)) return this.note(table, row, 'hard link to itself');
    this.remove(this.nodes.lookup(parent, name));
    // Whether the target is in what was removed must be known now.
    while (this.isBusy) this.proceed(Infinity);
    if (!this.nodes.isAlive(target)) return this.note(table, row, 'hard link into what it replaces');
    this.nodes.close(this.replace(parent, name, this.nodes.inode(target)));
  }

  /** Put an inode under a name in place of whatever is there. */
  private replace(parent: number, name: Name, inode: number): number {
    this.remove(this.nodes.lookup(parent, name));
    const node = this.nodes.put(parent, name, inode);
    this.nodes.touch(node, this.mark);
    return node;
  }

  private whiteout(table: EntryTable, row: number, name: Name): void {
    const hidden = name.slice(whiteoutPrefix.length) as Name;
    if (hidden === '' || hidden === '.' || hidden === '..') {
      this.note(table, row, 'whiteout of nothing');
      return;
    }
    const isOpaque = name === opaqueName;
    // Other names of aufs (.wh..wh.plnk, .wh..wh.aufs) mean nothing here.
    if (!isOpaque && hidden.startsWith(whiteoutPrefix)) return;
    const place = this.resolve(table.directoryPath(table.directory(row)));
    if (place === undefined || place.missing.length > 0) {
      this.isUncertain = true;
      return;
    }
    if (isOpaque) this.nodes.close(place.node);
    else this.nodes.closeName(place.node, hidden);
    if (!isOpaque) {
      const node = this.nodes.lookup(place.node, hidden);
      if (node !== none) this.removeIfLower(node);
      return;
    }
    pushNode(this.lowered, this.nodes.firstChild(place.node));
  }

  /** Remove what lower layers have at and below a node; what this layer has put there stays. */
  private removeIfLower(node: number): void {
    if (this.nodes.touchedBy(node) !== this.mark) this.kill(node);
    else pushNode(this.lowered, this.nodes.firstChild(node));
  }

  /** Remove a node and everything below it. */
  private remove(start: number): void {
    if (start !== none) this.kill(start);
  }

  /** The node itself goes at once, what is below it later. */
  private kill(node: number): void {
    this.nodes.kill(node);
    const isDirectory = this.isDirectory(node);
    if (isDirectory || this.linkTarget(node) !== undefined) this.generation += 1;
    if (isDirectory) pushNode(this.doomed, this.nodes.firstChild(node));
  }

  private isDirectory(node: number): boolean {
    return this.inodes.isDirectory(this.nodes.inode(node));
  }

  /** Target of a symbolic link; undefined for everything else. */
  private linkTarget(node: number): Name | undefined {
    const inode = this.nodes.inode(node);
    const table = this.tables[this.inodes.layer(inode)];
    if (table === undefined || table.kind(this.inodes.row(inode)) !== 'symlink') return undefined;
    return table.linkPath(this.inodes.row(inode));
  }

  /** The directory that an entry lies in, made if need be; `none` when its path is a loop of links. */
  private parentOf(table: EntryTable, row: number): number {
    const id = table.directory(row);
    if (id >= this.places.length) this.growPlaces(table.directoryCount);
    if (this.placeGenerations[id] === this.generation) return this.places[id] ?? none;
    const place = this.resolve(table.directoryPath(id));
    if (place === undefined) {
      this.isUncertain = true;
      this.note(table, row, 'too many symbolic links in its path');
      return none;
    }
    if (place.missing.length > 0) this.isUncertain = true;
    let { node } = place;
    for (const name of place.missing) {
      node = this.replace(node, name as Name, this.inodes.add(implicitLayer, 0, true));
    }
    this.places[id] = node;
    this.placeGenerations[id] = this.generation;
    return node;
  }

  /** Follow a path inside the root, all its links too. Undefined: too many links. */
  private resolve(path: string): Place | undefined {
    const place: Place = { node: rootNode, missing: [] };
    const rest = split(path).reverse();
    let links = 0;
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      this.steps += 1;
      if (part === '..') {
        if (place.missing.pop() === undefined) place.node = this.nodes.parent(place.node);
        continue;
      }
      const node = place.missing.length > 0 ? none : this.nodes.lookup(place.node, part as Name);
      if (node !== none && this.isDirectory(node)) {
        place.node = node;
        continue;
      }
      const target = node === none ? undefined : this.linkTarget(node);
      if (target === undefined) {
        place.missing.push(part);
        continue;
      }
      links += 1;
      if (links > maxLinks) return undefined;
      if (target.startsWith('/')) place.node = rootNode;
      rest.push(...split(target).reverse());
    }
    return place;
  }

  private note(table: EntryTable, row: number, reason: string): void {
    this.problemCount += 1;
    if (this.problems.length >= keptProblems) return;
    this.problems.push({ layer: this.layer, path: table.path(row), reason });
  }
}
