/**
 * Archives of images, read in place: members are found once by seeking over their headers, then served by offset.
 * Nothing is unpacked, except that a compressed archive is decompressed once, to a file without a name.
 */
import { stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { Digest } from '../../oci/digest.js';
import { manifestKind, mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import type { Platform } from '../../oci/platform.js';
import { checkSignal } from '../check-signal.js';
import { clipRange, fileBody, memoryBody } from '../file-body.js';
import { fileError } from '../file-error.js';
import type { ImageEntry } from '../layout/image-table.js';
import { ReferrersIndex } from '../layout/referrers.js';
import type {
  BlobStatter,
  Body,
  CallOptions,
  FetchOptions,
  ImageStore,
  ListOptions,
  ReferrersFinder,
  ReferrersOptions,
  RepositoryLister,
  Resolved,
  TagLister,
  Target,
} from '../store.js';
import { blobSize, readExactly, type ArchiveBlob, type ArchiveContents } from './archive-contents.js';
import {
  archiveIdentity,
  openArchiveFile,
  type ArchiveFile,
  type ArchiveFileOptions,
} from './archive-file.js';
import { loadDockerArchive } from './docker-archive.js';
import { MemberTable } from './member-table.js';
import { loadOciArchive } from './oci-archive.js';
import { scanTar } from './scan-tar.js';

export interface ArchiveStoreOptions extends ArchiveFileOptions {
  /** Chooses among images of one name; default: this machine's. */
  readonly platform?: Platform;
}

export type ArchiveTransport = 'oci-archive' | 'docker-archive';

/**
 * Open an archive and find its images.
 * @throws ImgfsError `not-found` when there is no such file, `invalid-content` when it is damaged or something else,
 *   `unsupported` for a compression or format we cannot read.
 */
export async function openArchiveStore(
  transport: ArchiveTransport,
  path: string,
  options: ArchiveStoreOptions = {},
  call: CallOptions = {},
): Promise<ArchiveStore> {
  const store = new ArchiveStore(transport, resolvePath(path), options);
  try {
    await store.load(call);
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

/** One version of the archive; its file is closed when the last body that reads from it is. */
class LoadedArchive {
  readonly file: ArchiveFile;
  readonly contents: ArchiveContents;
  readonly referrers: ReferrersIndex;
  private users = 1;

  constructor(file: ArchiveFile, contents: ArchiveContents) {
    this.file = file;
    this.contents = contents;
    this.referrers = new ReferrersIndex((digest) => this.readManifest(digest));
  }

  acquire(): void {
    this.users += 1;
  }

  async release(): Promise<void> {
    this.users -= 1;
    if (this.users === 0) await this.file.close();
  }

  blob(digest: Digest): ArchiveBlob {
    const blob = this.contents.blob(digest);
    if (blob !== undefined) return blob;
    throw new ImgfsError('not-found', `${this.file.path} has no blob ${digest}`, {
      digest,
      path: this.file.path,
      hint: 'the archive is incomplete: save the image again',
    });
  }

  async readManifest(digest: Digest): Promise<Uint8Array> {
    const blob = this.blob(digest);
    if ('bytes' in blob) return blob.bytes;
    if (blob.size > maxManifestBytes) {
      throw new ImgfsError(
        'too-large',
        `read manifest ${digest}: ${blob.size} bytes, the limit is ${maxManifestBytes}`,
        {
          digest,
        },
      );
    }
    this.acquire();
    try {
      const bytes = Buffer.alloc(blob.size);
      await readExactly(this.file, bytes, blob.offset, blob.size);
      return bytes;
    } finally {
      await this.release();
    }
  }
}

export class ArchiveStore implements ImageStore, RepositoryLister, TagLister, BlobStatter, ReferrersFinder {
  readonly transport: ArchiveTransport;
  readonly id: string;
  readonly path: string;
  private readonly options: ArchiveStoreOptions;
  private current: LoadedArchive | undefined;
  private loading: Promise<LoadedArchive> | undefined;
  private closed = false;

  /** Use {@link openArchiveStore}. `path` is absolute. */
  constructor(transport: ArchiveTransport, path: string, options: ArchiveStoreOptions) {
    this.transport = transport;
    this.path = path;
    this.id = `${transport}:${path}`;
    this.options = options;
  }

  /** Every image of the archive, also those without a name, in its order. */
  async images(): Promise<readonly ImageEntry[]> {
    return (await this.archive()).contents.images.entries;
  }

  /** index.json as it is, where the archive is an image layout. */
  async indexDocument(): Promise<Uint8Array | undefined> {
    return (await this.archive()).contents.index;
  }

  async resolve(target: Target, options?: CallOptions): Promise<Resolved> {
    checkSignal(options, 'resolve');
    const archive = await this.archive();
    const { images } = archive.contents;
    const { digest } = target;
    if (digest === undefined) return { descriptor: images.resolve(target, this.options.platform) };
    const entry = images.byDigestOf(digest);
    if (entry !== undefined && manifestKind(entry.descriptor.mediaType) !== undefined) {
      return { descriptor: entry.descriptor };
    }
    const bytes = await archive.readManifest(digest);
    const { mediaType } = parseManifest(bytes);
    return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
  }

  async fetch(_repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    checkSignal(options, 'fetch');
    const { digest, size } = descriptor;
    const range = clipRange(options.range, size);
    const archive = await this.archive();
    const blob = archive.blob(digest);
    if (blobSize(blob) !== size) {
      throw new ImgfsError(
        'integrity',
        `fetch blob ${digest}: the archive has ${blobSize(blob)} of ${size} bytes`,
        {
          digest,
          path: this.path,
        },
      );
    }
    if ('bytes' in blob) return memoryBody(blob.bytes, range);
    archive.acquire();
    const { handle } = archive.file;
    const region = { handle, path: this.path, offset: blob.offset, size, release: () => archive.release() };
    return fileBody(region, range, options);
  }

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list repositories');
    const { last } = options;
    const { images } = (await this.archive()).contents;
    yield* images.repositories().filter((name) => last === undefined || name > last);
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list tags');
    const { last } = options;
    const { images } = (await this.archive()).contents;
    yield* images.tags(repository).filter((tag) => last === undefined || tag > last);
  }

  async statBlob(_repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor> {
    checkSignal(options, 'stat blob');
    const size = blobSize((await this.archive()).blob(digest));
    return { mediaType: mediaTypes.octetStream, digest, size };
  }

  async *referrers(
    _repository: string,
    subject: Digest,
    options: ReferrersOptions = {},
  ): AsyncGenerator<Descriptor> {
    checkSignal(options, 'list referrers');
    const archive = await this.archive();
    yield* archive.referrers.find(archive.contents.images, subject, options.artifactType);
  }

  async close(): Promise<void> {
    this.closed = true;
    const { current } = this;
    this.current = undefined;
    await current?.release();
  }

  /** The archive as the file is now: one stat when nothing changed, a new scan when it was replaced. */
  private async archive(): Promise<LoadedArchive> {
    if (this.closed) throw new ImgfsError('bad-handle', `${this.id} was closed`);
    const stats = await stat(this.path, { bigint: true }).catch((error: unknown) => {
      throw fileError(error, 'open archive', this.path, {
        missing: this.current ? 'unavailable' : 'not-found',
      });
    });
    if (this.current?.file.identity === archiveIdentity(stats)) return this.current;
    this.loading ??= this.load().finally(() => {
      this.loading = undefined;
    });
    return this.loading;
  }

  /** Scan the file as it is now. Called by {@link openArchiveStore} and when the file changed. */
  async load(call: CallOptions = {}): Promise<LoadedArchive> {
    const file = await openArchiveFile(this.path, { ...this.options, ...call });
    try {
      const loaded = new LoadedArchive(file, await this.scan(file, call));
      await this.current?.release();
      this.current = loaded;
      if (this.closed) await this.close();
      return loaded;
    } catch (error) {
      await file.close();
      throw fileError(error, 'open archive', this.path);
    }
  }

  private async scan(file: ArchiveFile, call: CallOptions): Promise<ArchiveContents> {
    const read = async (buffer: Buffer, position: number): Promise<number> =>
      (await file.handle.read(buffer, 0, buffer.length, position)).bytesRead;
    const members = await scanTar(read, { path: file.path, size: file.size, ...call });
    const archive = { file, members: new MemberTable(file.path, members) };
    return this.transport === 'oci-archive' ? loadOciArchive(archive) : loadDockerArchive(archive, call);
  }
}
