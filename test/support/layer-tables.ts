/** Layers as entry tables, written as short lines, and trees printed the same way. */
import { EntryTable } from '../../src/layer/index/entry-table.js';
import { mergeTables } from '../../src/layer/merge/merge-layers.js';
import type { MergeInput } from '../../src/layer/merge/merger.js';
import type { MergedTree } from '../../src/layer/merge/merged-tree.js';
import type { Name } from '../../src/oci/name.js';
import { rawEntry, rawTar } from './raw-tar.js';
import { readTar } from './read-tar.js';

/** Table of an archive. */
export function tableOf(archive: Uint8Array): EntryTable {
  const table = new EntryTable();
  for (const entry of readTar(archive)) table.append(entry);
  return table;
}

/**
 * One entry from a line: `dir/`, `file=content`, `link->target`, `hard=>target`. A number behind `#` is the mode.
 */
function entryOf(line: string): Uint8Array {
  const [text = '', mode] = line.split('#', 2);
  const options = mode === undefined ? {} : { mode: Number.parseInt(mode, 8) };
  if (text.endsWith('/')) return rawEntry({ mode: 0o755, ...options, name: text, type: '5' });
  const [, name = '', sign, target = ''] = /^(.*?)(->|=>|=)(.*)$/s.exec(text) ?? [text, text, '=', ''];
  if (sign === '->') return rawEntry({ ...options, name, type: '2', linkName: target });
  if (sign === '=>') return rawEntry({ ...options, name, type: '1', linkName: target });
  return rawEntry({ ...options, name }, target);
}

/** Table of a layer written as lines. */
export const layerOf = (...lines: readonly string[]): EntryTable => tableOf(rawTar(...lines.map(entryOf)));

/** Merge layers written as lines, the lowest first. */
export function merge(...layers: readonly (readonly string[])[]): Promise<MergedTree> {
  return mergeTables(layers.map((lines): MergeInput => ({ table: layerOf(...lines) })));
}

/** Paths of a tree, sorted: directories end in a slash, links show their target, files the layer they come from. */
export function show(tree: MergedTree): string[] {
  const lines: string[] = [];
  const visit = (node: number): void => {
    for (const child of tree.children(node)) {
      const path = tree.path(child);
      const layer = tree.entryOf(child)?.layer;
      const kind = tree.kind(child);
      if (kind === 'directory') lines.push(`${path}/${layer === undefined ? ' implicit' : ''}`);
      else if (kind === 'symlink') lines.push(`${path}->${tree.linkPath(child)}`);
      else lines.push(`${path} ${layer}`);
      if (kind === 'directory') visit(child);
    }
  };
  visit(tree.root);
  return lines.sort();
}

/** Attributes at a path. */
export function at(tree: MergedTree, path: string): ReturnType<MergedTree['attributes']> {
  const node = tree.find(path as Name);
  if (node === undefined) throw new Error(`${path} is not in the tree`);
  return tree.attributes(node);
}
