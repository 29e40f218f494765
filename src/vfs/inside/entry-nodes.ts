/** Entries of layers as nodes: what `rootfs/` and `layers/N/` are made of. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { FilePlace } from '../../content/shared-file.js';
import type { Layer } from '../../layer/layer.js';
import type { CallOptions } from '../../store/store.js';
import { nameToText, type Name } from '../name.js';
import type {
  ChildList,
  DirectoryNode,
  FileNode,
  Found,
  ListedChild,
  Listing,
  MaybePromise,
  NodeStat,
  NodeXattrs,
  OpenFile,
  SymlinkNode,
  VfsNode,
  XattrReader,
} from '../node.js';
import { found, missing } from '../nodes/answers.js';
import { openLayerFile } from './layer-file.js';
import type { LoadedTree } from './open-trees.js';
import { encodeDevice, isShownXattr, targetInside } from './presentation.js';
import type { TreeView } from './tree-view.js';

/** Directories between the root of the tree and a node. */
function depthOf({ merged }: LoadedTree, node: number): number {
  let depth = 0;
  for (let at = merged.parent(node); at !== merged.root; at = merged.parent(at)) depth += 1;
  return depth;
}

function shownTarget(view: TreeView, loaded: LoadedTree, node: number): Name {
  const target = loaded.merged.linkPath(node);
  return view.parts.presentation.symlinks === 'raw' ? target : targetInside(target, depthOf(loaded, node));
}

/** What stat(2) shows. */
export function statOf(view: TreeView, loaded: LoadedTree, node: number): NodeStat {
  const { kind, mode, uid, gid, size, mtimeNs, nlink, devMajor, devMinor } = loaded.merged.attributes(node);
  const { owner, symlinks } = view.parts.presentation;
  const isDevice = kind === 'char' || kind === 'block';
  return {
    size: kind === 'symlink' && symlinks === 'inside' ? shownTarget(view, loaded, node).length : size,
    mode,
    mtimeNs,
    nlink,
    ...(owner === 'image' ? { owner: { uid, gid } } : {}),
    ...(isDevice ? { rdev: encodeDevice(devMajor, devMinor) } : {}),
  };
}

/** How much of an entry's bytes lies decoded on disk, in whole percent. */
function cachedPercent(loaded: LoadedTree, node: number): string | undefined {
  const entry = loaded.merged.entryOf(node);
  if (entry === undefined || loaded.merged.kind(node) !== 'file') return undefined;
  const layer = loaded.layers[entry.layer];
  const { size } = loaded.merged.attributes(node);
  const start = layer?.table.dataOffset(entry.row) ?? 0;
  const end = start + size;
  const there = (layer?.backing()?.present({ start, end }) ?? []).reduce(
    (sum, range) => sum + Math.min(end, range.end) - Math.max(start, range.start),
    0,
  );
  return String(size === 0 ? 100 : Math.floor((100 * there) / size));
}

/** Extended attributes of the entry, and what we know of it. */
export function xattrsOf(view: TreeView, loaded: LoadedTree, node: number): NodeXattrs {
  const readers = new Map<string, XattrReader>();
  for (const [name, value] of loaded.merged.xattrs(node)) {
    if (isShownXattr(name, view.parts.presentation)) readers.set(nameToText(name), () => value);
  }
  const entry = loaded.merged.entryOf(node);
  if (entry === undefined) return readers;
  readers.set('user.oci.layer', () => view.source(entry.layer).descriptor.digest);
  readers.set('user.imgfs.layer', () => String(view.firstLayer + entry.layer));
  if (loaded.merged.kind(node) !== 'file') return readers;
  readers.set('user.imgfs.cached', () => cachedPercent(loaded, node));
  readers.set('user.imgfs.index', () => loaded.layers[entry.layer]?.origin);
  readers.set('user.imgfs.verified', () => (loaded.layers[entry.layer]?.isVerified === true ? 'yes' : 'no'));
  return readers;
}

/** What all entries have in common. */
class EntryNode implements VfsNode {
  readonly type: VfsNode['type'];
  protected readonly view: TreeView;
  protected readonly node: number;

  constructor(view: TreeView, node: number, type: VfsNode['type']) {
    this.view = view;
    this.node = node;
    this.type = type;
  }

  get attrTtlMs(): number {
    return this.view.immutableMs;
  }

  stat(options: CallOptions): MaybePromise<NodeStat> {
    return this.view.with(options, (loaded) => statOf(this.view, loaded, this.node));
  }

  xattrs(options: CallOptions): MaybePromise<NodeXattrs> {
    return this.view.with(options, (loaded) => xattrsOf(this.view, loaded, this.node));
  }
}

/** An entry that is no directory: one inode wherever it shows up. */
class ContentNode extends EntryNode {
  readonly identity: string;

  constructor(view: TreeView, node: number, type: VfsNode['type'], identity: string) {
    super(view, node, type);
    this.identity = identity;
  }
}

class EntryFile extends ContentNode implements FileNode {
  declare readonly type: 'file';

