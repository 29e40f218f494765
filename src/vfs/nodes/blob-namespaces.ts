/** Blobs by digest: `blobs/` of the whole mount, and `@blobs/` of one repository. */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import { isUnreachable } from '../../image/tag-resolver.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { manifestKind, mediaTypes } from '../../oci/media-type.js';
import { isBlobStatter, type CallOptions, type ImageStore } from '../../store/store.js';
import type { Found } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { found, missing } from './answers.js';
import { BlobFile } from './blob-file.js';
import { blobChanges, blobUnderWay } from '../writing/digest-changes.js';
import type { DigestNamespace } from './digest-directories.js';

function fileFound(context: TreeContext, source: BlobSource): Found {
  return found(
    new BlobFile(context, source, { mtimeNs: context.mountTimeNs }),
    context.lifetimes.immutableMs,
  );
}

/** Stands in for the store of a blob that is cached but was not seen in any manifest since the mount. */
const cacheOnly: ImageStore = {
  transport: 'dir',
  id: 'cache',
  resolve: () => Promise.reject(noOrigin()),
  fetch: () => Promise.reject(noOrigin()),
  close: () => Promise.resolve(),
};

function noOrigin(): ImgfsError {
  return new ImgfsError(
    'offline',
    'read a cached blob: part of it is missing, and where it came from is not known',
    {
      hint: 'read it through the image it belongs to',
    },
  );
}

/** `blobs/`: what is in the cache, and what manifests named since the mount. Cached blobs are listed. */
export function mountBlobs(context: TreeContext): DigestNamespace {
  const { content, seen, lifetimes } = context;
  const cachedSource = async (digest: Digest): Promise<BlobSource | undefined> => {
    const { state, size } = await content.status(digest);
    if (state !== 'complete' || size === undefined) return undefined;
    return {
      store: cacheOnly,
      repository: '',
      descriptor: { mediaType: mediaTypes.octetStream, digest, size },
    };
  };
  return {
    childType: 'file',
    lookup: async (digest) => {
      const source = seen.get(digest) ?? (await cachedSource(digest));
      return source === undefined ? missing(lifetimes.negativeMs) : fileFound(context, source);
    },
    list: async () => {
      const entries: { readonly digest: Digest }[] = [];
      for await (const { digest, status } of content.list())
        if (status.state === 'complete') entries.push({ digest });
      return entries;
    },
  };
}

/** `@blobs/`: any blob of the repository; those that manifests named since the mount are listed. */
export function repositoryBlobs(
  context: TreeContext,
  open: () => Promise<ImageStore>,
  repository: string,
): DigestNamespace {
  const { seen, lifetimes, content } = context;
  const ask = async (
    store: ImageStore,
    digest: Digest,
    options: CallOptions,
  ): Promise<Descriptor | undefined> => {
    if (!isBlobStatter(store)) return undefined;
    try {
      return await store.statBlob(repository, digest, options);
    } catch (error) {
      if (isImgfsError(error, 'not-found')) return undefined;
      const { state, size } = await content.status(digest);
      if (!isUnreachable(error) || state !== 'complete' || size === undefined) throw error;
      return { mediaType: mediaTypes.octetStream, digest, size };
    }
  };
  const { writing } = context;
  return {
    childType: 'file',
    ...(writing === undefined ? {} : { changes: blobChanges(context, writing, open, repository) }),
    lookup: async (digest, options) => {
      const store = await open();
      const underWay = blobUnderWay(context, store, repository, digest);
      if (underWay !== undefined) return underWay;
      const known = seen.get(digest);
      if (known !== undefined && known.store.id === store.id && known.repository === repository) {
        return fileFound(context, known);
      }
      const descriptor = await ask(store, digest, options);
      if (descriptor === undefined) return missing(lifetimes.negativeMs);
      const source: BlobSource = { store, repository, descriptor };
      seen.add(source);
      return fileFound(context, source);
    },
    list: async () => {
      const store = await open();
      return seen
        .of(store, repository)
        .filter((source) => manifestKind(source.descriptor.mediaType) === undefined)
        .map((source) => ({ digest: source.descriptor.digest, found: fileFound(context, source) }));
    },
  };
}
