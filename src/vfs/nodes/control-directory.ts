/** `/.imgfs/`: what the mount says about itself (DESIGN section 7). */
import type { VfsNode } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { toNs } from './answers.js';
import { LiveFile } from './bytes-file.js';
import { StaticDirectory } from './static-directory.js';

export const controlDirectoryName = '.imgfs';

export function controlDirectory(context: TreeContext): StaticDirectory {
  const now = (): bigint => toNs(context.now());
  const files = [...context.controlFiles].map(([name, render]): [string, VfsNode] => [
    name,
    new LiveFile(render, now),
  ]);
  return new StaticDirectory(new Map(files), context.lifetimes.immutableMs, context.mountTimeNs);
}
