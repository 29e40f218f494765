/**
 * Opening for writing what is under a digest already: `cp -r` over a copy, `cp` of a manifest over a tag's. Equal
 * content is taken and changes nothing; other content is refused, but for the manifest of a tag that may be replaced.
 */
import type { BlobSource } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { checkManifest } from '../../image/push-manifest.js';
import { digestAlgorithm, digestHex, digestOf } from '../../oci/digest.js';
import { manifestKind } from '../../oci/media-type.js';
import { maxManifestBytes } from '../../oci/parse-manifest.js';
import type { Caller } from '../file-system.js';
import type { NodeStat } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import type { WritableFile } from '../writable-node.js';
import { ManifestHandle } from './manifest-handle.js';
import { UploadEntry } from './upload-entry.js';
import { UploadHandle } from './upload-handle.js';
import type { Writing } from './writing.js';

/** @throws ImgfsError `read-only-store`; the handle throws `immutable`, `forbidden`, `digest-mismatch` on close. */
export async function rewriteBlob(
  context: TreeContext,
  source: BlobSource,
  tag: string | undefined,
  stat: () => NodeStat,
  caller: Caller,
): Promise<WritableFile> {
  const { writing } = context;
  if (writing === undefined)
    throw new ImgfsError('read-only-store', 'open for writing: the mount takes no writes');
  const { descriptor, store, repository } = source;
  if (manifestKind(descriptor.mediaType) !== undefined) {
    return new ManifestHandle(caller, {
      stat: (size) => ({ ...stat(), size: size === 0 ? descriptor.size : size }),
      before: () => context.content.readAll(source, { maxBytes: maxManifestBytes }),
      put: (bytes, options) => replaceManifest(writing, source, tag, bytes, options),
    });
  }
  const name = digestHex(descriptor.digest);
  const writer = await writing.uploads.start({ store, repository, name, expected: descriptor.digest });
  const entry = new UploadEntry(writing.uploads, writer, { discardFailed: true });
  return new UploadHandle(entry, caller, { stat, storeId: store.id, repository });
}

async function replaceManifest(
  writing: Writing,
  { descriptor, store, repository }: BlobSource,
  tag: string | undefined,
  bytes: Uint8Array,
  { signal }: Pick<Caller, 'signal'>,
): Promise<void> {
  if (digestOf(bytes, digestAlgorithm(descriptor.digest)) === descriptor.digest) return;
  const manifest = checkManifest(bytes);
  if (tag === undefined) {
    throw new ImgfsError(
      'immutable',
      `write manifest: the place names ${descriptor.digest}, and that never changes`,
      {
        digest: descriptor.digest,
        hint: 'write it under a tag',
      },
    );
  }
  writing.assertOverwrite(`the tag ${tag}`);
  if (manifestKind(manifest.mediaType) !== manifestKind(descriptor.mediaType)) {
    throw new ImgfsError(
      'invalid',
      `write manifest: ${manifest.mediaType} in place of ${descriptor.mediaType}`,
      {
        hint: 'rmdir the tag first, or make a new one',
      },
    );
  }
  await writing.putManifest(store, repository, bytes, { tag, signal });
}
