/** `imgfs find`: paths below a directory of the tree, from indexes alone. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { FileType } from '../../vfs/file-system.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';
import { insidePath } from '../tree-path.js';

const types: Readonly<Record<string, FileType>> = {
  f: 'file',
  d: 'directory',
  l: 'symlink',
  c: 'char',
  b: 'block',
  p: 'fifo',
  s: 'socket',
};

/** A shell pattern for one name as an expression: `*`, `?`, `[…]`. */
export function patternExpression(pattern: string): RegExp {
  const source = pattern.replace(/\[!?[^\]]+\]|[\\^$.|+(){}[\]*?]/g, (part) => {
    if (part === '*') return '.*';
    if (part === '?') return '.';
    if (part.length > 1 && part.startsWith('[')) {
      const negated = part.startsWith('[!');
      const characters = part.slice(negated ? 2 : 1, -1).replace(/[\\^[\]]/g, '\\$&');
      return `[${negated ? '^' : ''}${characters}]`;
    }
    return `\\${part}`;
  });
  return new RegExp(`^${source}$`, 's');
}

function typeOf(args: Arguments): FileType | undefined {
  const letter = args['type'];
  if (typeof letter !== 'string') return undefined;
  const type = types[letter];
  if (type !== undefined) return type;
  throw new ImgfsError(
    'usage',
    `--type ${JSON.stringify(letter)} is none of ${Object.keys(types).join(', ')}`,
  );
}

/** Lines are gathered up to this length: a write for each would cost more than finding it. */
const batchBytes = 65_536;

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const text = String(args['path']);
  const type = typeOf(args);
  const name = typeof args['name'] === 'string' ? patternExpression(args['name']) : undefined;
  const maxDepth = args['max-depth'] === undefined ? Number.POSITIVE_INFINITY : Number(args['max-depth']);
  const end = args['print0'] === true ? '\0' : '\n';
  await withTree(text, args, context, async (walker, components) => {
    const top = await walker.find(components);
    const prefix = insidePath(text).replace(/\/+$/, '');
    let batch = '';
    for await (const entry of walker.walk(top, maxDepth)) {
      if (type !== undefined && entry.attributes.type !== type) continue;
      if (name !== undefined && !name.test(entry.name)) continue;
      const path = `${prefix}/${entry.below}`;
      if (out.json)
        batch += `${JSON.stringify({ path, type: entry.attributes.type, size: entry.attributes.size })}\n`;
      else batch += `${end === '\0' ? path : out.printable(path)}${end}`;
      if (batch.length < batchBytes) continue;
      await out.bytes(Buffer.from(batch));
      batch = '';
      signal.throwIfAborted();
    }
    if (batch !== '') await out.bytes(Buffer.from(batch));
  });
}

export const findCommand: Command = {
  usage: 'find <path>',
  examples: [
    ['imgfs find alpine:3.20:/ --type l', 'symbolic links of an image'],
    ["imgfs find alpine:3.20:/usr --name '*.so*'", 'by name'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('path', { type: 'string', demandOption: true, describe: 'directory of the tree' })
      .option('type', { type: 'string', requiresArg: true, describe: 'f, d, l, c, b, p or s' })
      .option('name', { type: 'string', requiresArg: true, describe: 'shell pattern for the last component' })
      .option('max-depth', {
        type: 'number',
        requiresArg: true,
        describe: 'go down so many directories at most',
      })
      .option('print0', { type: 'boolean', default: false, describe: 'end paths with NUL, exact bytes' }),
  run,
};
