/** What differs between two trees, told from their indexes: no byte of a file is read. */
import type { Digest } from '../../oci/digest.js';
import type { Name } from '../../oci/name.js';
import type { MergedTree } from './merged-tree.js';

/** A tree, and the digests of the layers it is made of, the lowest first. */
export interface ComparedTree {
  readonly tree: MergedTree;
  readonly layers: readonly Digest[];
}

export type Difference = 'type' | 'mode' | 'owner' | 'size' | 'mtime' | 'target' | 'device' | 'xattrs';

export interface TreeChange {
  readonly kind: 'added' | 'deleted' | 'changed';
  /** Inside the root, without a leading slash. */
  readonly path: Name;
  readonly before: number | undefined;
  readonly after: number | undefined;
  readonly differences: readonly Difference[];
}

/** True when both nodes are one entry of one layer: nothing can differ. */
export function isSameEntry(a: ComparedTree, nodeA: number, b: ComparedTree, nodeB: number): boolean {
  const left = a.tree.entryOf(nodeA);
  const right = b.tree.entryOf(nodeB);
  if (left === undefined || right === undefined) return left === right;
  return left.row === right.row && a.layers[left.layer] === b.layers[right.layer];
}

function sameXattrs(a: ReadonlyMap<Name, Uint8Array>, b: ReadonlyMap<Name, Uint8Array>): boolean {
  if (a.size !== b.size) return false;
  for (const [name, value] of a) {
    const other = b.get(name);
    if (other === undefined || Buffer.compare(value, other) !== 0) return false;
  }
  return true;
}

function differencesOf(a: MergedTree, nodeA: number, b: MergedTree, nodeB: number): Difference[] {
  const left = a.attributes(nodeA);
  const right = b.attributes(nodeB);
  if (left.kind !== right.kind) return ['type'];
  const found: Difference[] = [];
  if (left.mode !== right.mode) found.push('mode');
  if (left.uid !== right.uid || left.gid !== right.gid) found.push('owner');
  if (left.size !== right.size && left.kind === 'file') found.push('size');
  if (left.mtimeNs !== right.mtimeNs) found.push('mtime');
  if (left.kind === 'symlink' && a.linkPath(nodeA) !== b.linkPath(nodeB)) found.push('target');
  if (left.devMajor !== right.devMajor || left.devMinor !== right.devMinor) found.push('device');
  if (!sameXattrs(a.xattrs(nodeA), b.xattrs(nodeB))) found.push('xattrs');
  return found;
}

const childrenByName = (tree: MergedTree, node: number): number[] =>
  [...tree.children(node)].toSorted((x, y) => (tree.name(x) < tree.name(y) ? -1 : 1));

/** A node that only one of the trees has, and everything below it. */
function* onlyOne(tree: MergedTree, top: number, kind: 'added' | 'deleted'): Generator<TreeChange> {
  const pending = [top];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    const place = kind === 'added' ? { before: undefined, after: node } : { before: node, after: undefined };
    yield { kind, path: tree.path(node), ...place, differences: [] };
    pending.push(...childrenByName(tree, node).reverse());
  }
}

/**
 * Changes that make `before` into `after`, sorted by directory. Files of equal size and time count as equal, as rsync
 * has it; compare contents to be sure.
 */
export function* compareTrees(before: ComparedTree, after: ComparedTree): Generator<TreeChange> {
  const pending: [number, number][] = [[before.tree.root, after.tree.root]];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [left, right] = pair;
    const [a, b] = [before.tree, after.tree];
    const names = new Map(childrenByName(b, right).map((child) => [b.name(child), child]));
    for (const child of childrenByName(a, left)) {
      const other = names.get(a.name(child));
      names.delete(a.name(child));
      if (other === undefined) {
        yield* onlyOne(a, child, 'deleted');
        continue;
      }
      const isSame = isSameEntry(before, child, after, other);
      const differences = isSame ? [] : differencesOf(a, child, b, other);
      if (!isSame) yield { kind: 'changed', path: a.path(child), before: child, after: other, differences };
      const directories = [a.kind(child) === 'directory', b.kind(other) === 'directory'];
      if (directories[0] === true && directories[1] === true) pending.push([child, other]);
      else if (directories[0] === true)
        for (const gone of childrenByName(a, child)) yield* onlyOne(a, gone, 'deleted');
      else if (directories[1] === true)
        for (const made of childrenByName(b, other)) yield* onlyOne(b, made, 'added');
    }
    for (const child of names.values()) yield* onlyOne(b, child, 'added');
  }
}
