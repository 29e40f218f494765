/** One tree as it is shown: where its nodes get what they need. */
import type { BlobSource, ContentCache } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Layer } from '../../layer/layer.js';
import type { CallOptions } from '../../store/store.js';
import type { Lifetimes } from '../lifetimes.js';
import type { LoadedTree, OpenTrees, TreeSpec } from './open-trees.js';
import type { Presentation } from './presentation.js';

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

  constructor(parts: ViewParts, spec: TreeSpec, firstLayer = 0) {
    this.parts = parts;
    this.spec = spec;
    this.firstLayer = firstLayer;
  }

  get immutableMs(): number {
    return this.parts.lifetimes.immutableMs;
  }

  peek(): LoadedTree | undefined {
    return this.parts.trees.peek(this.spec);
  }

  /** @throws ImgfsError as `OpenTrees.load`. */
  load(options: CallOptions): Promise<LoadedTree> {
    return this.parts.trees.load(this.spec, options);
  }

  /** `use` on the tree: at once when it is in memory. */
  with<Value>(options: CallOptions, use: (loaded: LoadedTree) => Value): Value | Promise<Value> {
    const loaded = this.peek();
    return loaded === undefined ? this.load(options).then(use) : use(loaded);
  }

  source(layer: number): BlobSource {
    const source = this.spec.sources[layer];
    if (source === undefined) throw new ImgfsError('internal', 'an entry of no layer');
    return source;
  }

  /** A layer for one open file; its own to close, also when the tree is let go. */
  async openLayer(layer: number, options: CallOptions): Promise<Layer> {
    const opened = await this.parts.trees.layers.openLayer(this.source(layer), options);
    try {
      await opened.whenReady(options);
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }
}
