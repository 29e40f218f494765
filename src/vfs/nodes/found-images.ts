/** From a resolved name to an image directory and the time it may be believed. */
import type { FoundTag } from '../../image/name-finder.js';
import type { ResolvedName } from '../../image/tag-resolver.js';
import type { Digest } from '../../oci/digest.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { isImgfsError } from '../../errors/imgfs-error.js';
import { tagWatchKey, type Found } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { found, missing } from './answers.js';
import type { DigestNamespace } from './digest-directories.js';
import { ImageDirectory, type ImageDirectoryOptions } from './image-directory.js';
import { digestChanges, digestUnderWay } from '../writing/digest-changes.js';
import { manifestKind } from '../../oci/media-type.js';

/** A tag's image directory, believed as long as the tag is. */
export function tagFound(
  context: TreeContext,
  store: ImageStore,
  found: FoundTag,
  otherwise?: ImageDirectoryOptions['otherwise'],
): Found {
  const { repository, tag, resolved } = found;
  visited(context, store);
  const image = context.images.at({ store, repository, tag, descriptor: resolved.descriptor });
  context.seen.learn(store, repository, resolved.descriptor, undefined);
  const node = new ImageDirectory(context, image, {
    ...resolutionOf(resolved),
    ...(otherwise === undefined ? {} : { otherwise }),
  });
  const entryTtlMs = Math.min(context.images.tagTtlMs, Math.max(0, resolved.until - context.now()));
  return { node, entryTtlMs, watch: tagWatchKey(store.id, repository, tag) };
}

/** An image directory by digest: for ever the same. @throws ImgfsError when the store gave no answer. */
export async function digestFound(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Promise<Found> {
  try {
    const resolved = await context.images.tags.resolve(store, { repository, digest }, options);
    visited(context, store);
    context.images.names.confirm(store, repository);
    context.seen.learn(store, repository, resolved.descriptor, undefined);
    const image = context.images.at({ store, repository, descriptor: resolved.descriptor });
    const node = new ImageDirectory(context, image, resolutionOf(resolved));
    return found(node, resolved.stale ? context.lifetimes.hiddenMs : context.lifetimes.immutableMs);
  } catch (error) {
    if (isImgfsError(error, 'not-found')) return missing(context.lifetimes.negativeMs);
    throw error;
  }
}

/** `@digests/`: any manifest of the repository; those seen since the mount are listed. */
export function repositoryDigests(
  context: TreeContext,
  open: () => Promise<ImageStore>,
  repository: string,
): DigestNamespace {
  const { writing } = context;
  return {
    childType: 'directory',
    ...(writing === undefined ? {} : { changes: digestChanges(context, writing, open, repository) }),
    lookup: async (digest, options) => {
      const store = await open();
      return (
        digestUnderWay(context, store, repository, digest, options) ??
        (await digestFound(context, store, repository, digest, options))
      );
    },
    list: async () => {
      const sources = context.seen.of(await open(), repository);
      return sources
        .filter((source) => manifestKind(source.descriptor.mediaType) !== undefined)
        .map((source) => ({ digest: source.descriptor.digest }));
    },
  };
}

/** Registries that answered are listed at the root. */
export function visited(context: TreeContext, store: ImageStore): void {
  if (store.transport === 'docker') context.visitedRegistries.add(store.id.replace(/^docker:\/\//, ''));
}

function resolutionOf(resolved: ResolvedName): ImageDirectoryOptions {
  return { resolvedAt: resolved.at, stale: resolved.stale };
}