  place(): FilePlace | undefined {
    const { layer, row } = this.#entry(this.view.peek());
    const file = layer?.isVerified === true ? layer.sharedFile() : undefined;
    // A file with holes lies in pieces.
    if (layer === undefined || file === undefined || layer.table.sparse(row) !== undefined) return undefined;
    return { file, offset: layer.table.dataOffset(row) };
  }

  passed(): void {
    const loaded = this.view.peek();
    const { layer, position, row } = this.#entry(loaded);
    if (loaded === undefined || layer === undefined) return;
    this.view.parts.trees.noteOpen(loaded, position, row);
    layer.passed(layer.table.dataOffset(row));
  }

  #entry(loaded: LoadedTree | undefined): {
    readonly layer: Layer | undefined;
    readonly position: number;
    readonly row: number;
  } {
    const { layer: position, row } = loaded?.merged.entryOf(this.node) ?? { layer: 0, row: 0 };
    return { layer: loaded?.layers[position], position, row };
  }

  async open(options: CallOptions): Promise<OpenFile> {
    const loaded = this.view.peek() ?? (await this.view.load(options));
    const { layer: position, row } = loaded.merged.entryOf(this.node) ?? { layer: 0, row: 0 };
    const layer = await this.view.openLayer(position, options, row);
    const { table } = layer;
    const { layers } = this.view.parts.trees;
    const wanted = layers.canonicalRows(loaded.layers[position]?.identity ?? layer.identity);
    if (layers.canonicalRows(layer.identity) !== wanted) {
      await layer.close();
      throw new ImgfsError('stale', 'the layer is shown by another index now', {
        hint: 'look the path up again',
      });
    }
    this.view.parts.trees.noteOpen(loaded, position, row);
    const blob =
      layer.format === 'plain'
        ? await this.view.parts.content.open(this.view.source(position), options)
        : undefined;
    const extent =
      table.sparse(row) === undefined ? { start: table.dataOffset(row), size: table.size(row) } : undefined;
    return openLayerFile(layer, blob, extent, (buffer, position, call) =>
      layer.readEntry(row, buffer, position, call),
    );
  }
}

class EntrySymlink extends ContentNode implements SymlinkNode {
  declare readonly type: 'symlink';

  target(): Name | undefined {
    const loaded = this.view.peek();
    return loaded === undefined ? undefined : shownTarget(this.view, loaded, this.node);
  }

  readlink(options: CallOptions): MaybePromise<Name> {
    return this.view.with(options, (loaded) => shownTarget(this.view, loaded, this.node));
  }
}

export class EntryDirectory extends EntryNode implements DirectoryNode {
  declare readonly type: 'directory';

  constructor(view: TreeView, node: number) {
    super(view, node, 'directory');
  }

  get listsAtOnce(): boolean {
    return this.view.peek() !== undefined;
  }

  lookup(name: Name, options: CallOptions): MaybePromise<Found> {
    return this.view.with(options, (loaded) => {
      const child = loaded.merged.lookup(this.node, name);
      const ttlMs = this.view.immutableMs;
      return child === undefined ? missing(ttlMs) : found(nodeFor(this.view, loaded, child), ttlMs);
    });
  }

  list(options: CallOptions): MaybePromise<Listing> {
    return this.view.with(options, (loaded) => childrenOf(this.view, loaded, this.node));
  }
}

/** All that a directory holds. */
export function childrenOf(view: TreeView, loaded: LoadedTree, node: number): Listing {
  return { children: new Children(view, loaded, node), immutable: true, complete: true };
}

/** Children of a directory, made when they are read: nothing is held for the rest of 100,000. */
class Children implements ChildList {
  readonly #view: TreeView;
  readonly #loaded: LoadedTree;
  readonly #node: number;
  readonly length: number;

  constructor(view: TreeView, loaded: LoadedTree, node: number) {
    this.#view = view;
    this.#loaded = loaded;
    this.#node = node;
    this.length = loaded.merged.childCount(node);
  }

  slice(start: number, end: number): ListedChild[] {
    const { merged } = this.#loaded;
    const page: ListedChild[] = [];
    for (const child of merged.children(this.#node, Math.min(start, this.length), Math.max(0, end - start))) {
      const node = nodeFor(this.#view, this.#loaded, child);
      page.push({ name: merged.name(child), type: node.type, found: found(node, this.#view.immutableMs) });
    }
    return page;
  }
}

/** The node of an entry. */
export function nodeFor(view: TreeView, loaded: LoadedTree, node: number): VfsNode {
  const { merged } = loaded;
  const kind = merged.kind(node);
  if (kind === 'directory') return new EntryDirectory(view, node);
  const entry = merged.entryOf(node);
  // The layer's digest, and while it is shown by an index of its image, what binds that: another image may hold the
  // same layer with an index that says something else.
  const rows = loaded.layers[entry?.layer ?? 0]?.identity ?? '';
  const identity = `entry ${rows} ${entry?.row ?? 0}`;
  if (kind === 'file') return new EntryFile(view, node, kind, identity);
  if (kind !== 'symlink') return new ContentNode(view, node, kind, identity);
  // A rewritten target depends on where the link stands.
  const place = view.parts.presentation.symlinks === 'raw' ? '' : ` ${depthOf(loaded, node)}`;
  return new EntrySymlink(view, node, kind, `${identity}${place}`);
}
