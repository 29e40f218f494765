/** Notices who goes through all of a tree, and has what is left of its layers fetched meanwhile. */
import type { Layer } from '../../layer/layer.js';
import { createLogger } from '../../observe/log.js';

const log = createLogger('vfs');

/**
 * A tree of which so much was opened is being copied, searched or packed. Until then a layer is fetched ahead of its
 * readers alone, and the line rests where the layer they are in has arrived: with 317 MB in six layers it did so for 3 s
 * of 18.
 */
const wholeShare = 0.125;
/** Small trees come as fast without. */
const leastBytes = 16 << 20;
/** Compressed bytes asked for at once, on one connection: readers that wait get their share of the line. */
const windowBytes = 8 << 20;
/** Who opened nothing for so long has gone. */
const restMs = 3000;

export class WholeWalk {
  private readonly layers: readonly Layer[];
  private readonly totalBytes: number;
  /** Rows that were opened, one bit each, by layer. */
  private readonly opened: Uint8Array[] = [];
  private openedBytes = 0;
  private lastOpenAt = 0;
  private isFetching = false;
  private isDone = false;

  constructor(layers: readonly Layer[]) {
    this.layers = layers;
    this.totalBytes = layers.reduce((sum, { decodedSize }) => sum + (decodedSize ?? Infinity), 0);
  }

  /** Note that the file at `row` of a layer, counted from the lowest, was opened. */
  note(layer: number, row: number): void {
    if (this.isDone) return;
    this.lastOpenAt = performance.now();
    this.count(layer, row);
    if (this.isFetching || this.openedBytes < Math.max(leastBytes, wholeShare * this.totalBytes)) return;
    this.isFetching = true;
    this.fetchAll().then(
      (isDone) => {
        this.isDone = isDone;
        this.isFetching = false;
      },
      (error: unknown) => {
        // What stands in the way is told to who reads.
        this.isDone = true;
        log.debug('fetching a whole image ahead ended', { error: String(error) });
      },
    );
  }

  private count(layer: number, row: number): void {
    const table = this.layers[layer]?.table;
    if (table === undefined) return;
    const bits = (this.opened[layer] ??= new Uint8Array(Math.ceil(table.count / 8)));
    const before = bits[row >>> 3] ?? 0;
    const after = before | (1 << (row & 7));
    if (before === after) return;
    bits[row >>> 3] = after;
    this.openedBytes += table.size(row);
  }

  /** False when nobody goes on. */
  private async fetchAll(): Promise<boolean> {
    for (const layer of this.layers) {
      const { size } = layer.descriptor;
      for (let start = 0; start < size; start += windowBytes) {
        if (performance.now() - this.lastOpenAt > restMs) return false;
        await layer.fetchAhead({ start, end: Math.min(size, start + windowBytes) });
      }
    }
    return true;
  }
}
