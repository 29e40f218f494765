/** `imgfs ls`: list a directory of the tree as the mount would show it. */
import type { Attributes, FileType } from '../../vfs/file-system.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes } from '../output.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';
import type { TreeWalker } from '../tree-walker.js';

const typeLetters: Readonly<Record<FileType, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
  socket: 's',
};

/** `drwxr-xr-x`, with setuid, setgid and sticky as ls(1) shows them. */
export function formatMode(attributes: Pick<Attributes, 'type' | 'mode'>): string {
  const { mode } = attributes;
  const triple = (shift: number, special: boolean, letter: string): string => {
    const bits = mode >> shift;
    const execute = (bits & 1) !== 0;
    const last = special ? (execute ? letter : letter.toUpperCase()) : execute ? 'x' : '-';
    return `${(bits & 4) === 0 ? '-' : 'r'}${(bits & 2) === 0 ? '-' : 'w'}${last}`;
  };
  return [
    typeLetters[attributes.type],
    triple(6, (mode & 0o4000) !== 0, 's'),
    triple(3, (mode & 0o2000) !== 0, 's'),
    triple(0, (mode & 0o1000) !== 0, 't'),
  ].join('');
}

function isoTime(nanoseconds: bigint): string {
  return new Date(Number(nanoseconds / 1_000_000n)).toISOString().slice(0, 19).replace('T', ' ');
}

interface Listed {
  readonly name: string;
  readonly attributes: Attributes;
}

async function longLine(walker: TreeWalker, { name, attributes }: Listed, human: boolean): Promise<string> {
  const target = attributes.type === 'symlink' ? ` -> ${await walker.readlink(attributes.inode)}` : '';
  return [
    formatMode(attributes),
    String(attributes.nlink).padStart(3),
    String(attributes.uid).padStart(5),
    String(attributes.gid).padStart(5),
    (human ? formatBytes(attributes.size) : String(attributes.size)).padStart(human ? 10 : 12),
    isoTime(attributes.mtimeNs),
    `${name}${target}`,
  ].join(' ');
}

function entryDocument({ name, attributes }: Listed): object {
  return {
    name,
    type: attributes.type,
    mode: attributes.mode.toString(8).padStart(4, '0'),
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    nlink: attributes.nlink,
    mtime: new Date(Number(attributes.mtimeNs / 1_000_000n)).toISOString(),
  };
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out } = context;
  const paths = (args['path'] as string[] | undefined) ?? [];
  for (const path of paths.length === 0 ? ['/'] : paths) {
    await withTree(path, args, context, async (walker, components) => {
      const node = await walker.find(components);
      if (paths.length > 1 && !out.json) out.line(`${path}:`);
      const show = async (entry: Listed): Promise<void> => {
        if (out.json) out.document(entryDocument(entry));
        else if (args['long'] === true) out.line(await longLine(walker, entry, args['human'] === true));
        else out.line(entry.name);
      };
      if (node.attributes.type !== 'directory') return show({ name: path, attributes: node.attributes });
      for await (const entry of walker.list(node)) await show(entry);
    });
  }
}

export const lsCommand: Command = {
  usage: 'ls [path..]',
  examples: [
    ['imgfs ls alpine:3.20', 'the image directory of a reference'],
    ['imgfs ls -l ghcr.io/me/app/v1/layers', 'layers with their sizes; no layer is read'],
    ['imgfs ls oci:./layout:tag', 'an OCI layout'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('path', { type: 'string', array: true, describe: 'reference or path of the tree' })
      .option('long', { alias: 'l', type: 'boolean', default: false, describe: 'mode, owner, size and time' })
      .option('human', { alias: 'H', type: 'boolean', default: false, describe: 'sizes with units' }),
  run,
};
