/** `imgfs cat`: print files of the tree; bytes are verified as in the mount. */
import type { Arguments, Command, CommandContext } from '../command.js';
import { withTree } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  for (const path of args['path'] as string[]) {
    await withTree(path, args, context, async (walker, components) => {
      const file = await walker.find(components);
      for await (const chunk of walker.read(file)) {
        await context.out.bytes(chunk);
        context.signal.throwIfAborted();
      }
    });
  }
}

export const catCommand: Command = {
  usage: 'cat <path..>',
  examples: [
    ['imgfs cat docker.io/library/alpine/3.20/manifest.json | jq .', 'exact bytes of the manifest'],
    ['imgfs cat oci:./layout:tag/config.json', 'from an OCI layout'],
  ],
  options: (yargs) =>
    storeOptions(yargs).positional('path', {
      type: 'string',
      array: true,
      demandOption: true,
      describe: 'path of the tree',
    }),
  run,
};
