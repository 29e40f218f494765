/** `imgfs cp`: whole images from one store to another. */
import { copyImage } from '../../image/copy/copy-image.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { formatPlatform } from '../../oci/platform.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { copyProgress, copySummary } from '../copy-progress.js';
import { openDestination } from '../destination.js';
import { listOf } from '../list-of.js';
import { withImage } from '../runtime.js';
import { archiveOptions, openStores } from '../registries.js';
import { settingsFrom, storeOptions } from '../settings.js';

/** The tag of the destination and those of `--tag`, each once. */
export function tagsOf(args: Arguments, tag: string | undefined): string[] {
  return [...new Set([...(tag === undefined ? [] : [tag]), ...listOf(args['tag'])])];
}

function isStandardOutput(path: string): boolean {
  return ['/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'].includes(path);
}

/** Loaded where an archive is written: other copies need none of it. */
const archives = () => import('../../image/archive/copy-to-archive.js');

/** Copy one image; archives are written as a whole. */
export async function runCopy(args: Arguments, context: CommandContext): Promise<void> {
  if (args['all-tags'] === true) {
    const { copyAllTags } = await import('../copy-all-tags.js');
    return copyAllTags(args, context);
  }
  const { out, signal } = context;
  const [from, to] = [String(args['source']), String(args['destination'])];
  const settings = settingsFrom(args);
  const stores = openStores(settings, []);
  const destination = await openDestination(to, stores);
  try {
    await withImage(from, args, context, async (image) => {
      const onePlatform = typeof args['platform'] === 'string' && image.isIndex;
      const { descriptor } = onePlatform ? await image.leaf({ signal }) : image;
      const { repository, tag, digest } = destination.target;
      if (digest !== undefined && digest !== descriptor.digest) {
        throw new ImgfsError('digest-mismatch', `copy ${from}: it is ${descriptor.digest}, not ${digest}`, {
          digest,
        });
      }
      const progress = copyProgress(`copying ${from}`, out);
      const source = { store: image.store, repository: image.repository, descriptor };
      const copying = {
        signal,
        tags: tagsOf(args, tag),
        referrers: args['referrers'] === true,
        onEvent: progress.onEvent,
      };
      const result = await (
        'archive' in destination
          ? (await archives()).copyToArchive(
              source,
              { ...destination.archive, repository },
              { ...copying, ...archiveOptions(settings) },
            )
          : 'engine' in destination
            ? (await archives()).copyToEngine(
                source,
                { engine: destination.engine, repository },
                { ...copying, ...archiveOptions(settings) },
              )
            : copyImage(
                source,
                { store: destination.store, repository },
                { ...copying, parallel: Number(args['parallel']) },
              )
      ).finally(() => progress.done());
      // An archive that goes to standard output has it for itself.
      const says = 'archive' in destination && isStandardOutput(destination.archive.path) ? undefined : out;
      if (says === undefined) return;
      if (out.json) {
        out.document({
          source: image.reference,
          destination: to,
          ...result.descriptor,
          manifests: result.manifests,
          blobs: result.blobs,
          sentBytes: result.sentBytes,
        });
        return;
      }
      out.line(result.descriptor.digest);
      const platform = descriptor.platform === undefined ? '' : ` (${formatPlatform(descriptor.platform)})`;
      out.note(`copied ${image.reference}${platform} to ${to}: ${copySummary(result)}`);
    });
  } finally {
    await destination.close();
    await stores.close();
  }
}

/** Options of whatever copies. */
export const copyOptions: Command['options'] = (yargs) =>
  storeOptions(yargs)
    .positional('source', { type: 'string', demandOption: true, describe: 'image' })
    .positional('destination', { type: 'string', demandOption: true, describe: 'where to, with its tag' })
    .option('all', { type: 'boolean', default: true, describe: 'every platform of an index (the default; --platform chooses one)' })
    .option('all-tags', { type: 'boolean', default: false, describe: 'every tag of the source repository, under its name' })
    .option('referrers', { type: 'boolean', default: false, describe: 'signatures, SBOMs and other artifacts come along' })
    .option('tag', { type: 'string', array: true, requiresArg: true, describe: 'one more tag at the destination, may be repeated' })
    .option('parallel', { type: 'number', default: 3, describe: 'blobs sent at the same time' }); // prettier-ignore

export const cpCommand: Command = {
  usage: 'cp <source> <destination>',
  examples: [
    [
      'imgfs cp alpine:3.20 registry.local:5000/alpine:3.20',
      'all platforms, blobs that are there are skipped',
    ],
    ['imgfs cp --platform linux/arm64 alpine oci:./layout:alpine', 'one platform into an OCI layout'],
    [
      'imgfs cp --parallel 1 alpine:3.20 dir:alpine',
      'one blob at a time, into a directory as skopeo knows it',
    ],
    ['imgfs cp --all-tags ghcr.io/me/app registry.local:5000/app', 'a whole repository'],
    ['imgfs cp oci-archive:image.tar ghcr.io/me/app:v1', 'push an archive'],
    ['imgfs cp alpine:3.20 docker-archive:a.tar:alpine:3.20', 'save for docker load and podman load'],
    ['imgfs cp ghcr.io/me/app:v1 docker-daemon:me/app:v1', 'into dockerd, as docker load does'],
  ],
  options: copyOptions,
  run: runCopy,
};
