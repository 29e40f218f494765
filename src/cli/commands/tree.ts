/** `imgfs tree`: directories drawn as a tree. */
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes } from '../output.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';
import type { FoundNode, TreeWalker } from '../tree-walker.js';

interface Drawing {
  readonly walker: TreeWalker;
  readonly context: CommandContext;
  readonly maxDepth: number;
  readonly sizes: boolean;
}

async function draw(drawing: Drawing, directory: FoundNode, indent: string, depth: number): Promise<void> {
  const { walker, context, maxDepth, sizes } = drawing;
  const { out, signal } = context;
  // The last child is drawn differently, so one is held back; it stays known while the next is asked for.
  const names: string[] = [];
  for await (const { name } of walker.list(directory)) names.push(name);
  names.sort();
  for (const [place, name] of names.entries()) {
    signal.throwIfAborted();
    const isLast = place === names.length - 1;
    const node = await walker.child(directory, name);
    const { type, size } = node.attributes;
    const target = type === 'symlink' ? ` -> ${await walker.readlink(node.inode)}` : '';
    const length = sizes && type === 'file' ? `  [${formatBytes(size)}]` : '';
    out.line(`${indent}${isLast ? '└── ' : '├── '}${name}${target}${length}`);
    if (type === 'directory' && depth < maxDepth)
      await draw(drawing, node, `${indent}${isLast ? '    ' : '│   '}`, depth + 1);
    walker.release(node);
  }
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const text = String(args['path']);
  const maxDepth = args['level'] === undefined ? Number.POSITIVE_INFINITY : Number(args['level']);
  await withTree(text, args, context, async (walker, components) => {
    const top = await walker.find(components);
    context.out.line(text);
    await draw({ walker, context, maxDepth, sizes: args['size'] === true }, top, '', 1);
  });
}

export const treeCommand: Command = {
  usage: 'tree <path>',
  examples: [['imgfs tree -L 2 alpine:3.20:/', 'the first two levels of an image']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('path', { type: 'string', demandOption: true, describe: 'directory of the tree' })
      .option('level', { alias: 'L', type: 'number', requiresArg: true, describe: 'levels to show' })
      .option('size', { alias: 's', type: 'boolean', default: false, describe: 'sizes of files' }),
  run,
};
