/** `imgfs sbom`: bills of materials of an image, of referrers, cosign's tags and attestations. */
import { findJsonMember } from '../../image/json-member.js';
import { documentSuffix, predicateType } from '../../image/artifact-kind.js';
import type { RelatedKind } from '../../image/referrers.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { withImages } from '../runtime.js';
import { Images } from '../../image/images.js';
import { parsePlatform } from '../../oci/platform.js';
import { storeOptions } from '../settings.js';

/** As large as the mount reads them. */
const maxDocumentBytes = 64 * 1024 * 1024;

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const kind: RelatedKind = args['attestations'] === true ? 'attestation' : 'sbom';
  await withImages([String(args['reference'])], args, context, async ([image], { content }) => {
    if (image === undefined) return;
    const platform =
      typeof args['platform'] === 'string' ? { platform: parsePlatform(args['platform']) } : {};
    const { related } = new Images({ content, ...platform });
    const documents = await related.documents(image, kind, { signal });
    if (documents.length === 0)
      throw new ImgfsError('not-found', `${image.reference}: no ${kind} is attached`, {
        hint: 'looked for among referrers, under the tag of cosign, and beside the image in its index',
      });
    if (args['list'] === true || (documents.length > 1 && args['index'] === undefined)) {
      for (const [at, { descriptor, origin, artifact }] of documents.entries()) {
        const type = predicateType(descriptor) ?? descriptor.mediaType;
        if (out.json)
          out.document({ index: at, origin, type, ...descriptor, artifact: artifact.descriptor.digest });
        else out.line(`${at} ${descriptor.digest} ${descriptor.size} ${origin} ${type}`);
      }
      return;
    }
    const chosen = documents[Number(args['index'] ?? 0)];
    if (chosen === undefined)
      throw new ImgfsError('not-found', `there are ${documents.length} of them, counted from 0`);
    const bytes = await content.readAll(chosen.artifact.source(chosen.descriptor), {
      signal,
      maxBytes: maxDocumentBytes,
    });
    const inStatement = kind === 'sbom' && documentSuffix(chosen.descriptor.mediaType) === '.intoto.json';
    const range = inStatement ? await findJsonMember(bytes, 'predicate', { signal }) : undefined;
    await out.bytes(range === undefined ? bytes : bytes.subarray(range.start, range.end));
  });
}

export const sbomCommand: Command = {
  usage: 'sbom <reference>',
  examples: [
    ['imgfs sbom alpine:3.20 | jq .packages', 'the only one there is; a list when there are several'],
    ['imgfs sbom alpine:3.20 --index 1', 'one of several'],
    ['imgfs sbom alpine:3.20 --attestations', 'whole statements of any predicate'],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .option('list', { type: 'boolean', default: false, describe: 'list them' })
      .option('index', { type: 'number', requiresArg: true, describe: 'which one of the list' })
      .option('attestations', { type: 'boolean', default: false, describe: 'attestations instead of SBOMs' }),
  run,
};
