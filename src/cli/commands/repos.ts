/** `imgfs repos`: the repositories of a registry or of a local store. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isRepositoryLister } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { printNames } from '../print-names.js';
import { withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  await withStore(String(args['store']), args, context, async (store) => {
    if (!isRepositoryLister(store))
      throw new ImgfsError('unsupported', `${store.id} does not list repositories`);
    const last = args['last'];
    const names = store.repositories({
      signal: context.signal,
      ...(typeof last === 'string' ? { last } : {}),
    });
    await printNames(names, args['limit'], context, 'repository');
  });
}

export const reposCommand: Command = {
  usage: 'repos <store>',
  examples: [
    ['imgfs repos registry.example:5000', 'where the registry has a catalog (Docker Hub and GHCR have none)'],
    ['imgfs repos registry.example:5000 --limit 20 --last me', 'twenty names behind me'],
    ['imgfs repos oci:./layout', 'names in an OCI layout'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('store', { type: 'string', demandOption: true, describe: 'host[:port], or a local store' })
      .option('limit', { type: 'number', requiresArg: true, describe: 'at most so many' })
      .option('last', { type: 'string', requiresArg: true, describe: 'only what comes behind this name' }),
  run,
};
