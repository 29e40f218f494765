/** `imgfs tags`: the tags of a repository, streamed as the store sends them. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isTagLister } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { storeOptions } from '../settings.js';
import { withStore } from '../runtime.js';
import { printNames } from '../print-names.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  await withStore(String(args['repository']), args, context, async (store, target) => {
    if (!isTagLister(store)) throw new ImgfsError('unsupported', `${store.id} does not list tags`);
    const last = args['last'];
    const names = store.tags(target.repository, {
      signal: context.signal,
      ...(typeof last === 'string' ? { last } : {}),
    });
    await printNames(names, args['limit'], context, 'tag');
  });
}

export const tagsCommand: Command = {
  usage: 'tags <repository>',
  examples: [
    ['imgfs tags ghcr.io/me/app', 'every tag'],
    ['imgfs tags alpine --limit 20 --last 3.1', 'twenty tags behind 3.1'],
    ['imgfs tags oci:./layout', 'bare tags of an OCI layout'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('repository', {
        type: 'string',
        demandOption: true,
        describe: 'reference, or a local store',
      })
      .option('limit', { type: 'number', requiresArg: true, describe: 'at most so many' })
      .option('last', { type: 'string', requiresArg: true, describe: 'only what comes behind this tag' }),
  run,
};
