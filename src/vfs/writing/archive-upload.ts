/**
 * `image.tar` of an image in the making: an archive is spooled, and when it is closed its image becomes the tag. What
 * is whole and could not be loaded stays in the spool, is shown in `@uploads/` and tried again.
 */
import { ImgfsError, describeError, toImgfsError } from '../../errors/imgfs-error.js';
import { imageForTag, loadImage, openImageArchive } from '../../image/archive/load-archive.js';
import { assertPusher, isPassing } from '../../image/upload/uploads.js';
import type { OwnedUpload } from '../../image/upload/spool.js';
import { untilAborted } from '../../errors/aborted.js';
import { ifMissing } from '../../errors/if-missing.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { manifestKind } from '../../oci/media-type.js';
import type { ImageStore } from '../../store/store.js';
import type { Caller } from '../file-system.js';
import type { NodeStat, NodeXattrs, OpenFile, XattrReader } from '../node.js';
import type { WritableFile, WritableFileNode } from '../writable-node.js';
import { isSameProcess, processOf } from './thread-group.js';
import type { KeptItem, Writing } from './writing.js';

/** Name of the file: in a directory made with mkdir, or in that of a tag that it is to replace. */
export const archiveName = 'image.tar';

export interface ArchivePlace {
  readonly store: ImageStore;
  readonly repository: string;
  readonly tag: string;
}

export class ArchiveUpload implements KeptItem {
  readonly place: ArchivePlace;
  readonly upload: OwnedUpload;
  readonly #writing: Writing;
  readonly #onLoaded: () => void;
  readonly #stop = new AbortController();
  #loading: Promise<Descriptor> | undefined;
  #loaded = false;
  #gone = false;
  #handles = 0;

  constructor(writing: Writing, place: ArchivePlace, upload: OwnedUpload, onLoaded: () => void) {
    this.#writing = writing;
    this.place = place;
    this.upload = upload;
    this.#onLoaded = onLoaded;
    writing.archives.add(this);
  }

  /** An empty one in the spool, in place of any other on its way to the tag. @throws ImgfsError `read-only-store`. */
  static async begin(writing: Writing, place: ArchivePlace, onLoaded: () => void): Promise<ArchiveUpload> {
    const { store, repository, tag } = place;
    assertPusher(store);
    await ArchiveUpload.of(writing, place)?.drop();
    const upload = await writing.uploads.spool.create({
      storeId: store.id,
      repository,
      name: `${tag}:${archiveName}`,
      archive: { tag },
    });
    return new ArchiveUpload(writing, place, upload, onLoaded);
  }

  /** The one on its way to a tag. */
  static of(writing: Writing, { store, repository, tag }: ArchivePlace): ArchiveUpload | undefined {
    return [...writing.archives].find(
      ({ place, isLoaded }) =>
        !isLoaded && place.store.id === store.id && place.repository === repository && place.tag === tag,
    );
  }

  get shownAs(): string {
    return this.upload.state.name;
  }

  get startedAt(): number {
    return this.upload.state.startedAt;
  }

  /** The store has the image. */
  get isLoaded(): boolean {
    return this.#loaded;
  }

  size(): number {
    return this.upload.file.size;
  }

  waitsFor(): string | undefined {
    return this.upload.state.error;
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.upload.file.read(buffer, position);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    this.#assertOpen();
    await this.#loading?.catch(() => undefined);
    this.#loading = undefined;
    await this.upload.file.write(data, position);
  }

  async truncate(size: number): Promise<void> {
    this.#assertOpen();
    this.#loading = undefined;
    await this.upload.file.truncate(size);
  }

