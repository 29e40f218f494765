/** `imgfs gc`: remove blobs of an OCI layout that no image of it needs. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { LayoutStore } from '../../store/layout/layout-store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { formatBytes, parseDuration } from '../output.js';
import { withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const text = String(args['store']);
  const minAgeMs = parseDuration(String(args['min-age']));
  if (minAgeMs === undefined)
    throw new ImgfsError('usage', '--min-age is not a duration', { hint: 'write 1h or 0' });
  await withStore(text, args, context, async (store) => {
    if (!(store instanceof LayoutStore)) {
      throw new ImgfsError('unsupported', `gc ${text}: not an OCI layout`, {
        hint: 'registries collect their garbage themselves',
      });
    }
    const dryRun = args['dry-run'] === true;
    const result = await store.collectGarbage({ dryRun, minAgeMs, signal });
    if (out.json) return out.document({ ...result, dryRun });
    for (const { digest, size } of result.removed) out.line(`${digest} ${size}`);
    const verb = dryRun ? 'would free' : 'freed';
    out.note(
      `${verb} ${formatBytes(result.freedBytes)}: ${result.removed.length} blobs, ${result.uploads.length} uploads; ${result.keptBlobs} blobs kept`,
    );
  });
}

export const gcCommand: Command = {
  usage: 'gc <store>',
  examples: [['imgfs gc --dry-run oci:./layout', 'what would be removed']],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('store', { type: 'string', demandOption: true, describe: 'OCI layout: oci:PATH' })
      .option('dry-run', { type: 'boolean', default: false, describe: 'remove nothing' })
      .option('min-age', {
        type: 'string',
        default: '1h',
        describe: 'younger blobs stay: somebody may be pushing',
      }),
  run,
};
