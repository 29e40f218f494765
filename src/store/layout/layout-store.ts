/**
 * OCI image layout directories (image-spec image-layout.md): `oci:path`.
 *
 * Written atomically: a blob gets its name after its bytes matched it, index.json is replaced as a whole under a lock
 * between processes. What is ours in the directory begins with `.imgfs-`; other tools pass over it.
 */
import { unlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { referencedBlobs, type Manifest } from '../../oci/manifest.js';
import { isForeignLayer, manifestKind } from '../../oci/media-type.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import type { Platform } from '../../oci/platform.js';
import { isTag } from '../../oci/reference.js';
import { checkSignal } from '../check-signal.js';
import { fileError, fsErrorCode } from '../file-error.js';
import {
  removeOldUploads,
  resumeSpooledUpload,
  startSpooledUpload,
  type SpoolOptions,
} from '../spooled-upload.js';
import type {
  BlobDater,
  BlobStatter,
  BlobUpload,
  Body,
  CallOptions,
  Deleter,
  FetchOptions,
  ImageStore,
  ListOptions,
  Pusher,
  PutManifestOptions,
  ReferrersFinder,
  ReferrersOptions,
  RepositoryLister,
  Resolved,
  TagLister,
  Target,
  UploadOptions,
} from '../store.js';
import { makeDirectory, replaceFile } from '../write-file.js';
import { BlobDirectory } from './blob-directory.js';
import {
  defaultMinAgeMs,
  findGarbage,
  removeBlobs,
  type CollectOptions,
  type CollectResult,
} from './collect-garbage.js';
import {
  addUnnamed,
  isSameEntries,
  readIndexDocument,
  removeDigest,
  removeName,
  setName,
  type IndexDocument,
  type RawEntry,
} from './edit-index.js';
import { canonicalRepository, type ImageEntry } from './image-table.js';
import { LayoutIndexFile, parseLayoutIndex } from './layout-index.js';
import { withLock } from './lock.js';
import { reachableBlobs } from './reachable.js';
import { ReferrersIndex } from './referrers.js';

export interface LayoutStoreOptions {
  /** Refuse writes with `read-only-store`. */
  readonly readOnly?: boolean;
  /** Chooses among images of one name; default: this machine's. */
  readonly platform?: Platform;
  /** How long to wait for other writers; default 30,000. */
  readonly lockTimeoutMs?: number;
}

export class LayoutStore
  implements ImageStore, RepositoryLister, TagLister, BlobStatter, BlobDater, ReferrersFinder, Pusher, Deleter
{
  readonly transport = 'oci';
  readonly id: string;
  /** The directory, links resolved. */
  readonly path: string;
  private readonly options: LayoutStoreOptions;
  private readonly index: LayoutIndexFile;
  private readonly blobs: BlobDirectory;
  private readonly referrersIndex: ReferrersIndex;
  private readonly spool: SpoolOptions;
  private garbageHolds = 0;

  /** Use `openLayoutStore`, which checks the directory. */
  constructor(root: string, options: LayoutStoreOptions) {
    this.id = `oci:${root}`;
    this.path = root;
    this.options = options;
    this.index = new LayoutIndexFile(root);
    this.blobs = new BlobDirectory(root);
    this.referrersIndex = new ReferrersIndex((digest) => this.blobs.readManifest(digest));
    this.spool = {
      directory: join(root, '.imgfs-uploads'),
      path: (digest) => this.blobs.path(digest),
    };
  }

  async resolve(target: Target, options?: CallOptions): Promise<Resolved> {
    checkSignal(options, 'resolve');
    const table = await this.index.table();
    if (target.digest === undefined) return { descriptor: table.resolve(target, this.options.platform) };
    const entry = table.byDigestOf(target.digest);
    if (entry !== undefined && manifestKind(entry.descriptor.mediaType) !== undefined) {
      return { descriptor: entry.descriptor };
    }
    return this.sniff(target.digest);
  }

  /** A manifest that the index does not name: a child of an index, or an image whose tag has moved on. */
  private async sniff(digest: Digest): Promise<Resolved> {
    const bytes = await this.blobs.readManifest(digest);
    const { mediaType } = parseManifest(bytes);
    return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
  }

  async fetch(_repository: string, descriptor: Descriptor, options?: FetchOptions): Promise<Body> {
    checkSignal(options, 'fetch');
    return this.blobs.fetch(descriptor, options);
  }

  /** Nothing is kept open between calls. */
  async close(): Promise<void> {}

  /** Every image of the index, also those without a name, in its order. */
  async images(): Promise<readonly ImageEntry[]> {
    return (await this.index.table()).entries;
  }

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list repositories');
    const { last } = options;
    yield* (await this.index.table()).repositories().filter((name) => last === undefined || name > last);
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list tags');
    const { last } = options;
    yield* (await this.index.table()).tags(repository).filter((tag) => last === undefined || tag > last);
  }

  async statBlob(_repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor> {
    checkSignal(options, 'stat blob');
    return this.blobs.stat(digest);
  }

  async blobDate(_repository: string, digest: Digest, options?: CallOptions): Promise<Date> {
    checkSignal(options, 'stat blob');
    return this.blobs.date(digest);
  }

  async *referrers(
    _repository: string,
    subject: Digest,
    options: ReferrersOptions = {},
  ): AsyncGenerator<Descriptor> {
    checkSignal(options, 'list referrers');
    yield* this.referrersIndex.find(await this.index.table(), subject, options.artifactType);
  }

  async startUpload(_repository: string, options: UploadOptions = {}): Promise<BlobUpload> {
    this.assertWritable('start upload');
    return startSpooledUpload(this.spool, options);
  }

  async resumeUpload(_repository: string, resumeToken: string): Promise<BlobUpload> {
    this.assertWritable('resume upload');
    return resumeSpooledUpload(this.spool, resumeToken);
  }

  /** All repositories of a layout share their blobs; the blob is made young, so that no collector takes it now. */
  async mountBlob(_repository: string, _from: string, digest: Digest): Promise<boolean> {
    this.assertWritable('mount blob');
    if (!(await this.blobs.has(digest))) return false;
    const now = new Date();
    await utimes(this.blobs.path(digest), now, now).catch(() => undefined);
    return true;
  }

  /**
   * Write a manifest, and its tags or, without any, an entry without a name.
   * @throws ImgfsError `invalid-content` when it is malformed or a blob it names is missing, `name-invalid`, `timeout`.
   */
  async putManifest(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options: PutManifestOptions = {},
  ): Promise<Descriptor> {
    this.assertWritable('put manifest');
    const names = (options.tags ?? []).map((tag) => this.writableName(repository, tag));
    const manifest = parseManifest(bytes, mediaType);
    const artifactType = manifest.kind === 'index' ? undefined : manifest.artifactType;
    const descriptor: Descriptor = {
      mediaType: manifest.mediaType,
      digest: digestOf(bytes, options.algorithm),
      size: bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
    };
    await this.edit(options, async ({ entries }) => {
      await this.checkBlobs(manifest, descriptor.digest);
      await this.writeManifest(descriptor.digest, bytes);
      if (names.length > 0) {
        return names.reduce((before, name) => setName(before, name, descriptor), entries);
      }
      // A referrer must be listed to be found, also when it was pushed as somebody's child.
      const listed = options.child !== true || manifest.subject !== undefined;
      return listed ? addUnnamed(entries, descriptor) : entries;
    });
    return descriptor;
  }

  /** An image whose blobs are missing would be found broken by whoever reads it; an index may be sparse. */
  private async checkBlobs(manifest: Manifest, digest: Digest): Promise<void> {
    for (const blob of referencedBlobs(manifest)) {
      if (isForeignLayer(blob.mediaType) || (await this.blobs.has(blob.digest, blob.size))) continue;
      throw new ImgfsError(
        'invalid-content',
        `put manifest ${digest}: the blob ${blob.digest} is not in the layout`,
        {
          digest: blob.digest,
          path: this.path,
          hint: 'push the config and the layers before the manifest',
        },
      );
    }
  }

  private async writeManifest(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (await this.blobs.has(digest, bytes.length)) return;
    const path = this.blobs.path(digest);
    await makeDirectory(this.spool.directory);
    await makeDirectory(dirname(path));
    await replaceFile(path, bytes, { mode: 0o444, temporary: this.spool.directory });
  }

  async deleteTag(repository: string, tag: string, options: CallOptions = {}): Promise<void> {
    this.assertWritable('delete tag');
    const name = this.writableName(repository, tag);
    const changed = await this.edit(options, async ({ entries }) => removeName(entries, name));
    if (!changed) {
      throw new ImgfsError(
        'not-found',
        `delete tag ${tag}: ${this.path} has no such tag in ${JSON.stringify(repository)}`,
      );
    }
  }

  /**
   * Take a manifest out of the index, and its blob out of the layout unless another image needs it.
   * @throws ImgfsError `not-found`; `invalid` for a child of an index that stays.
   */
  async deleteManifest(repository: string, digest: Digest, options: CallOptions = {}): Promise<void> {
    this.assertWritable('delete manifest');
    const canonical = canonicalRepository(repository) ?? repository;
    await this.edit(options, async (document) => {
      const kept = removeDigest(document.entries, canonical, digest);
      const wasListed = !isSameEntries(document.entries, kept);
      const needed = await this.isNeeded(document.write(kept), digest);
      if (needed && !wasListed) {
        throw new ImgfsError('invalid', `delete manifest ${digest}: another image of the layout needs it`, {
          digest,
          hint: 'delete the index that names it, or the tags in other repositories',
        });
      }
      if (!needed) await this.removeManifestBlob(digest, wasListed);
      return kept;
    });
  }

  private async isNeeded(index: Uint8Array, digest: Digest): Promise<boolean> {
    const { entries } = await parseLayoutIndex(index, this.path);
    const roots = entries.map(({ descriptor }) => descriptor);
    return (await reachableBlobs(roots, (child) => this.blobs.readManifest(child))).has(digest);
  }

  private async removeManifestBlob(digest: Digest, wasListed: boolean): Promise<void> {
    const path = this.blobs.path(digest);
    await unlink(path).catch((error: unknown) => {
      if (wasListed && fsErrorCode(error) === 'ENOENT') return;
      throw fileError(error, 'delete manifest', path, { missing: 'not-found', digest });
    });
  }

  async deleteBlob(_repository: string, digest: Digest, options: CallOptions = {}): Promise<void> {
    this.assertWritable('delete blob');
    await this.edit(options, async ({ entries }) => {
      const path = this.blobs.path(digest);
      await unlink(path).catch((error: unknown) => {
        throw fileError(error, 'delete blob', path, { missing: 'not-found', digest });
      });
      return entries;
    });
  }

  /**
   * Let nothing be collected through this store until the answer is called (regclient's `GCLock`): for work that puts
   * blobs long before the manifest that needs them. Other processes are kept off by the least age of garbage.
   */
  holdGarbage(): () => void {
    this.garbageHolds += 1;
    let held = true;
    return () => {
      if (held) this.garbageHolds -= 1;
      held = false;
    };
  }

  /**
   * Remove blobs that no image needs and uploads nobody goes on with. Referrers of what stays stay.
   * @throws ImgfsError `invalid-content` when an image cannot be walked: then nothing is removed; `busy` while somebody
   *   holds it off.
   */
  async collectGarbage(options: CollectOptions & CallOptions = {}): Promise<CollectResult> {
    if (options.dryRun !== true) this.assertWritable('collect garbage');
    if (options.dryRun !== true && this.garbageHolds > 0)
      throw new ImgfsError('busy', `collect garbage of ${this.path}: work under way holds it off`, {
        path: this.path,
        hint: 'collect when the copies into the layout are done',
      });
    const { dryRun = false, minAgeMs = defaultMinAgeMs } = options;
    return this.locked(options, async () => {
      const roots = (await this.index.table()).entries.map(({ descriptor }) => descriptor);
      const read = (digest: Digest): Promise<Uint8Array> => this.blobs.readManifest(digest);
      const { garbage, keptBlobs } = await findGarbage(join(this.path, 'blobs'), roots, read, minAgeMs);
      if (!dryRun) await removeBlobs(garbage);
      return {
        removed: garbage.map(({ digest, size }) => ({ digest, size })),
        freedBytes: garbage.reduce((sum, { size }) => sum + size, 0),
        keptBlobs,
        uploads: await removeOldUploads(this.spool.directory, minAgeMs, dryRun),
      };
    });
  }

  /** Change the entries of index.json under the lock; true when something changed. */
  private edit(
    options: CallOptions,
    change: (document: IndexDocument) => Promise<readonly RawEntry[]>,
  ): Promise<boolean> {
    return this.locked(options, async () => {
      const document = readIndexDocument(await this.index.bytes());
      const entries = await change(document);
      if (isSameEntries(document.entries, entries)) return false;
      await replaceFile(this.index.path, document.write(entries));
      return true;
    });
  }

  private locked<Result>(options: CallOptions, work: () => Promise<Result>): Promise<Result> {
    const { lockTimeoutMs } = this.options;
    return withLock(join(this.path, '.imgfs-lock'), work, {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(lockTimeoutMs === undefined ? {} : { timeoutMs: lockTimeoutMs }),
    });
  }

  private writableName(repository: string, tag: string): { repository: string; tag: string } {
    const canonical = canonicalRepository(repository);
    if (canonical !== undefined && isTag(tag)) return { repository: canonical, tag };
    throw new ImgfsError(
      'name-invalid',
      `not a name of an image: ${JSON.stringify(`${repository}:${tag}`.slice(0, 300))}`,
    );
  }

  private assertWritable(operation: string): void {
    if (this.options.readOnly !== true) return;
    throw new ImgfsError('read-only-store', `${operation}: ${this.id} was opened read-only`);
  }
}
