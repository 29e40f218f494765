/** `imgfs index`: indexes of layers, which make any file of them one small request. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { checkDiffId } from '../../image/check-diff-id.js';
import { pulledKey } from '../../layer/foreign/binding.js';
import { peekIndexFacts, type IndexFacts } from '../../layer/index/index-file.js';
import { DecodedFile } from '../../layer/read/decoded-file.js';
import { isDigest, type Digest } from '../../oci/digest.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { pullIndex, pushIndex } from '../index-exchange.js';
import { imageLayers, withImageTrees } from '../image-trees.js';
import { formatBytes, formatTable } from '../output.js';
import { createProgress } from '../progress.js';
import { openRuntime, withImage } from '../runtime.js';
import { settingsFrom, storeOptions } from '../settings.js';

const suffix = '.lidx';

/** An index on disk: our own, or behind a tilde what binds one that came with an image. */
interface IndexedLayer {
  readonly digest: Digest;
  readonly bound: string;
  readonly path: string;
}

async function indexed(folder: string): Promise<readonly IndexedLayer[]> {
  const names = await readdir(folder).catch(() => []);
  return names.flatMap((name) => {
    const [key = '', bound = ''] = name.endsWith(suffix) ? name.slice(0, -suffix.length).split('~') : [];
    const digest = key.replace('-', ':');
    return isDigest(digest) ? [{ digest, bound, path: join(folder, name) }] : [];
  });
}

/** Where an index comes from, in words. */
function originOf({ bound }: IndexedLayer, { origin }: IndexFacts): string {
  if (origin === 'pass') return 'own pass';
  return bound === pulledKey ? `${origin}, pulled` : `${origin} of its image`;
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
  await withImageTrees([name], args, context, async ([tree], [image]) => {
    progress.done();
    const config =
      args['check-diff-ids'] === true ? await image?.config({ signal: context.signal }) : undefined;
    for (const [at, layer] of (tree?.layers ?? []).entries()) {
      const { digest } = layer.descriptor;
      await layer.whenIndexed({ signal: context.signal });
      if (config !== undefined) await checkDiffId(layer, config.diffIds[at], { signal: context.signal });
      const facts = { entries: layer.table.count, format: layer.format, decodedSize: layer.decodedSize };
      if (out.json) out.document({ digest, ...facts });
      else out.line(`${digest}  ${facts.entries} entries, ${formatBytes(facts.decodedSize ?? 0)} decoded`);
    }
  }).finally(() => progress.done());
}

async function list(args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const runtime = await openRuntime(settingsFrom(args), []);
  try {
    const folder = join(runtime.content.directory, 'index');
    const rows: string[][] = [];
    for (const layer of await indexed(folder)) {
      signal.throwIfAborted();
      const { digest } = layer;
      const facts = await peekIndexFacts(layer.path, digest);
      const { size } = await stat(layer.path);
      const from = facts === undefined ? undefined : originOf(layer, facts);
      if (out.json) out.document({ ...facts, digest, usable: facts !== undefined, indexBytes: size, from });
      else rows.push([digest, formatBytes(size), facts === undefined ? 'unusable' : `${facts.format}, ${formatBytes(facts.blobSize)}, ${formatBytes(facts.decodedSize)} decoded`, from ?? '']); // prettier-ignore
    }
    for (const line of formatTable(rows, new Set([1]))) out.line(line);
  } finally {
    await runtime.close();
  }
}

async function remove(args: Arguments, context: CommandContext): Promise<void> {
  const name = args['image'];
  const settings = settingsFrom(args);
  const folder = join(settings.cacheDirectory, 'index');
  const all = await indexed(folder);
  const wanted = new Set<Digest>();
  if (args['all'] === true) for (const { digest } of all) wanted.add(digest);
  else if (typeof name === 'string' && isDigest(name)) wanted.add(name);
  else {
    await withImage(imageName(args), args, context, async (image) => {
      const sources = await imageLayers(image, context.signal);
      for (const { descriptor } of sources) wanted.add(descriptor.digest);
    });
  }
  let removed = 0;
  for (const { digest, bound, path } of all) {
    if (!wanted.has(digest)) continue;
    await rm(path, { force: true });
    await DecodedFile.remove(
      join(settings.cacheDirectory, 'decoded'),
      digest,
      bound === '' ? '' : `~${bound}`,
    );
    removed += 1;
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
    case 'push':
      return pushIndex(imageName(args), args, context);
    case 'pull':
      return pullIndex(imageName(args), args, context);
    default:
      throw new ImgfsError('usage', `index cannot ${JSON.stringify(args['action'])}`, {
        hint: 'build, ls, rm, push and pull are known',
      });
  }
}

export const indexCommand: Command = {
  usage: 'index <action> [image]',
  examples: [
    ['imgfs index build alpine:3.20', 'go through all layers once'],
    ['imgfs index ls', 'layers that have an index'],
    ['imgfs index push ghcr.io/me/app:v1', 'put a SOCI index beside an image, as a referrer'],
    [
      'imgfs index push --as v1-soci ghcr.io/me/app:v1',
      'put the image again, with a SOCI index that it names',
    ],
    ['imgfs index pull ghcr.io/me/app:v1-soci', 'have the indexes that an image brings'],
    ['imgfs index pull --trust ghcr.io/me/app:v1', 'those too that merely refer to it'],
    ['imgfs index rm --all', 'forget indexes, and what was decoded with them'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { type: 'string', demandOption: true, describe: 'build, ls, rm, push or pull' })
      .positional('image', { type: 'string', describe: 'image, or for rm the digest of a layer' })
      .option('all', { type: 'boolean', default: false, describe: 'rm: all indexes' })
      .option('check-diff-ids', {
        type: 'boolean',
        default: false,
        describe: 'build: decode every layer, and compare it with the diffID in the config',
      })
      .option('as', { type: 'string', describe: 'push: a tag for the image with a SOCI index that it names' })
      .option('span-size', { type: 'string', default: '4MiB', describe: 'push: decoded bytes of a span' })
      .option('min-layer-size', {
        type: 'string',
        default: '512KiB',
        describe: 'push: leave out smaller layers',
      })
      .option('trust', {
        type: 'boolean',
        default: false,
        describe: 'pull: an index that the image does not name by digest, too',
      }),
  run,
};
