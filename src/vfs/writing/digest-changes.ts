/** What may be changed in `@blobs/` and `@digests/` of a repository. */
import { ImgfsError } from '../../errors/imgfs-error.js';
import { digestAlgorithm, digestHex } from '../../oci/digest.js';
import { join } from '../../image/name-finder.js';
import type { CallOptions, ImageStore } from '../../store/store.js';
import type { Found } from '../node.js';
import { found } from '../nodes/answers.js';
import type { DigestChanges } from '../nodes/digest-directories.js';
import { makePending, pendingAt, removePending } from '../nodes/pending-directory.js';
import { UploadFile } from '../nodes/upload-file.js';
import { mountedBlob } from '../nodes/uploads-directory.js';
import type { TreeContext } from '../tree-context.js';
import type { Digest } from '../../oci/digest.js';
import { placeKey } from './place-key.js';
import type { Writing } from './writing.js';

const blobsKey = (store: ImageStore, repository: string): string => placeKey(store, `${repository}/@blobs`);

/** A blob that is being written by its digest. */
export function blobUnderWay(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  digest: Digest,
): Found | undefined {
  const entry = context.writing?.table.begunIn(blobsKey(store, repository)).get(digest);
  return entry === undefined || entry.isDone ? undefined : found(new UploadFile(context, store, entry), 0);
}

export function blobChanges(
  context: TreeContext,
  writing: Writing,
  open: () => Promise<ImageStore>,
  repository: string,
): DigestChanges {
  return {
    create: async (digest, caller) => {
      const store = await open();
      const entry = await writing.table.start(blobsKey(store, repository), digest, {
        store,
        repository,
        name: digest,
        expected: digest,
      });
      const node = new UploadFile(context, store, entry);
      return { node, file: node.handle(caller) };
    },
    link: async (digest, source, caller) => {
      if (source.descriptor.digest !== digest)
        throw new ImgfsError(
          'digest-mismatch',
          `link: the blob is ${source.descriptor.digest}, not ${digest}`,
        );
      return mountedBlob(context, await open(), repository, source, caller);
    },
    adopt: async (digest, node) => {
      const store = await open();
      if (
        !(node instanceof UploadFile) ||
        node.store.id !== store.id ||
        node.entry.writer.state.repository !== repository
      )
        throw new ImgfsError('cross-device', 'rename: not an upload of this repository');
      const done = node.entry.committed?.descriptor.digest;
      if (done !== undefined && done !== digest)
        throw new ImgfsError('digest-mismatch', `rename: the content is ${done}, not ${digest}`);
      if (node.entry.isSession)
        throw new ImgfsError('immutable', 'rename: the data of a session stays in it');
      if (!node.entry.isDone) await node.entry.writer.rename(digest, digest);
      writing.table.move(node.entry, blobsKey(store, repository), digest);
    },
    remove: async (digest, options) => {
      const store = await open();
      const entry = writing.table.begunIn(blobsKey(store, repository)).get(digest);
      const isUnderWay = entry !== undefined && !entry.isDone;
      if (isUnderWay) await entry.cancel();
      writing.table.forget(blobsKey(store, repository), digest);
      if (!isUnderWay) await writing.deleteBlob(store, repository, digest, options);
    },
  };
}

const digestPath = (repository: string, digest: Digest): string =>
  join(repository, `@digests/${digestAlgorithm(digest)}/${digestHex(digest)}`);

/** An image that is being written by its digest. */
export function digestUnderWay(
  context: TreeContext,
  store: ImageStore,
  repository: string,
  digest: Digest,
  options: CallOptions,
): Found | undefined {
  return pendingAt(context, store, digestPath(repository, digest), options);
}

export function digestChanges(
  context: TreeContext,
  writing: Writing,
  open: () => Promise<ImageStore>,
  repository: string,
): DigestChanges {
  return {
    mkdir: async (digest, caller) => {
      const store = await open();
      const path = digestPath(repository, digest);
      return makePending(context, writing, { store, repository, digest, path }, caller);
    },
    remove: async (digest, options) => {
      const store = await open();
      if (await removePending(writing, placeKey(store, digestPath(repository, digest)))) return;
      await writing.deleteManifest(store, repository, digest, options);
    },
  };
}
