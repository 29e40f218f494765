/**
 * Deleting a tag, also where a registry deletes by digest only: then a manifest that nobody else has is put under the
 * tag, and deleted by its digest (the method of regclient's `tag delete`).
 */
import { randomUUID } from 'node:crypto';
import { ImgfsError, isImgfsError } from '../errors/imgfs-error.js';
import { digestOf } from '../oci/digest.js';
import { mediaTypes } from '../oci/media-type.js';
import { putBytes } from './put-bytes.js';
import { isDeleter, isPusher, type CallOptions, type Deleter, type ImageStore } from '../store/store.js';

export interface DeleteTagOptions extends CallOptions {
  /** Use the dummy manifest where the registry refuses. */
  readonly fallback?: boolean;
}

/**
 * Ask whether a tag of this repository could be deleted, by asking for names that nobody has: for who must know before
 * another change is made.
 * @throws ImgfsError `read-only-store`, `unsupported`, and what the store throws.
 */
export async function assertTagsDeletable(
  store: ImageStore,
  repository: string,
  options: DeleteTagOptions = {},
): Promise<void> {
  if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
  // What is on this machine deletes what it may write.
  if (store.transport !== 'docker') return;
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal };
  try {
    await unlessMissing(store.deleteTag(repository, `imgfs-probe-${randomUUID()}`, call));
  } catch (error) {
    if (!isImgfsError(error, 'unsupported')) throw error;
    if (options.fallback !== true || !isPusher(store)) throw refusal(error);
    await assertManifestsDeletable(store, repository, call);
  }
}

/** The dummy must not be put where it could not be taken away again: it would be what the tag names. */
async function assertManifestsDeletable(
  store: ImageStore & Deleter,
  repository: string,
  call: CallOptions,
): Promise<void> {
  await unlessMissing(store.deleteManifest(repository, digestOf(Buffer.from(randomUUID())), call));
}

async function unlessMissing(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isImgfsError(error, 'not-found')) throw error;
  }
}

function refusal(error: ImgfsError): ImgfsError {
  return new ImgfsError('unsupported', error.message, {
    ...error.context,
    cause: error,
    hint: `${error.hint ?? 'delete the digest instead'}; or allow --tag-delete-fallback`,
  });
}

/** @throws ImgfsError `read-only-store`, `not-found`, `unsupported` where neither way works. */
export async function deleteTag(
  store: ImageStore,
  repository: string,
  tag: string,
  options: DeleteTagOptions = {},
): Promise<void> {
  if (!isDeleter(store)) throw new ImgfsError('read-only-store', `${store.id} cannot delete`);
  const call: CallOptions = options.signal === undefined ? {} : { signal: options.signal };
  try {
    await store.deleteTag(repository, tag, call);
  } catch (error) {
    if (!isImgfsError(error, 'unsupported')) throw error;
    if (options.fallback !== true || !isPusher(store)) throw refusal(error);
    await assertManifestsDeletable(store, repository, call);
    // Missing tags must not be made.
    await store.resolve({ repository, tag }, call);
    const config = Buffer.from(JSON.stringify({ imgfs: randomUUID() }));
    const descriptor = { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length };
    await putBytes(store, repository, config, call);
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: descriptor, layers: [] };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const put = await store.putManifest(repository, bytes, mediaTypes.ociManifest, { ...call, tags: [tag] });
    await store.deleteManifest(repository, put.digest, call);
  }
}
