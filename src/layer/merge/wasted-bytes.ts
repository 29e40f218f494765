/** Bytes that an image carries and no container sees: files that higher layers replace or remove. */
import type { Name } from '../../oci/name.js';
import type { EntryTable } from '../index/entry-table.js';
import type { MergedTree } from './merged-tree.js';

export interface LayerWaste {
  readonly files: number;
  /** Bytes of all files of the layer, before compression. */
  readonly bytes: number;
  readonly wastedFiles: number;
  readonly wastedBytes: number;
}

export interface WastedFile {
  /** Position of the layer, the lowest is 0. */
  readonly layer: number;
  readonly path: Name;
  readonly bytes: number;
}

export interface Waste {
  /** The lowest layer first. */
  readonly layers: readonly LayerWaste[];
  /** The largest first. */
  readonly largest: readonly WastedFile[];
}

/** For each layer a byte per row: 1 for entries that the tree shows. */
function visibleRows(tree: MergedTree, tables: readonly EntryTable[]): readonly Uint8Array[] {
  const visible = tables.map((table) => new Uint8Array(table.count));
  const pending = [tree.root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    const entry = tree.entryOf(node);
    const rows = entry === undefined ? undefined : visible[entry.layer];
    if (entry !== undefined && rows !== undefined) rows[entry.row] = 1;
    for (const child of tree.children(node)) pending.push(child);
  }
  return visible;
}

/** Count them. `keep`: how many of the largest are named. `tables` are those that the tree was made of. */
export function wastedBytes(tree: MergedTree, tables: readonly EntryTable[], keep: number): Waste {
  const visible = visibleRows(tree, tables);
  const all: WastedFile[] = [];
  const layers = tables.map((table, layer): LayerWaste => {
    const sum = { files: 0, bytes: 0, wastedFiles: 0, wastedBytes: 0 };
    for (let row = 0; row < table.count; row += 1) {
      if (table.kind(row) !== 'file' || table.name(row).startsWith('.wh.')) continue;
      const bytes = table.size(row);
      sum.files += 1;
      sum.bytes += bytes;
      if (visible[layer]?.[row] === 1) continue;
      sum.wastedFiles += 1;
      sum.wastedBytes += bytes;
      all.push({ layer, path: table.path(row), bytes });
    }
    return sum;
  });
  return { layers, largest: all.toSorted((a, b) => b.bytes - a.bytes).slice(0, keep) };
}
