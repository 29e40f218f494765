/** The upper layers of an image that are ready while others are on their way, or cannot be read: what they settle. */
import type { Layer } from '../../layer/layer.js';
import { mergeUpperLayers } from '../../layer/merge/merge-layers.js';
import { GrowingTree } from '../../layer/merge/growing-tree.js';
import type { MergedTree } from '../../layer/merge/merged-tree.js';
import { Waiters } from '../../layer/waiters.js';
import type { CallOptions } from '../../store/store.js';

/** The tree of the upper layers; `layers[0]` is number `from` of the image. */
export interface UpperTree {
  readonly from: number;
  readonly merged: MergedTree;
  readonly layers: readonly Layer[];
  /** As `LoadedTree.rows`. */
  readonly rows: string;
  /** More names may come, and others may replace these: the layer is still on its way. */
  readonly isGrowing: boolean;
}

export class UpperLayers {
  readonly #layers: (Layer | undefined)[];
  readonly #waiters = new Waiters();
  #from: number;
  #failed = -1;
  #version = 0;
  #growing: { readonly layer: Layer; readonly tree: GrowingTree } | undefined;
  #made: { readonly from: number; readonly tree: Promise<UpperTree | undefined> } | undefined;

  constructor(count: number) {
    this.#layers = Array.from({ length: count }, () => undefined);
    this.#from = count;
  }

  /** Another number when something else is known. */
  get version(): number {
    return this.#version;
  }

  /** The one layer of a tree is on its way, and its entries may be believed before its digest is known to match. */
  grow(layer: Layer): void {
    this.#growing = { layer, tree: new GrowingTree(layer) };
    void this.#follow(layer);
  }

  async #follow(layer: Layer): Promise<void> {
    try {
      while (layer.progress().state === 'indexing' && this.#from > 0) {
        this.wake();
        await layer.whenChanged();
      }
    } catch {
      // Whoever waits for the layer is told.
    }
    this.wake();
  }

  ready(index: number, layer: Layer): void {
    this.#layers[index] = layer;
    while (this.#from > 0 && this.#layers[this.#from - 1] !== undefined) this.#from -= 1;
    this.wake();
  }

  /** A layer cannot be read: those below it settle nothing any more. */
  failed(index: number): void {
    this.#failed = Math.max(this.#failed, index);
    this.#growing = undefined;
    this.wake();
  }

  /** Number of the highest layer that failed; -1: none. */
  get highestFailed(): number {
    return this.#failed;
  }

  /** No more will be settled. */
  get isOver(): boolean {
    return this.#from <= this.#failed + 1;
  }

  /** Look again: something else is over. */
  wake(): void {
    this.#version += 1;
    this.#waiters.wake();
  }

  /** Resolves when another layer is ready or failed. @throws ImgfsError `interrupted`. */
  changed(signal?: AbortSignal): Promise<void> {
    return this.#waiters.wait(signal);
  }

  /** What is settled; undefined when nothing is. Made once for each set of layers. @throws as `mergeUpperLayers`. */
  tree(options: CallOptions): Promise<UpperTree | undefined> {
    const from = this.#from;
    if (this.#growing !== undefined) return this.#grown(this.#growing, options);
    if (this.#made?.from !== from) this.#made = { from, tree: this.#make(from, options) };
    return this.#made.tree;
  }

  async #make(from: number, options: CallOptions): Promise<UpperTree | undefined> {
    const layers = this.#layers.slice(from).filter((layer) => layer !== undefined);
    if (layers.length === 0) return undefined;
    const merged = await mergeUpperLayers(layers, options);
    if (merged === undefined) return undefined;
    const rows = layers.map((layer) => layer.identity).join(' ');
    return { from, merged, layers, rows, isGrowing: false };
  }

  async #grown(
    { layer, tree }: { readonly layer: Layer; readonly tree: GrowingTree },
    options: CallOptions,
  ): Promise<UpperTree> {
    const merged = await tree.upToNow(options);
    return { from: 0, merged, layers: [layer], rows: layer.identity, isGrowing: true };
  }
}
