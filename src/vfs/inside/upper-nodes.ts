/**
 * `rootfs/` while lower layers are on their way, or when one of them cannot be read: names that the layers above settle.
 *
 * A name that an upper layer has is in the whole tree, with the same content; one that it hides is not. Everything else
 * waits for all layers, and fails with them.
 */
import type { CallOptions } from '../../store/store.js';
import type { Name } from '../name.js';
import type { DirectoryNode, Found, Listing, MaybePromise, NodeStat, NodeXattrs } from '../node.js';
import { found, missing } from '../nodes/answers.js';
import { childrenOf, EntryDirectory, nodeFor, statOf, xattrsOf } from './entry-nodes.js';
import type { LoadedTree } from './open-trees.js';
import { TreeView } from './tree-view.js';
import type { UpperTree } from './upper-layers.js';

/** Attributes of a directory whose link count is not known yet. */
const unsettledMs = 0;
/** A name of a layer that is on its way: a later entry may replace it. */
const growingMs = 1000;

/** A view that has its tree: that of the upper layers. */
class UpperView extends TreeView {
  readonly #loaded: LoadedTree;

  constructor(view: TreeView, upper: UpperTree) {
    const sources = view.spec.sources.slice(upper.from);
    super(view.parts, { ...view.spec, sources }, view.firstLayer + upper.from);
    this.#loaded = upper;
  }

  override peek(): LoadedTree {
    return this.#loaded;
  }

  override async load(): Promise<LoadedTree> {
    return this.#loaded;
  }
}

/** What the upper layers say of a name in a directory, by its path inside the root; undefined: nothing certain. */
function upperLookup(view: TreeView, upper: UpperTree, path: Name, name: Name): Found | undefined {
  const { merged } = upper;
  const directory = merged.find(path);
  if (directory === undefined || merged.kind(directory) !== 'directory') return undefined;
  const child = merged.lookup(directory, name);
  const ttlMs = upper.isGrowing ? growingMs : view.immutableMs;
  if (child === undefined)
    return !upper.isGrowing && merged.isSettled(directory, name) ? missing(ttlMs) : undefined;
  const upperView = new UpperView(view, upper);
  if (merged.kind(child) !== 'directory') return found(nodeFor(upperView, upper, child), ttlMs);
  return found(new UpperDirectory(view, upperView, merged.path(child), child, upper.isGrowing), ttlMs);
}

/** Look up a name in a directory of `rootfs/` that is not all there yet. @throws as `TreeView.load`. */
export async function lookupUnsettled(
  view: TreeView,
  path: Name,
  name: Name,
  options: CallOptions,
): Promise<Found> {
  return view.settle(
    options,
    (upper) => upperLookup(view, upper, path, name),
    ({ merged }) => new EntryDirectory(view, merged.find(path) ?? merged.root).lookup(name, options),
  );
}

/** A directory that an upper layer has. It is that of the whole tree as soon as there is one. */
class UpperDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly #view: TreeView;
  readonly #upperView: UpperView;
  readonly #path: Name;
  /** Number in the tree of the upper layers. */
  readonly #node: number;
  readonly #isGrowing: boolean;

  constructor(view: TreeView, upperView: UpperView, path: Name, node: number, isGrowing: boolean) {
    this.#isGrowing = isGrowing;
    this.#view = view;
    this.#upperView = upperView;
    this.#path = path;
    this.#node = node;
  }

  get attrTtlMs(): number {
    return this.#whole() === undefined && !this.#isSettled() ? unsettledMs : this.#view.immutableMs;
  }

  stat(options: CallOptions): MaybePromise<NodeStat> {
    const whole = this.#whole();
    if (whole !== undefined) return whole.stat(options);
    const { nlink, ...stat } = statOf(this.#view, this.#upperView.peek(), this.#node);
    // How many directories are in it takes all layers to know: without a count it means "unknown".
    return this.#isSettled() && nlink !== undefined ? { ...stat, nlink } : stat;
  }

  xattrs(options: CallOptions): MaybePromise<NodeXattrs> {
    return this.#whole()?.xattrs(options) ?? xattrsOf(this.#upperView, this.#upperView.peek(), this.#node);
  }

  lookup(name: Name, options: CallOptions): MaybePromise<Found> {
    return this.#whole()?.lookup(name, options) ?? lookupUnsettled(this.#view, this.#path, name, options);
  }

  async list(options: CallOptions): Promise<Listing> {
    const whole = this.#whole();
    if (whole !== undefined) return whole.list(options);
    if (this.#isSettled()) return childrenOf(this.#upperView, this.#upperView.peek(), this.#node);
    const { merged } = await this.#view.load(options);
    // The tree of the upper layers is part of the whole.
    const node = merged.find(this.#path) ?? merged.root;
    return new EntryDirectory(this.#view, node).list(options);
  }

  #isSettled(): boolean {
    return !this.#isGrowing && this.#upperView.peek().merged.isSettled(this.#node);
  }

  #whole(): EntryDirectory | undefined {
    const node = this.#view.peek()?.merged.find(this.#path);
    return node === undefined ? undefined : new EntryDirectory(this.#view, node);
  }
}
