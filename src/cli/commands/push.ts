/** `imgfs push`: cp that leaves the platforms alone which the tag has already. */
import { pushImage } from '../../image/copy/push-image.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { copyProgress } from '../copy-progress.js';
import { openDestination } from '../destination.js';
import { openStores } from '../registries.js';
import { withImage } from '../runtime.js';
import { settingsFrom } from '../settings.js';
import { copyOptions, runCopy, tagsOf } from './cp.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const [from, to] = [String(args['source']), String(args['destination'])];
  const stores = openStores(settingsFrom(args), []);
  const destination = await openDestination(to, stores);
  try {
    // Archives and engines take whole images, and what is put by digest has no tag to merge into.
    const { tag, digest, repository } = destination.target;
    if (!('store' in destination) || tag === undefined || digest !== undefined)
      return await runCopy(args, context);
    const { store } = destination;
    await withImage(from, args, context, async (image) => {
      const onePlatform = typeof args['platform'] === 'string' && image.isIndex;
      const { descriptor } = onePlatform ? await image.leaf({ signal }) : image;
      const progress = copyProgress(`pushing ${from}`, out);
      const result = await pushImage(
        { store: image.store, repository: image.repository, descriptor },
        { store, repository },
        {
          signal,
          tag,
          moreTags: tagsOf(args, undefined),
          archTags: args['arch-tags'] === true,
          override: args['override'] === true,
          referrers: args['referrers'] === true,
          parallel: Number(args['parallel']),
          onEvent: progress.onEvent,
        },
      ).finally(() => progress.done());
      const { descriptor: pushed, outcome, tags, copied } = result;
      if (out.json) {
        out.document({
          source: image.reference,
          destination: to,
          outcome,
          tags,
          ...pushed,
          ...(copied === undefined
            ? { sentBytes: 0 }
            : { manifests: copied.manifests, blobs: copied.blobs, sentBytes: copied.sentBytes }),
        });
        return;
      }
      out.line(pushed.digest);
      out.note(`${outcome} ${image.reference} ${tags.map((each) => `:${each}`).join(' ')}`.trimEnd());
    });
  } finally {
    await destination.close();
    await stores.close();
  }
}

export const pushCommand: Command = {
  usage: 'push <source> <destination>',
  examples: [
    ['imgfs push oci:./layout:v1 ghcr.io/me/app:v1', 'from a layout to a registry'],
    ['imgfs push oci:./arm64:v1 ghcr.io/me/app:v1', 'an index: its platforms join those that are there'],
    ['imgfs push --arch-tags --override oci:./all:v1 ghcr.io/me/app:v1', 'v1, v1-amd64, v1-arm64; replaced'],
  ],
  options: (yargs) =>
    copyOptions(yargs)
      .option('arch-tags', {
        type: 'boolean',
        default: false,
        describe: 'each platform of an index under <tag>-<arch> too',
      })
      .option('override', {
        type: 'boolean',
        default: false,
        describe: 'replace what the tag names, instead of merging platforms into it',
      }),
  run,
};
