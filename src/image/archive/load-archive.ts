/** Loading: an image of an archive that somebody wrote to disk goes into a repository. */
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import {
  openArchiveStore,
  type ArchiveStore,
  type ArchiveStoreOptions,
} from '../../store/archive/archive-store.js';
import type { CallOptions } from '../../store/store.js';
import { copyImage, type CopyDestination, type CopyOptions, type CopyResult } from '../copy/copy-image.js';

/**
 * Open an archive whose format is not known: OCI first, since newer `docker save` writes both into one file.
 * @throws ImgfsError `invalid-content` when it is neither; `unsupported` for a compression that cannot be read.
 */
export async function openImageArchive(
  path: string,
  options: ArchiveStoreOptions & CallOptions = {},
): Promise<ArchiveStore> {
  try {
    return await openArchiveStore('oci-archive', path, options, options);
  } catch (error) {
    if (!isImgfsError(error, 'invalid-content')) throw error;
    try {
      return await openArchiveStore('docker-archive', path, options, options);
    } catch (again) {
      if (!isImgfsError(again, 'invalid-content')) throw again;
      throw new ImgfsError('invalid-content', `load ${path}: neither an OCI nor a docker archive`, {
        path,
        cause: again,
        hint: 'write what docker save, podman save, skopeo copy or imgfs cp makes',
      });
    }
  }
}

/**
 * The image meant by a place: the only one of the archive, or the one of that name.
 * @throws ImgfsError `invalid` when there are several and none has the name, or there is none.
 */
export async function imageForTag(
  archive: ArchiveStore,
  { repository, tag }: { readonly repository: string; readonly tag: string },
  options: CallOptions = {},
): Promise<Descriptor> {
  const images = await archive.images();
  const [only] = images;
  if (images.length === 1 && only !== undefined) return only.descriptor;
  for (const target of [
    { repository, tag },
    { repository: '', tag },
  ]) {
    try {
      return (await archive.resolve(target, options)).descriptor;
    } catch (error) {
      if (!isImgfsError(error, 'not-found')) throw error;
    }
  }
  throw new ImgfsError(
    'invalid',
    `load: ${images.length === 0 ? 'the archive has no image' : `the archive has ${images.length} images, none of them ${repository}:${tag}`}`,
    { hint: 'load one by its name: imgfs cp oci-archive:<path>:<name> <destination>' },
  );
}

/** Copy one image of an archive to a tag. @throws ImgfsError as `copyImage`. */
export async function loadImage(
  archive: ArchiveStore,
  descriptor: Descriptor,
  destination: CopyDestination,
  options: CopyOptions,
): Promise<CopyResult> {
  return copyImage({ store: archive, repository: '', descriptor }, destination, options);
}
