/** `imgfs load`: an archive, whatever its format, into a repository. */
import { resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { imageForTag, loadImage, openImageArchive } from '../../image/archive/load-archive.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { copyProgress, copySummary } from '../copy-progress.js';
import { openDestination } from '../destination.js';
import { openStores } from '../registries.js';
import { settingsFrom, storeOptions } from '../settings.js';

async function run(args: Arguments, { out, signal }: CommandContext): Promise<void> {
  const [path, to] = [resolve(String(args['archive'])), String(args['destination'])];
  const settings = settingsFrom(args);
  const stores = openStores(settings, []);
  const destination = await openDestination(to, stores);
  const archive = await openImageArchive(path, { spoolDirectory: settings.cacheDirectory, signal }).catch(
    async (error: unknown) => {
      await destination.close();
      await stores.close();
      throw error;
    },
  );
  try {
    if (!('store' in destination))
      throw new ImgfsError('usage', `load: ${to} is no store of images`, { hint: 'use imgfs cp' });
    const { repository, tag } = destination.target;
    if (tag === undefined) throw new ImgfsError('usage', `load ${to}: name a tag`);
    const descriptor = await imageForTag(archive, { repository, tag }, { signal });
    const progress = copyProgress(`loading ${path}`, out);
    const result = await loadImage(
      archive,
      descriptor,
      { store: destination.store, repository },
      { signal, tags: [tag], parallel: Number(args['parallel']), onEvent: progress.onEvent },
    ).finally(() => progress.done());
    if (out.json) out.document({ archive: path, destination: to, ...result.descriptor, blobs: result.blobs });
    else {
      out.line(result.descriptor.digest);
      out.note(`loaded ${path} as ${to}: ${copySummary(result)}`);
    }
  } finally {
    await archive.close();
    await destination.close();
    await stores.close();
  }
}

export const loadCommand: Command = {
  usage: 'load <archive> <destination>',
  examples: [['imgfs load image.tar registry.local:5000/app:v1', 'what docker save or podman save wrote']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('archive', { type: 'string', demandOption: true, describe: 'OCI or docker archive, compressed or not' })
      .positional('destination', { type: 'string', demandOption: true, describe: 'where to, with its tag' })
      .option('parallel', { type: 'number', default: 3, describe: 'blobs sent at the same time' }), // prettier-ignore
  run,
};
