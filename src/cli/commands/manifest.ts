/** `imgfs manifest`: manifests as bytes: put, get, head, rm; and all that a repository has. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { pushManifest } from '../../image/push-manifest.js';
import { readManifest } from '../../image/read-manifest.js';
import { assertPusher } from '../../image/upload/uploads.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isDeleter, isReferrersFinder, type ImageStore } from '../../store/store.js';
import type { Arguments, Command, CommandContext } from '../command.js';
import { allManifests } from '../../image/all-manifests.js';
import { Images } from '../../image/images.js';
import { Registry } from '../../image/library/registry.js';
import { listOf } from '../list-of.js';
import { readWholeInput } from '../read-input.js';
import { withCache, withImage, withStore } from '../runtime.js';
import { storeOptions } from '../settings.js';

/** One of the accepted types; of an index that is not among them, the manifest for the platform. */
async function getAccepted(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withImage(String(args['reference']), args, context, async (image, content) => {
    const platform = typeof args['platform'] === 'string' ? { platform: args['platform'] } : {};
    const repository = new Registry(image.store, { content }).repository(image.repository);
    const got = await repository.manifests.getByDigest(image.descriptor.digest, {
      signal,
      accept: listOf(args['accept']),
      ...platform,
    });
    return out.bytes(got.bytes);
  });
}

/** Every manifest of a repository that can be found. */
async function listAll(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  await withRepository(args, context, async (store, repository, images) => {
    for await (const found of allManifests(images, store, repository, { signal })) {
      const { descriptor, via, tag, parent } = found;
      if (out.json)
        out.document({
          via,
          ...(tag === undefined ? {} : { tag }),
          ...(parent === undefined ? {} : { parent }),
          ...descriptor,
        });
      else out.line(`${descriptor.digest} ${via} ${tag ?? parent ?? ''}`);
    }
  });
}

async function withRepository(
  args: Arguments,
  context: CommandContext,
  work: (store: ImageStore, repository: string, images: Images) => Promise<void>,
): Promise<void> {
  await withCache(args, async (content) => {
    const images = new Images({ content });
    await withStore(String(args['reference']), args, context, (store, { repository }) =>
      work(store, repository, images),
    );
  });
}

async function run(args: Arguments, context: CommandContext): Promise<void> {
  const { out, signal } = context;
  const action = String(args['action']);
  if (action === 'all') return listAll(args, context);
  if (action === 'get' && args['accept'] !== undefined) return getAccepted(args, context);
  await withStore(String(args['reference']), args, context, async (store, target) => {
    const { repository, tag, digest } = target;
    if (action === 'put') {
      const file = args['file'];
      if (typeof file !== 'string')
        throw new ImgfsError('usage', 'manifest put needs a file, or - for stdin');
      const put = await pushManifest(
        { store: assertPusher(store), repository },
        await readWholeInput(file, maxManifestBytes),
        {
          signal,
          ...(digest !== undefined
            ? { expected: digest }
            : tag === undefined
              ? {}
              : { tags: [tag, ...listOf(args['tag'])] }),
          child: args['child'] === true,
        },
      );
      return out.json ? out.document(put) : out.line(put.digest);
    }
    const { descriptor } = await store.resolve(target, { signal });
    if (action === 'get') return out.bytes(await readManifest(store, repository, descriptor, { signal }));
    if (action === 'head')
      return out.json
        ? out.document(descriptor)
        : out.line(`${descriptor.digest} ${descriptor.size} ${descriptor.mediaType}`);
    if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
    if (args['check-referrers'] === true) await refuseReferred(store, repository, descriptor, signal);
    await store.deleteManifest(repository, descriptor.digest, { signal });
    return out.json ? out.document({ removed: descriptor.digest }) : out.line(`removed ${descriptor.digest}`);
  });
}

/** @throws ImgfsError `invalid` when something refers to it. */
async function refuseReferred(
  store: ImageStore,
  repository: string,
  { digest }: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  if (!isReferrersFinder(store)) return;
  for await (const first of store.referrers(repository, digest, { signal }))
    throw new ImgfsError('invalid', `manifest rm ${digest}: ${first.digest} refers to it`, {
      digest,
      hint: 'remove what refers to it first',
    });
}

export const manifestCommand: Command = {
  usage: 'manifest <action> <reference> [file]',
  examples: [
    ['imgfs manifest get alpine:3.20', 'the exact bytes the tag names'],
    ['imgfs manifest get alpine:3.20 --accept application/vnd.oci.image.manifest.v1+json', 'of one platform'],
    ['imgfs manifest all ghcr.io/me/app', 'what tags, indexes and referrers lead to'],
    ['imgfs manifest put ghcr.io/me/app:v2 manifest.json', 'checked, then put under the tag'],
    [
      'imgfs manifest rm ghcr.io/me/app:old --check-referrers',
      'with all its tags, unless something refers to it',
    ],
  ],
  options: (yargs) =>
    storeOptions(yargs)
      .positional('action', { choices: ['put', 'get', 'head', 'rm', 'all'] as const, demandOption: true })
      .positional('reference', { type: 'string', demandOption: true, describe: 'image' })
      .positional('file', { type: 'string', describe: 'for put: a file, or - for stdin' })
      .option('accept', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'get: media types that will do',
      })
      .option('tag', {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'put: one more tag, may be repeated',
      })
      .option('check-referrers', {
        type: 'boolean',
        default: false,
        describe: 'rm: not while something refers to it',
      })
      .option('child', {
        type: 'boolean',
        default: false,
        describe: 'put: a child of an index, with no entry of its own',
      }),
  run,
};
