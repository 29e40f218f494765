/** The tree of one layer alone while its entries arrive. */
import type { CallOptions } from '../../store/store.js';
import type { Layer } from '../layer.js';
import { Turns } from '../turns.js';
import { MergedTree } from './merged-tree.js';
import { Merger, stepsAtOnce, type MergeInput } from './merger.js';

export class GrowingTree {
  private readonly layer: Layer;
  private input: MergeInput | undefined;
  private merger = new Merger();
  private tree: MergedTree | undefined;
  private rows = 0;
  private work: Promise<unknown> = Promise.resolve();

  constructor(layer: Layer) {
    this.layer = layer;
  }

  /** The tree of all entries known by now. @throws ImgfsError `too-large`, `interrupted`. */
  async upToNow(options?: CallOptions): Promise<MergedTree> {
    const work = this.work.catch(() => undefined).then(() => this.apply(options));
    this.work = work;
    return work;
  }

  private async apply(options?: CallOptions): Promise<MergedTree> {
    const { table } = this.layer;
    // A pass that starts over has a table of its own.
    if (this.tree === undefined || this.input?.table !== table) {
      this.input = { table, raw: true };
      this.merger = new Merger();
      this.merger.startLayer(this.input);
      this.tree = MergedTree.growing(this.merger, [this.input]);
      this.rows = 0;
    }
    const { input, tree } = this;
    const turns = new Turns(options?.signal);
    for (; this.rows < table.count; this.rows += 1) {
      this.merger.apply(input, this.rows);
      if (turns.step(4)) await turns.yield();
      while (this.merger.isBusy) if (turns.step(this.merger.proceed(stepsAtOnce))) await turns.yield();
    }
    return tree;
  }
}
