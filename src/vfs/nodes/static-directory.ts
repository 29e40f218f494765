/** A directory whose names and nodes are known beforehand. */
import { nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, Listing, NodeStat, VfsNode } from '../node.js';
import { directoryStat, found, listed, missing } from './answers.js';

export class StaticDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #children: ReadonlyMap<string, VfsNode>;
  readonly #ttlMs: number;
  readonly #mtimeNs: bigint;

  /** `ttlMs`: how long names and attributes may be believed. */
  constructor(children: ReadonlyMap<string, VfsNode>, ttlMs: number, mtimeNs: bigint) {
    this.#children = children;
    this.#ttlMs = ttlMs;
    this.attrTtlMs = ttlMs;
    this.#mtimeNs = mtimeNs;
  }

  stat(): NodeStat {
    return directoryStat(this.#mtimeNs);
  }

  lookup(name: Name): Found {
    const node = this.#children.get(nameToText(name));
    return node === undefined ? missing(this.#ttlMs) : found(node, this.#ttlMs);
  }

  list(): Listing {
    const children = [...this.#children].flatMap(([name, node]) => listed(name, found(node, this.#ttlMs)));
    return { children, immutable: true };
  }
}
