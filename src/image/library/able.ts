/** A store seen as one that can do something, or a clear error. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import {
  isBlobStatter,
  isDeleter,
  isReferrersFinder,
  isRepositoryLister,
  isTagLister,
  type BlobStatter,
  type Deleter,
  type ImageStore,
  type ReferrersFinder,
  type RepositoryLister,
  type TagLister,
} from '../../store/store.js';

function unable(store: ImageStore, what: string): ImgfsError {
  return new ImgfsError('unsupported', `${store.id} ${what}`, {
    hint: 'imgfs store info shows what a store can do',
  });
}

/** @throws ImgfsError `unsupported`. */
export function repositoryLister(store: ImageStore): ImageStore & RepositoryLister {
  if (isRepositoryLister(store)) return store;
  throw unable(store, 'does not list repositories');
}

/** @throws ImgfsError `unsupported`. */
export function tagLister(store: ImageStore): ImageStore & TagLister {
  if (isTagLister(store)) return store;
  throw unable(store, 'does not list tags');
}

/** @throws ImgfsError `unsupported`. */
export function blobStatter(store: ImageStore): ImageStore & BlobStatter {
  if (isBlobStatter(store)) return store;
  throw unable(store, 'does not tell the size of blobs');
}

/** @throws ImgfsError `unsupported`. */
export function referrersFinder(store: ImageStore): ImageStore & ReferrersFinder {
  if (isReferrersFinder(store)) return store;
  throw unable(store, 'does not know referrers');
}

/** @throws ImgfsError `read-only-store`. */
export function deleter(store: ImageStore): ImageStore & Deleter {
  if (isDeleter(store)) return store;
  throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
}
