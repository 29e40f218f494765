/** What a directory of tags does to them: a repository, and its `@tags/`. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Image } from '../../image/image.js';
import { join } from '../../image/name-finder.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { isTag } from '../../oci/reference.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import { isImgfsError } from '../../errors/imgfs-error.js';
import { removePending } from '../nodes/pending-directory.js';
import type { TreeContext } from '../tree-context.js';
import { placeKey } from './place-key.js';
import type { Writing } from './writing.js';

/** @throws ImgfsError `read-only-store` on a tree that takes no writes. */
export function writingOf(context: TreeContext): Writing {
  if (context.writing !== undefined) return context.writing;
  throw new ImgfsError('read-only-store', 'the mount takes no writes');
}

/** Point a tag at an image. @throws ImgfsError `forbidden` when it is there and may not be replaced. */
export async function tagImageAt(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  tag: string,
  image: Image,
  options: CallOptions,
): Promise<Descriptor> {
  const writing = writingOf(context);
  if (!isTag(tag)) throw new ImgfsError('name-invalid', `${JSON.stringify(tag)} is not a tag`);
  const before = await context.images.tags
    .resolve(store, { repository, tag }, options)
    .catch((error: unknown) => {
      if (isImgfsError(error, 'not-found')) return undefined;
      throw error;
    });
  if (before?.descriptor.digest === image.descriptor.digest) return before.descriptor;
  if (before !== undefined) writing.assertOverwrite(`the tag ${tag}`);
  return writing.tagImage(store, repository, tag, image, options);
}

/** Take a tag away, or a directory that was made for one. */
export async function removeTagAt(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  name: string,
  options: CallOptions,
): Promise<void> {
  const writing = writingOf(context);
  if (await removePending(writing, placeKey(store, join(repository, name)))) return;
  writing.assertDelete(`the tag ${name}`);
  const tag = await context.images.names.findTag(store, repository, name, options);
  if (tag === undefined) {
    throw new ImgfsError('forbidden', `rmdir ${name}: only tags can be removed`, {
      hint: 'a repository is gone when its last tag and manifest are; some registries have a command for it',
    });
  }
  await writing.deleteTag(store, repository, name, options);
}
