/** `imgfs export`: an image as one archive, to a file or to stdout; made while it is written. */
import { open, rename, unlink } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes } from '../output.js';
import { createProgress } from '../progress.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';

function archiveName(args: Arguments): string {
  const format = String(args['format']);
  const name = args['name'];
  if (typeof name !== 'string') return `${format}.tar`;
  if (format === 'rootfs')
    throw new ImgfsError('usage', '--name: a root file system has no name in its archive');
  return `${format}@${encodeURIComponent(name)}.tar`;
}

/** Into a file that is there whole or not at all. */
async function writeFile(path: string, chunks: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void) {
  const temporary = join(dirname(path), `.imgfs-${randomUUID()}`);
  const file = await open(temporary, 'wx', 0o644);
  try {
    let bytes = 0;
    for await (const chunk of chunks) {
      await file.writeFile(chunk);
      bytes += chunk.length;
      onBytes(bytes);
    }
    await file.sync();
    await file.close();
    await rename(temporary, path);
    return bytes;
  } catch (error) {
    await file.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const reference = String(args['reference']);
  await withTree(reference, args, context, async (walker, components) => {
    const file = await walker.find([...components, 'export', archiveName(args)]);
    const target = args['output'];
    if (typeof target !== 'string' || target === '-') {
      for await (const chunk of walker.read(file)) {
        signal.throwIfAborted();
        await out.bytes(chunk);
      }
      return;
    }
    const progress = createProgress(`exporting ${reference}`, out);
    const total = formatBytes(file.attributes.size);
    const bytes = await writeFile(resolve(target), walker.read(file), (done) =>
      progress.update(`${formatBytes(done)} of ${total}`),
    ).finally(() => progress.done());
    if (out.json) out.document({ reference, output: target, format: args['format'], bytes });
    else out.note(`wrote ${target}: ${formatBytes(bytes)}`);
  });
}

export const exportCommand: Command = {
  usage: 'export <reference>',
  examples: [
    ['imgfs export alpine:3.20 --format rootfs | tar x -C dir', 'the root file system, layers merged'],
    ['imgfs export alpine:3.20 --format docker | docker load', 'for an engine'],
    ['imgfs export alpine:3.20 -o alpine.tar', 'an OCI archive with all platforms'],
    ['imgfs export alpine:3.20 --format docker --name me/alpine:v1 -o a.tar', 'under another name'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('format', {
        choices: ['oci', 'docker', 'rootfs'] as const,
        default: 'oci' as const,
        describe: 'what kind of archive',
      })
      .option('output', { alias: 'o', type: 'string', requiresArg: true, describe: 'file; default: stdout' })
      .option('name', { type: 'string', requiresArg: true, describe: 'name of the image in the archive' }),
  run,
};
