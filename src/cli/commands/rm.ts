/** `imgfs rm`: delete a tag, or with a digest the manifest and all its tags. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { deleteTag } from '../../image/delete-tag.js';
import { isDeleter } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const text = String(args['reference']);
  await withStore(text, args, context, async (store, { repository, tag, digest }) => {
    if (!isDeleter(store)) throw new ImgfsError('read-only-store', `rm ${text}: ${store.id} cannot delete`);
    if (digest !== undefined) await store.deleteManifest(repository, digest, { signal });
    else if (tag !== undefined)
      await deleteTag(store, repository, tag, { signal, fallback: args['tag-delete-fallback'] === true });
    else throw new ImgfsError('usage', `rm ${text}: name a tag or a digest`);
    if (out.json) out.document({ removed: text });
    else out.line(`removed ${text}`);
  });
}

export const rmCommand: Command = {
  usage: 'rm <reference>',
  examples: [
    ['imgfs rm ghcr.io/me/app:old', 'the tag; the image stays'],
    ['imgfs rm ghcr.io/me/app@sha256:…', 'the image, with every tag of it'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('tag-delete-fallback', {
        type: 'boolean',
        default: false,
        describe:
          'where a registry deletes by digest only: put a dummy manifest under the tag and delete that',
      }),
  run,
};
