/** `imgfs pull`: fetch an image whole and keep it in the cache (`imgfs cache pin`). */
import type { Command } from '../command.js';
import { storeOptions } from '../settings.js';
import { cacheCommand } from './cache.js';

export const pullCommand: Command = {
  usage: 'pull <image>',
  examples: [['imgfs pull alpine:3.20', 'for work without a network; never evicted']],
  options: (yargs) =>
    storeOptions(yargs).positional('image', { type: 'string', demandOption: true, describe: 'image' }),
  run: (args, context) => cacheCommand.run({ ...args, action: 'pin' }, context),
};
