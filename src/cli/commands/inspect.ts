/** `imgfs inspect`: what `skopeo inspect` prints, plus sizes and both digests of each layer. */
import { describeError } from '../../errors/imgfs-error.js';
import type { Image } from '../../image/image.js';
import { inspectImage, renderInspection } from '../../image/inspect.js';
import { isTagLister } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

/** skopeo lists every tag, which can be long: beyond this the list is left out with a note. */
const maxListedTags = 100_000;

async function repositoryTags(image: Image, { out, signal }: CommandContext): Promise<string[] | undefined> {
  // skopeo prints an empty list for every store that is no registry.
  if (image.store.transport !== 'docker') return [];
  if (!isTagLister(image.store)) return undefined;
  const tags: string[] = [];
  try {
    for await (const tag of image.store.tags(image.repository, { signal })) {
      if (tags.push(tag) > maxListedTags) {
        out.note(`more than ${maxListedTags} tags: RepoTags left out`);
        return undefined;
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    out.note(`RepoTags left out: ${describeError(error).split('\n')[0] ?? ''}`);
    return undefined;
  }
  return tags;
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withImage(String(args['reference']), args, context, async (image, content) => {
    if (args['raw'] === true) return out.bytes((await image.loadTop({ signal })).bytes);
    if (args['config'] === true) {
      const { manifest } = await image.chosen({ signal });
      const descriptor = manifest.kind === 'image' ? manifest.config : undefined;
      if (descriptor === undefined) return out.note('an artifact manifest has no config');
      return out.bytes(
        await content.readAll(image.source(descriptor), { signal, maxBytes: 64 * 1024 * 1024 }),
      );
    }
    const repoTags =
      args['no-tags'] === true || args['tags'] === false ? undefined : await repositoryTags(image, context);
    const inspection = await inspectImage(image, { signal, ...(repoTags === undefined ? {} : { repoTags }) });
    return out.bytes(
      Buffer.from(out.json ? `${JSON.stringify(inspection)}\n` : renderInspection(inspection)),
    );
  });
}

export const inspectCommand: Command = {
  usage: 'inspect <reference>',
  examples: [
    ['imgfs inspect docker://alpine:3.20', 'name, digest, labels, layers with sizes'],
    ['imgfs inspect --raw alpine:3.20', 'exact bytes of what the tag names'],
    ['imgfs inspect --config oci:./layout:tag', 'exact bytes of the config'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('raw', { type: 'boolean', default: false, describe: 'exact bytes of the manifest or index' })
      .option('config', { type: 'boolean', default: false, describe: 'exact bytes of the config' })
      .option('no-tags', { alias: 'n', type: 'boolean', describe: 'do not list the tags of the repository' }),
  run,
};
