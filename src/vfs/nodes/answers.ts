/** Small helpers that all nodes answer with. */
import type { Found, ListedChild, NodeStat, VfsNode } from '../node.js';
import { nameFromText } from '../name.js';

/**
 * Directories are writable by their owner although they take no writes yet: copies made of them with `cp -r` could
 * not be removed otherwise.
 */
export const directoryMode = 0o755;
export const fileMode = 0o444;

export function found(node: VfsNode, entryTtlMs: number): Found {
  return { node, entryTtlMs };
}

/** There is no such name, and the kernel may believe it for so long. */
export function missing(entryTtlMs: number): Found {
  return { node: undefined, entryTtlMs };
}

export function directoryStat(mtimeNs: bigint): NodeStat {
  return { size: 0, mode: directoryMode, mtimeNs };
}

export function fileStat(size: number, mtimeNs: bigint): NodeStat {
  return { size, mode: fileMode, mtimeNs };
}

/** A child whose node is at hand. */
export function listed(name: string, answer: Found): ListedChild[] {
  return answer.node === undefined
    ? []
    : [{ name: nameFromText(name), type: answer.node.type, found: answer }];
}

/** Milliseconds to nanoseconds. */
export function toNs(milliseconds: number): bigint {
  return BigInt(Math.trunc(milliseconds)) * 1_000_000n;
}
