/** `imgfs resolve`: from a reference to the digest it names now; with --platform, to that child of an index. */
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withImage(String(args['reference']), args, context, async (image) => {
    const chosen =
      args['platform'] === undefined ? image.descriptor : (await image.chosen({ signal })).descriptor;
    if (out.json) out.document({ reference: image.reference, ...chosen });
    else out.line(chosen.digest);
  });
}

export const resolveCommand: Command = {
  usage: 'resolve <reference>',
  examples: [
    ['imgfs resolve alpine:3.20', 'digest of what the tag names: an index, where it names one'],
    ['imgfs resolve --platform linux/arm64 alpine:3.20', 'digest of the manifest of a platform'],
  ],
  options: (yargs) =>
    storeOptions(yargs).positional('reference', { type: 'string', demandOption: true, describe: 'image' }),
  run,
};
