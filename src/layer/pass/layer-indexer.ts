/** What an index pass is driven by. */
import type { IndexerStep } from '../native/layer-addon.js';

export interface LayerIndexer {
  /** Takes bytes; what was not consumed must be given again. `finish`: these are the last. */
  step(input: Uint8Array, finish: boolean): Promise<IndexerStep>;
  /** Write decoded bytes at their offset to this descriptor from now on. */
  keepDecoded(fd: number): void;
  /** State to go on from later; undefined when this indexer cannot. */
  save(): Uint8Array | undefined;
}
