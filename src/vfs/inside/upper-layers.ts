/** The upper layers of an image that are ready while others are on their way, or cannot be read: what they settle. */
import type { Layer } from '../../layer/layer.js';
import { mergeUpperLayers } from '../../layer/merge/merge-layers.js';
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
}

export class UpperLayers {
  readonly #layers: (Layer | undefined)[];
  readonly #waiters = new Waiters();
  #from: number;
  #failed = -1;
  #made: { readonly from: number; readonly tree: Promise<UpperTree | undefined> } | undefined;

  constructor(count: number) {
    this.#layers = Array.from({ length: count }, () => undefined);
    this.#from = count;
  }

  /** All layers from this number on are ready; the number of layers when the top one is not. */
  get from(): number {
    return this.#from;
  }

  ready(index: number, layer: Layer): void {
    this.#layers[index] = layer;
    while (this.#from > 0 && this.#layers[this.#from - 1] !== undefined) this.#from -= 1;
    this.#waiters.wake();
  }

  /** A layer cannot be read: those below it settle nothing any more. */
  failed(index: number): void {
    this.#failed = Math.max(this.#failed, index);
    this.#waiters.wake();
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
    this.#waiters.wake();
  }

  /** Resolves when another layer is ready or failed. @throws ImgfsError `interrupted`. */
  changed(signal?: AbortSignal): Promise<void> {
    return this.#waiters.wait(signal);
  }

  /** What is settled; undefined when nothing is. Made once for each set of layers. @throws as `mergeUpperLayers`. */
  tree(options: CallOptions): Promise<UpperTree | undefined> {
    const from = this.#from;
    if (this.#made?.from !== from) this.#made = { from, tree: this.#make(from, options) };
    return this.#made.tree;
  }

  async #make(from: number, options: CallOptions): Promise<UpperTree | undefined> {
    const layers = this.#layers.slice(from).filter((layer) => layer !== undefined);
    if (layers.length === 0) return undefined;
    const merged = await mergeUpperLayers(layers, options);
    if (merged === undefined) return undefined;
    return { from, merged, layers, rows: layers.map((layer) => layer.identity).join(' ') };
  }
}
