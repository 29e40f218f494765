/** `imgfs exists`: whether a registry or store has an image; the exit code is the answer. */
import { exitCodes } from '../../errors/codes.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Image } from '../../image/image.js';
import { matchesPlatform } from '../../oci/match-platform.js';
import { formatPlatform, parsePlatform, type Platform } from '../../oci/platform.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

/** The child of an index for a platform; a single image where its config says that platform. @throws `not-found`. */
async function imageFor(platform: Platform, image: Image, signal: AbortSignal): Promise<Image> {
  if (image.isIndex) return image.leaf({ signal });
  const config = await image.config({ signal });
  if (config?.platform === undefined || matchesPlatform(platform, config.platform)) return image;
  throw new ImgfsError('not-found', `${image.reference}: it is for ${formatPlatform(config.platform)}`);
}

async function run(args: Arguments, context: CommandContext): Promise<number> {
  const { out, signal } = context;
  const reference = String(args['reference']);
  try {
    await withImage(reference, args, context, async (image) => {
      const platform = args['platform'];
      const { descriptor } =
        typeof platform === 'string' ? await imageFor(parsePlatform(platform), image, signal) : image;
      if (out.json) out.document({ reference: image.reference, exists: true, ...descriptor });
      else out.line(descriptor.digest);
    });
    return exitCodes.ok;
  } catch (error) {
    if (!isImgfsError(error, 'not-found')) throw error;
    if (out.json) out.document({ reference, exists: false });
    else out.note(`${reference}: not there`);
    return exitCodes.notFound;
  }
}

export const existsCommand: Command = {
  usage: 'exists <reference>',
  examples: [
    ['imgfs exists ghcr.io/me/app:v1 && echo yes', 'one HEAD request'],
    ['imgfs exists --platform linux/arm64 alpine:3.20', 'also whether the index has that platform'],
  ],
  options: (yargs) =>
    storeOptions(yargs).positional('reference', { type: 'string', demandOption: true, describe: 'image' }),
  run,
};
