/** `imgfs tag`: one more name for an image, in its own repository. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { isTagger } from '../../store/tagger.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const tags = (Array.isArray(args['tags']) ? args['tags'] : [args['tags']]).map(String);
  await withImage(String(args['reference']), args, context, async (image) => {
    const done = (digest: string): void => {
      if (out.json) out.document({ reference: image.reference, digest, tags });
      else for (const tag of tags) out.line(`${tag} ${digest}`);
    };
    if (isTagger(image.store)) {
      const { digest } = image.descriptor;
      for (const tag of tags) {
        await image.store.tag({ repository: image.repository, digest }, image.repository, tag, { signal });
      }
      return done(digest);
    }
    const store = assertPusher(image.store);
    const { bytes, descriptor, refused } = await image.loadTop({ signal });
    if (refused !== undefined)
      throw new ImgfsError('invalid-content', `tag ${image.reference}: its manifest is refused`, {
        cause: refused,
      });
    await store.putManifest(image.repository, bytes, descriptor.mediaType, { tags, signal });
    done(descriptor.digest);
  });
}

export const tagCommand: Command = {
  usage: 'tag <reference> <tags..>',
  examples: [['imgfs tag ghcr.io/me/app:v1 stable latest', 'two more tags for v1']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .positional('tags', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'tags to make or move',
      }),
  run,
};
