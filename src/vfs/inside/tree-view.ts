/** One tree as it is shown: where its nodes get what they need. */
import type { ContentCache } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Layer } from '../../layer/layer.js';
import type { LayerSource } from '../../layer/layer-source.js';
import type { CallOptions } from '../../store/store.js';
import type { Lifetimes } from '../lifetimes.js';
import type { LoadedTree, OpenTrees, TreeSpec } from './open-trees.js';
import type { Presentation } from './presentation.js';
import type { UpperTree } from './upper-layers.js';

export interface ViewParts {
  readonly trees: OpenTrees;
  readonly content: ContentCache;
  readonly presentation: Presentation;
  readonly lifetimes: Lifetimes;
}

export class TreeView {
  readonly parts: ViewParts;
  readonly spec: TreeSpec;
  /** Position of the lowest layer in its image. */
  readonly firstLayer: number;
  /** `LoadedTree.rows` of the tree that nodes of this view are of. */
  #rows: string | undefined;

  constructor(parts: ViewParts, spec: TreeSpec, firstLayer = 0) {
    this.parts = parts;
    this.spec = spec;
    this.firstLayer = firstLayer;
  }

  get immutableMs(): number {
    return this.parts.lifetimes.immutableMs;
  }

  peek(): LoadedTree | undefined {
    const loaded = this.parts.trees.peek(this.spec);
    return loaded === undefined || this.#isMine(loaded) ? loaded : undefined;
  }

  /** @throws ImgfsError as `OpenTrees.load`; `stale` when the tree is no longer made of the entries it was made of. */
  async load(options: CallOptions): Promise<LoadedTree> {
    const loaded = await this.parts.trees.load(this.spec, options);
    if (this.#isMine(loaded)) return loaded;
    throw new ImgfsError('stale', 'the layers are shown by another index now', {
      hint: 'look the path up again',
    });
  }

  /** Nodes are numbers in one tree: in a tree of other rows they would be other files. */
  #isMine({ rows }: LoadedTree): boolean {
    if (this.#rows === rows) return true;
    const { layers } = this.parts.trees;
    if (this.#rows !== undefined && layers.canonicalRows(this.#rows) !== layers.canonicalRows(rows))
      return false;
    this.#rows = rows;
    return true;
  }

  /** As `OpenTrees.settle`. */
  settle<Value>(
    options: CallOptions,
    early: (upper: UpperTree) => Value | undefined,
    use: (loaded: LoadedTree) => Value | Promise<Value>,
  ): Promise<Value> {
    return this.parts.trees.settle(this.spec, options, early, use);
  }

  /** `use` on the tree: at once when it is in memory. */
  with<Value>(options: CallOptions, use: (loaded: LoadedTree) => Value): Value | Promise<Value> {
    const loaded = this.peek();
    return loaded === undefined ? this.load(options).then(use) : use(loaded);
  }

  source(layer: number): LayerSource {
    const source = this.spec.sources[layer];
    if (source === undefined) throw new ImgfsError('internal', 'an entry of no layer');
    return source;
  }

  /** A layer for one open file, that of entry `row`; its own to close, also when the tree is let go. */
  async openLayer(layer: number, options: CallOptions, row?: number): Promise<Layer> {
    const opened = await this.parts.trees.layers.openLayer(this.source(layer), options);
    try {
      // Deferred: an entry that is known is enough, and reads wait for their bytes only.
      const isKnown = (): boolean =>
        this.parts.trees.streams && row !== undefined && row < opened.table.count;
      while (!isKnown() && opened.progress().state === 'indexing') await opened.whenChanged(options);
      if (!isKnown()) await opened.whenReady(options);
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }
}
