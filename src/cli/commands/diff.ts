/** `imgfs diff`: what differs between the root file systems of two images. */
import { exitCodes } from '../../errors/codes.js';
import { compareTrees, isSameEntry, type TreeChange } from '../../layer/merge/compare-trees.js';
import { nameToText } from '../../oci/name.js';
import type { LoadedTree } from '../../vfs/inside/open-trees.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImageTrees } from '../image-trees.js';
import { storeOptions } from '../settings.js';

const letters = { added: 'A', deleted: 'D', changed: 'C' } as const;

const compared = ({ merged, layers }: LoadedTree) => ({
  tree: merged,
  layers: layers.map(({ descriptor }) => descriptor.digest),
});

/** Bytes compared at a time. */
const chunkBytes = 1024 * 1024;

async function sameContent(
  a: LoadedTree,
  nodeA: number,
  b: LoadedTree,
  nodeB: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (isSameEntry(compared(a), nodeA, compared(b), nodeB)) return true;
  const { size } = a.merged.attributes(nodeA);
  const [left, right] = [a.merged.entryOf(nodeA), b.merged.entryOf(nodeB)];
  if (left === undefined || right === undefined) return true;
  const buffers = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)] as const;
  for (let position = 0; position < size; position += chunkBytes) {
    const [one = 0, two = 0] = await Promise.all([
      a.layers[left.layer]?.readEntry(left.row, buffers[0], position, { signal }),
      b.layers[right.layer]?.readEntry(right.row, buffers[1], position, { signal }),
    ]);
    if (one !== two || !buffers[0].subarray(0, one).equals(buffers[1].subarray(0, two))) return false;
  }
  return true;
}

async function run(args: Arguments, context: CommandContext): Promise<number> {
  const { out, signal } = context;
  const references = [String(args['before']), String(args['after'])];
  const withTimes = args['times'] === true;
  let count = 0;
  await withImageTrees(references, args, context, async ([before, after]) => {
    if (before === undefined || after === undefined) return;
    const differencesOf = async (change: TreeChange): Promise<readonly string[]> => {
      const found = change.differences.filter((one) => withTimes || one !== 'mtime');
      const nodes = [change.before, change.after] as const;
      if (args['content'] !== true || nodes[0] === undefined || nodes[1] === undefined) {
        // A file of another layer with another time: what is in it was written anew.
        const isFile = change.before !== undefined && before.merged.kind(change.before) === 'file';
        const isRewritten = change.differences.includes('mtime') && isFile && found.length === 0;
        return isRewritten ? ['mtime'] : found;
      }
      if (change.differences.includes('type') || before.merged.kind(nodes[0]) !== 'file') return found;
      const same =
        !change.differences.includes('size') &&
        (await sameContent(before, nodes[0], after, nodes[1], signal));
      return same ? found : [...found, 'content'];
    };
    for (const change of compareTrees(compared(before), compared(after))) {
      signal.throwIfAborted();
      const differences = await differencesOf(change);
      if (change.kind === 'changed' && differences.length === 0) continue;
      count += 1;
      const path = `/${nameToText(change.path)}`;
      if (out.json) out.document({ change: change.kind, path, differences });
      else
        out.line(
          `${letters[change.kind]} ${path}${differences.length === 0 ? '' : `  (${differences.join(', ')})`}`,
        );
    }
  });
  return count > 0 ? exitCodes.other : exitCodes.ok;
}

export const diffCommand: Command = {
  usage: 'diff <before> <after>',
  examples: [
    [
      'imgfs diff alpine:3.19 alpine:3.20',
      'A added, D deleted, C changed; exit code 1 when anything differs',
    ],
    ['imgfs diff --content a b', 'compare the bytes of files that two layers have'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('before', { type: 'string', demandOption: true, describe: 'image' })
      .positional('after', { type: 'string', demandOption: true, describe: 'image' })
      .option('times', { type: 'boolean', default: false, describe: 'count other times as differences' })
      .option('content', { type: 'boolean', default: false, describe: 'read files that may differ' }),
  run,
};
