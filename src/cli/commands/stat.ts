/** `imgfs stat`: attributes and extended attributes of one path of the tree, links not followed. */
import { formatMode } from './ls.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';

function formatTime(nanoseconds: bigint): string {
  const seconds = new Date(Number(nanoseconds / 1_000_000n)).toISOString().slice(0, 19).replace('T', ' ');
  const fraction = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return `${seconds}.${String(fraction).padStart(9, '0')} UTC`;
}

async function run(args: Arguments, { out, ...context }: CommandContext): Promise<void> {
  for (const path of args['path'] as string[]) {
    await withTree(path, args, { out, ...context }, async (walker, components) => {
      const { attributes, inode } = await walker.find(components, false);
      const { type, mode, uid, gid, size, nlink, mtimeNs, rdev } = attributes;
      const target = type === 'symlink' ? await walker.readlink(inode) : undefined;
      const xattrs = await walker.xattrs(inode);
      if (out.json) {
        const more = { ...(target === undefined ? {} : { target }), xattrs: Object.fromEntries(xattrs) };
        const octal = (mode & 0o7777).toString(8).padStart(4, '0');
        out.document({
          path,
          type,
          mode: octal,
          uid,
          gid,
          size,
          nlink,
          mtimeNs: String(mtimeNs),
          rdev,
          ...more,
        });
        return;
      }
      out.line(`  path: ${path}${target === undefined ? '' : ` -> ${target}`}`);
      out.line(`  type: ${type}  size: ${size}  links: ${nlink}`);
      out.line(`  mode: ${formatMode(attributes)}  owner: ${uid}:${gid}`);
      out.line(`modify: ${formatTime(mtimeNs)}`);
      for (const [name, value] of xattrs) out.line(`${name}: ${value}`);
    });
  }
}

export const statCommand: Command = {
  usage: 'stat <path..>',
  examples: [['imgfs stat alpine:3.20:/bin/busybox', 'which layer it comes from, mode, owner, time']],
  options: (yargs) =>
    storeOptions(yargs).positional('path', {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'path of the tree',
    }),
  run,
};
