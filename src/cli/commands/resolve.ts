/** `imgfs resolve`: from a reference to the digest it names now; with --platform, to that child of an index. */
import { readFile } from 'node:fs/promises';
import { gitPackageResolver, isPackage, resolvePackages } from '../../image/package-resolver.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const text = String(args['reference']);
  const template = args['template'];
  if (isPackage(text) || template === true) {
    const packages = gitPackageResolver({
      directory: typeof args['packages'] === 'string' ? args['packages'] : '.',
    });
    if (template === true)
      return out.bytes(
        Buffer.from(await resolvePackages(await readFile(text, 'utf8'), packages, { signal })),
      );
    const reference = await packages(text.slice('@pkg:'.length), { signal });
    return out.json ? out.document({ package: text, reference }) : out.line(reference);
  }
  await withImage(text, args, context, async (image) => {
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
    ['imgfs resolve @pkg:pkg/init', 'the image that is built from a directory of a git work tree'],
    ['imgfs resolve --template linuxkit.yml', 'a template with names in place of packages'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image, or @pkg:PATH' })
      .option('template', {
        type: 'boolean',
        default: false,
        describe: 'a file instead: replace every @pkg:PATH in it',
      })
      .option('packages', {
        type: 'string',
        requiresArg: true,
        describe: 'directory that paths of packages are in',
      }),
  run,
};
