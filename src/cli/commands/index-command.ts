/** `imgfs index`: indexes of layers, which make any file of them one small request. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { DecodedFile, layerKey } from '../../layer/read/decoded-file.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { imageLayers, withImageTrees } from '../image-trees.js';
import { formatBytes, formatTable } from '../output.js';
import { createProgress } from '../progress.js';
import { openLayers, openRuntime, withImage } from '../runtime.js';
import { settingsFrom, storeOptions } from '../settings.js';

const suffix = '.lidx';

/** Layers that have an index. */
async function indexed(folder: string): Promise<readonly Digest[]> {
  const names = await readdir(folder).catch(() => []);
  return names.flatMap((name) => {
    const text = name.endsWith(suffix) ? name.slice(0, -suffix.length).replace('-', ':') : '';
    return isDigest(text) ? [text] : [];
  });
}

function imageName(args: Arguments): string {
  const name = args['image'];
  if (typeof name === 'string') return name;
  throw new ImgfsError('usage', `index ${String(args['action'])} needs a reference`);
}

async function build(args: Arguments, context: CommandContext): Promise<void> {
  const { out } = context;
  const name = imageName(args);
  const progress = createProgress(`indexing ${name}`, out);
  await withImageTrees([name], args, context, async ([tree]) => {
    progress.done();
    for (const layer of tree?.layers ?? []) {
      const { digest } = layer.descriptor;
      await layer.whenIndexed({ signal: context.signal });
      const facts = { entries: layer.table.count, format: layer.format, decodedSize: layer.decodedSize };
      if (out.json) out.document({ digest, ...facts });
      else out.line(`${digest}  ${facts.entries} entries, ${formatBytes(facts.decodedSize ?? 0)} decoded`);
    }
  }).finally(() => progress.done());
}

async function list(args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const runtime = await openRuntime(settingsFrom(args), []);
  const layers = await openLayers(runtime);
  try {
    const folder = join(runtime.content.directory, 'index');
    const rows: string[][] = [];
    for (const digest of await indexed(folder)) {
      signal.throwIfAborted();
      const facts = await layers.peek(digest);
      const { size } = await stat(join(folder, `${layerKey(digest)}${suffix}`));
      if (out.json) out.document({ ...facts, digest, usable: facts !== undefined, indexBytes: size });
      else rows.push([digest, formatBytes(size), facts === undefined ? 'unusable' : `${facts.format}, ${formatBytes(facts.blobSize)}, ${formatBytes(facts.decodedSize)} decoded`]); // prettier-ignore
    }
    for (const line of formatTable(rows, new Set([1]))) out.line(line);
  } finally {
    await layers.close();
    await runtime.close();
  }
}

async function remove(args: Arguments, context: CommandContext): Promise<void> {
  const name = args['image'];
  const digests: Digest[] = [];
  const settings = settingsFrom(args);
  const folder = join(settings.cacheDirectory, 'index');
  if (args['all'] === true) digests.push(...(await indexed(folder)));
  else if (typeof name === 'string' && isDigest(name)) digests.push(name);
  else {
    await withImage(imageName(args), args, context, async (image) => {
      const sources = await imageLayers(image, context.signal);
      digests.push(...sources.map(({ descriptor }) => descriptor.digest));
    });
  }
  let removed = 0;
  for (const digest of digests) {
    const path = join(folder, `${layerKey(digest)}${suffix}`);
    const isThere = await stat(path).then(
      () => true,
      () => false,
    );
    await rm(path, { force: true });
    await DecodedFile.remove(join(settings.cacheDirectory, 'decoded'), digest);
    removed += isThere ? 1 : 0;
  }
  if (context.out.json) context.out.document({ removed });
  else context.out.line(`removed ${removed} indexes`);
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  switch (args['action']) {
    case 'build':
      return build(args, context);
    case 'ls':
      return list(args, context);
    case 'rm':
      return remove(args, context);
    default:
      throw new ImgfsError('usage', `index cannot ${JSON.stringify(args['action'])}`, {
        hint: 'build, ls and rm are known',
      });
  }
}

export const indexCommand: Command = {
  usage: 'index <action> [image]',
  examples: [
    ['imgfs index build alpine:3.20', 'go through all layers once'],
    ['imgfs index ls', 'layers that have an index'],
    ['imgfs index rm --all', 'forget indexes, and what was decoded with them'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { type: 'string', demandOption: true, describe: 'build, ls or rm' })
      .positional('image', { type: 'string', describe: 'image, or for rm the digest of a layer' })
      .option('all', { type: 'boolean', default: false, describe: 'rm: all indexes' }),
  run,
};
