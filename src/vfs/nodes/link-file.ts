/** A symbolic link whose target is known when the node is made. */
import { nameFromText, type Name } from '../name.js';
import type { NodeStat, SymlinkNode } from '../node.js';

export class LinkNode implements SymlinkNode {
  readonly type = 'symlink';
  readonly attrTtlMs: number;
  readonly #target: Name;
  readonly #mtimeNs: bigint;

  constructor(target: string, attrTtlMs: number, mtimeNs: bigint) {
    this.#target = nameFromText(target);
    this.attrTtlMs = attrTtlMs;
    this.#mtimeNs = mtimeNs;
  }

  stat(): NodeStat {
    return { size: this.#target.length, mode: 0o777, mtimeNs: this.#mtimeNs };
  }

  readlink(): Name {
    return this.#target;
  }
}