  /** Make the tag of what was written. @throws ImgfsError what is wrong with the archive, and what the store throws. */
  load(): Promise<Descriptor> {
    const loading = (this.#loading ??= this.#load());
    loading.catch(() => {
      if (this.#loading === loading) this.#loading = undefined;
    });
    return loading;
  }

  hold(): void {
    this.#handles += 1;
  }

  /** The last handle goes: loaded archives need no spool any more. */
  async release(): Promise<void> {
    this.#handles -= 1;
    if (this.#handles > 0 || !this.#loaded) return;
    await this.drop();
  }

  /** Give it up, or forget it when it is loaded. */
  async drop(): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    this.#writing.archives.delete(this);
    this.#stop.abort(new ImgfsError('interrupted', 'the upload is cancelled'));
    await this.#loading?.catch(() => undefined);
    await this.upload.remove();
  }

  /** Leave it to the next process. */
  async leave(): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    this.#writing.archives.delete(this);
    this.#stop.abort(new ImgfsError('interrupted', 'the mount ends'));
    await this.#loading?.catch(() => undefined);
    await (this.#loaded ? this.upload.remove() : this.upload.release());
  }

  /** Content that nobody looks at any more, after a restart. */
  async loadAndForget(): Promise<void> {
    await this.load();
    await this.drop();
  }

  async #load(): Promise<Descriptor> {
    const { store, repository, tag } = this.place;
    const { signal } = this.#stop;
    const { upload } = this;
    try {
      const archive = await openImageArchive(upload.file.path, {
        spoolDirectory: this.#writing.uploads.spool.directory,
        signal,
      });
      try {
        const wanted = await imageForTag(archive, { repository, tag }, { signal });
        const isSame = (there: Digest): boolean => there === wanted.digest;
        await this.#writing.assertTagFree(store, repository, tag, isSame, { signal });
        await this.#assertKind(wanted, signal);
        const destination = { store: assertPusher(store), repository };
        const { descriptor } = await loadImage(archive, wanted, destination, { signal, tags: [tag] });
        await this.#writing.noteImage(store, repository, tag, descriptor);
        this.#loaded = true;
        this.#onLoaded();
        return descriptor;
      } finally {
        await archive.close();
      }
    } catch (thrown) {
      const error = asArgument(toImgfsError(thrown, 'load archive'));
      await this.#noteFailure(error);
      throw error;
    }
  }

  /** As of manifests (W10): an index does not become an image, nor an image an index, by a copy over it. */
  async #assertKind(wanted: Descriptor, signal: AbortSignal): Promise<void> {
    const { store, repository, tag } = this.place;
    const there = await ifMissing(store.resolve({ repository, tag }, { signal }), undefined);
    if (there === undefined || manifestKind(there.descriptor.mediaType) === manifestKind(wanted.mediaType))
      return;
    throw new ImgfsError(
      'invalid',
      `load archive: ${tag} is ${there.descriptor.mediaType}, this ${wanted.mediaType}`,
      {
        hint: 'rmdir the tag first, or load it under another name',
      },
    );
  }

  async #noteFailure(failure: ImgfsError): Promise<void> {
    if (this.#gone) return;
    const { upload } = this;
    try {
      await upload.file.sync();
      await upload.save({ ...upload.state, phase: 'failed', error: describeError(failure) });
    } catch {
      // The failure itself is what is told.
    }
    if (isPassing(failure)) this.#writing.later(this, () => this.loadAndForget());
  }

  #assertOpen(): void {
    if (!this.#gone && !this.#loaded) return;
    throw new ImgfsError('immutable', `${archiveName}: it is loaded, or given up`);
  }
}

/** An archive that is none is wrong content of the caller's, not of a store's: EINVAL, not EIO. */
function asArgument(error: ImgfsError): ImgfsError {
  if (error.code !== 'invalid-content') return error;
  return new ImgfsError('invalid', error.message, {
    ...error.context,
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

/** `image.tar` in the directory of the image that it is to become. */
export class ArchiveFile implements WritableFileNode {
  readonly type = 'file';
  readonly version: string;
  readonly attrTtlMs = 0;
  readonly #archive: ArchiveUpload;

  constructor(archive: ArchiveUpload) {
    this.#archive = archive;
    this.version = `archive ${archive.upload.state.id}`;
  }

  stat(): NodeStat {
    const { startedAt } = this.#archive;
    return { size: this.#archive.size(), mode: 0o644, mtimeNs: BigInt(startedAt) * 1_000_000n };
  }

  xattrs(): NodeXattrs {
    const error: XattrReader = () => this.#archive.waitsFor();
    return new Map([['user.imgfs.upload.error', error]]);
  }

  open(): OpenFile {
    return {
      keepCache: false,
      directIo: true,
      read: (buffer, position) => this.#archive.read(buffer, position),
      close: () => undefined,
    };
  }

  openForWriting(_flags: number, caller: Caller): ArchiveHandle {
    return new ArchiveHandle(this.#archive, caller, () => this.stat());
  }
}

/** `image.tar` while it is open for writing. */
export class ArchiveHandle implements WritableFile {
  readonly keepCache = false;
  readonly directIo = true;
  readonly #archive: ArchiveUpload;
  readonly #opener: Promise<number>;
  readonly #stat: () => NodeStat;
  #touched = false;

  constructor(archive: ArchiveUpload, opener: Caller, stat: () => NodeStat) {
    this.#archive = archive;
    this.#opener = processOf(opener.pid);
    this.#stat = stat;
    archive.hold();
  }

  stat(): NodeStat {
    return this.#stat();
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#archive.read(buffer, position);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    this.#touched = true;
    await this.#archive.write(data, position);
  }

  truncate(size: number): Promise<void> {
    return this.#archive.truncate(size);
  }

  async flush(caller: Caller): Promise<void> {
    if (!this.#touched || !isSameProcess(await this.#opener, await processOf(caller.pid))) return;
    await this.fsync(caller);
  }

  async fsync(caller: Caller): Promise<void> {
    if (this.#touched) await untilAborted(this.#archive.load(), caller.signal);
  }

  async close(): Promise<void> {
    await this.#archive.release();
  }
}
