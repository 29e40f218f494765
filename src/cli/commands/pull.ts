/** `imgfs pull`: fetch what is missing of an image and keep it in the cache. */
import { parsePlatform } from '../../oci/platform.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { registryName, withImageCache } from '../image-cache.js';
import { createProgress } from '../progress.js';
import { storeOptions } from '../settings.js';
import { cacheCommand } from './cache.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const reference = registryName(String(args['image']));
  // Images of local stores are at hand: they are kept as they are, under the name of their store.
  if (reference === undefined) return void (await cacheCommand.run({ ...args, action: 'pin' }, context));
  const platforms = typeof args['platform'] === 'string' ? [parsePlatform(args['platform'])] : [];
  await withImageCache(args, async (cache) => {
    const progress = createProgress(`pulling ${reference}`, out);
    const pulled = await cache
      .imagePull(reference, {
        signal,
        platforms,
        always: args['always'] === true,
        onProgress: ({ done, total }) => progress.update(`${done} of ${total} blobs`),
      })
      .finally(() => progress.done());
    const { name, descriptor, asked } = pulled;
    if (out.json) out.document({ pinned: name, digest: descriptor.digest, asked });
    else out.line(`${asked ? 'pinned' : 'there already:'} ${name} (${descriptor.digest})`);
  });
}

export const pullCommand: Command = {
  usage: 'pull <image>',
  examples: [
    ['imgfs pull alpine:3.20', 'for work without a network; never evicted'],
    ['imgfs pull --always alpine:3.20', 'ask the registry also when the whole image is there'],
    ['imgfs pull --platform linux/arm64 alpine:3.20', 'one platform of an index'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('image', { type: 'string', demandOption: true, describe: 'reference' })
      .option('always', {
        type: 'boolean',
        default: false,
        describe: 'ask the registry although the cache has the whole image',
      }),
  run,
};
