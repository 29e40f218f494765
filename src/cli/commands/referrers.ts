/** `imgfs referrers`: what refers to an image, by artifact type; `imgfs attach`: one more. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { attachArtifact } from '../../image/attach-artifact.js';
import { filterReferrers } from '../../image/filter-referrers.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isReferrersFinder } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { listOf } from '../list-of.js';
import { withImage } from '../runtime.js';
import { storeOptions } from '../settings.js';

/** `key=value`, or `key` alone: whatever its value. */
function annotationsOf(args: Arguments): Record<string, string> {
  return Object.fromEntries(
    listOf(args['annotation']).map((text) => {
      const at = text.indexOf('=');
      return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

async function list(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const artifactType = args['artifact-type'];
  await withImage(String(args['reference']), args, context, async (image) => {
    const { store, repository } = image;
    if (!isReferrersFinder(store)) throw new ImgfsError('unsupported', `${store.id} does not know referrers`);
    // With a platform, of the child that withImage would choose.
    const { descriptor } = typeof args['platform'] === 'string' ? await image.leaf({ signal }) : image;
    const wanted = {
      signal,
      annotations: annotationsOf(args),
      descending: args['descending'] === true,
      ...(typeof artifactType === 'string' ? { artifactType } : {}),
      ...(typeof args['sort-by'] === 'string' ? { sortBy: args['sort-by'] } : {}),
    };
    for await (const referrer of filterReferrers(
      store.referrers(repository, descriptor.digest, wanted),
      wanted,
    )) {
      if (out.json) out.document(referrer);
      else out.line(`${referrer.digest} ${referrer.size} ${referrer.artifactType ?? referrer.mediaType}`);
    }
  });
}

async function attach(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const paths = (Array.isArray(args['files']) ? args['files'] : [args['files']]).map(String);
  const artifactType = String(args['artifact-type']);
  await withImage(String(args['reference']), args, context, async (image) => {
    const files = [];
    for (const path of paths)
      files.push({
        title: basename(path),
        mediaType: typeof args['media-type'] === 'string' ? args['media-type'] : artifactType,
        content: await readFile(path),
      });
    const descriptor = await attachArtifact(image, { artifactType, files }, { signal });
    if (out.json) out.document({ subject: image.descriptor.digest, artifactType, ...descriptor });
    else out.line(descriptor.digest);
  });
}

export const referrersCommand: Command = {
  usage: 'referrers <reference>',
  examples: [
    ['imgfs referrers ghcr.io/me/app:v1', 'digest, size and type of each'],
    ['imgfs referrers ghcr.io/me/app:v1 --artifact-type application/spdx+json', 'of one type'],
    [
      'imgfs referrers ghcr.io/me/app:v1 --sort-by org.opencontainers.image.created --descending',
      'the newest first',
    ],
    ['imgfs referrers alpine:3.20 --platform linux/arm64', 'of a platform, not of the index'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('artifact-type', { type: 'string', requiresArg: true, describe: 'only of this type' })
      .option('annotation', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'only with this annotation: KEY or KEY=VALUE, may be repeated',
      })
      .option('sort-by', {
        type: 'string',
        requiresArg: true,
        describe: 'annotation by whose value they are sorted',
      })
      .option('descending', { type: 'boolean', default: false, describe: 'the largest value first' }),
  run: list,
};

export const attachCommand: Command = {
  usage: 'attach <reference> <files..>',
  examples: [
    ['imgfs attach ghcr.io/me/app:v1 sbom.json --artifact-type application/spdx+json', 'an SBOM'],
    ['imgfs attach ghcr.io/me/app:v1 scan.sarif --artifact-type application/sarif+json', 'a report'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .positional('files', { type: 'string', array: true, demandOption: true, describe: 'what to attach' })
      .option('artifact-type', {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        describe: 'what it is',
      })
      .option('media-type', {
        type: 'string',
        requiresArg: true,
        describe: 'of the files; default: the artifact type',
      }),
  run: attach,
};
