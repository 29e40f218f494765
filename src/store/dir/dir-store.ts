/**
 * `dir:path`, skopeo's directory of one image (containers/image directory/): `version`, `manifest.json`, blobs under
 * their bare hex digits, children of an index as `<hex>.manifest.json`, `signature-<n>`.
 *
 * The format keeps no name, so its image is called `latest`.
 */
import { readdir, stat, unlink, utimes } from 'node:fs/promises';
import { join, resolve as resolvePath } from 'node:path';
import { ImgfsError, isImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestAlgorithm, digestHex, digestOf, type Digest } from '../../oci/digest.js';
import { referencedBlobs, type Manifest } from '../../oci/manifest.js';
import { isForeignLayer, manifestKind, mediaTypes } from '../../oci/media-type.js';
import { maxManifestBytes, parseManifest } from '../../oci/parse-manifest.js';
import { checkSignal } from '../check-signal.js';
import { clipRange, fileBody } from '../file-body.js';
import { fileError, fsErrorCode } from '../file-error.js';
import { openRegularFile, readSmallFile } from '../safe-open.js';
import { resumeSpooledUpload, startSpooledUpload, type SpoolOptions } from '../spooled-upload.js';
import type {
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
  RepositoryLister,
  Resolved,
  SignatureTaker,
  TagLister,
  Target,
  UploadOptions,
} from '../store.js';
import { makeDirectory, replaceFile } from '../write-file.js';
import { addSignature, readSignatures } from './signature-files.js';

export interface DirStoreOptions {
  /** Make the directory when there is none; an empty one is taken as well. */
  readonly create?: boolean;
  /** Refuse writes with `read-only-store`. */
  readonly readOnly?: boolean;
}

const versionText = 'Directory Transport Version: 1.1\n';
const onlyTag = 'latest';

/**
 * Open (or with `create`, make) a directory of one image.
 * @throws ImgfsError `not-found` when there is none, `invalid-content` when it is something else, `unsupported` for a
 *   version other than 1, `not-empty` when it has foreign files and `create` was asked for.
 */
export async function openDirStore(path: string, options: DirStoreOptions = {}): Promise<DirStore> {
  const root = resolvePath(path);
  if (options.create === true) await createDir(root);
  const names = await listDir(root);
  if (names.includes('version')) await checkVersion(root);
  else if (!names.includes('manifest.json')) {
    throw new ImgfsError('invalid-content', `open dir ${root}: neither version nor manifest.json is in it`, {
      path: root,
      hint: names.includes('oci-layout')
        ? 'it is an image layout: use oci: instead of dir:'
        : 'choose the directory that skopeo wrote',
    });
  }
  return new DirStore(root, options);
}

async function listDir(root: string): Promise<readonly string[]> {
  return readdir(root).catch((error: unknown) => {
    throw fileError(error, 'open dir', root, { missing: 'not-found' });
  });
}

async function createDir(root: string): Promise<void> {
  try {
    await makeDirectory(root);
  } catch (error) {
    throw fileError(error, 'create dir', root);
  }
  const names = await listDir(root);
  if (names.includes('version')) return;
  if (names.length > 0) {
    throw new ImgfsError('not-empty', `create dir ${root}: it has files that are no image`, {
      path: root,
      hint: 'choose a new or an empty directory',
    });
  }
  await replaceFile(join(root, 'version'), Buffer.from(versionText));
}

async function checkVersion(root: string): Promise<void> {
  const path = join(root, 'version');
  const { bytes } = await readSmallFile(path, { operation: 'read', within: [root], maxBytes: 4096 });
  const text = bytes.toString('latin1');
  if (/^Directory Transport Version: 1\.[0-9]+\s*$/.test(text)) return;
  throw new ImgfsError('unsupported', `read ${path}: ${JSON.stringify(text.slice(0, 80))} is not version 1`, {
    path,
  });
}

export class DirStore
  implements ImageStore, RepositoryLister, TagLister, BlobStatter, Pusher, Deleter, SignatureTaker
{
  readonly transport = 'dir';
  readonly id: string;
  readonly path: string;
  private readonly options: DirStoreOptions;
  private readonly spool: SpoolOptions;

  /** Use {@link openDirStore}. */
  constructor(root: string, options: DirStoreOptions) {
    this.path = root;
    this.id = `dir:${root}`;
    this.options = options;
    this.spool = { directory: join(root, '.imgfs-uploads'), path: (digest) => join(root, digestHex(digest)) };
  }

  async resolve(target: Target, options?: CallOptions): Promise<Resolved> {
    checkSignal(options, 'resolve');
    if (target.digest !== undefined) return this.byDigest(target.digest);
    const { repository, tag = onlyTag } = target;
    if (repository !== '' || (tag !== onlyTag && tag !== '@0')) {
      throw new ImgfsError(
        'not-found',
        `resolve ${repository}:${tag}: ${this.path} has one image, without a name`,
        {
          hint: `ask for ${onlyTag} or @0`,
        },
      );
    }
    return this.resolved(await this.readRoot());
  }

  private resolved(bytes: Uint8Array, digest: Digest = digestOf(bytes)): Resolved {
    const { mediaType } = parseManifest(bytes);
    return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
  }

  private async byDigest(digest: Digest): Promise<Resolved> {
    return this.resolved(await this.readManifest(digest), digest);
  }

  private readRoot(): Promise<Uint8Array> {
    return this.readFile('manifest.json');
  }

  private async readFile(name: string): Promise<Uint8Array> {
    const options = {
      operation: 'read',
      within: [this.path],
      missing: 'not-found',
      maxBytes: maxManifestBytes,
    } as const;
    return (await readSmallFile(join(this.path, name), options)).bytes;
  }

  /** @throws ImgfsError `not-found`. */
  private async readManifest(digest: Digest): Promise<Uint8Array> {
    try {
      return await this.readFile(`${digestHex(digest)}.manifest.json`);
    } catch (error) {
      if (!isImgfsError(error, 'not-found')) throw error;
      const root = await this.readRoot();
      if (digestOf(root, digestAlgorithm(digest)) === digest) return root;
      throw error;
    }
  }

  async fetch(_repository: string, descriptor: Descriptor, options: FetchOptions = {}): Promise<Body> {
    checkSignal(options, 'fetch');
    const { digest, size } = descriptor;
    const range = clipRange(options.range, size);
    const path = join(this.path, await this.fileOf(descriptor));
    const opened = await openRegularFile(path, {
      operation: 'fetch blob',
      within: [this.path],
      missing: 'not-found',
      digest,
    });
    if (opened.size !== size) {
      await opened.handle.close();
      throw new ImgfsError(
        'integrity',
        `fetch blob ${digest}: the file has ${opened.size} of ${size} bytes`,
        {
          path,
          digest,
          hint: 'the blob is damaged: copy the image again',
        },
      );
    }
    const { handle } = opened;
    return fileBody({ handle, path, offset: 0, size, release: () => handle.close() }, range, options);
  }

  private async fileOf({ digest, mediaType }: Descriptor): Promise<string> {
    const blob = digestHex(digest);
    if (manifestKind(mediaType) === undefined) return blob;
    const child = `${blob}.manifest.json`;
    return (await this.isThere(child)) ? child : 'manifest.json';
  }

  private async isThere(name: string, size?: number): Promise<boolean> {
    try {
      const stats = await stat(join(this.path, name));
      return size === undefined || stats.size === size;
    } catch (error) {
      if (fsErrorCode(error) === 'ENOENT') return false;
      throw fileError(error, 'stat', join(this.path, name));
    }
  }

  async close(): Promise<void> {}

  async *repositories(options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list repositories');
    if (options.last === undefined) yield '';
  }

  async *tags(repository: string, options: ListOptions = {}): AsyncGenerator<string> {
    checkSignal(options, 'list tags');
    const { last } = options;
    if (repository !== '') {
      throw new ImgfsError('not-found', `${this.path} has no repository ${JSON.stringify(repository)}`);
    }
    if ((last === undefined || last < onlyTag) && (await this.isThere('manifest.json'))) yield onlyTag;
  }

  async statBlob(_repository: string, digest: Digest, options?: CallOptions): Promise<Descriptor> {
    checkSignal(options, 'stat blob');
    const path = join(this.path, digestHex(digest));
    const stats = await stat(path).catch((error: unknown) => {
      throw fileError(error, 'stat blob', path, { missing: 'not-found', digest });
    });
    return { mediaType: mediaTypes.octetStream, digest, size: stats.size };
  }

  async startUpload(_repository: string, options: UploadOptions = {}): Promise<BlobUpload> {
    this.assertWritable('start upload');
    return startSpooledUpload(this.spool, options);
  }

  async resumeUpload(_repository: string, resumeToken: string): Promise<BlobUpload> {
    this.assertWritable('resume upload');
    return resumeSpooledUpload(this.spool, resumeToken);
  }

  async mountBlob(_repository: string, _from: string, digest: Digest): Promise<boolean> {
    this.assertWritable('mount blob');
    if (!(await this.isThere(digestHex(digest)))) return false;
    const now = new Date();
    await utimes(join(this.path, digestHex(digest)), now, now).catch(() => undefined);
    return true;
  }

  /**
   * Write a child, or the image itself: then what the image before it needed alone goes away.
   * @throws ImgfsError `unsupported` for a tag other than `latest`; `invalid-content` when it is malformed or a blob it
   *   names is missing.
   */
  async putManifest(
    repository: string,
    bytes: Uint8Array,
    mediaType: string,
    options: PutManifestOptions = {},
  ): Promise<Descriptor> {
    this.assertWritable('put manifest');
    if (repository !== '' || options.tags?.some((tag) => tag !== onlyTag) === true) {
      throw new ImgfsError('unsupported', `put manifest: ${this.id} keeps one image, without a name`, {
        hint: 'write to an image layout (oci:) to keep names',
      });
    }
    const manifest = parseManifest(bytes, mediaType);
    const digest = digestOf(bytes, options.algorithm);
    await this.checkBlobs(manifest, digest);
    const isRoot = options.child !== true || (options.tags?.length ?? 0) > 0;
    const name = isRoot ? 'manifest.json' : `${digestHex(digest)}.manifest.json`;
    const before = isRoot ? await this.readRoot().catch(() => undefined) : undefined;
    await replaceFile(join(this.path, name), bytes);
    if (isRoot) await this.removeOthers(manifest, before === undefined || !Buffer.from(before).equals(bytes));
    return { mediaType: manifest.mediaType, digest, size: bytes.length };
  }

  private async checkBlobs(manifest: Manifest, digest: Digest): Promise<void> {
    for (const blob of referencedBlobs(manifest)) {
      if (isForeignLayer(blob.mediaType) || (await this.isThere(digestHex(blob.digest), blob.size))) continue;
      throw new ImgfsError(
        'invalid-content',
        `put manifest ${digest}: the blob ${blob.digest} is not in ${this.path}`,
        {
          digest: blob.digest,
          path: this.path,
          hint: 'push the config and the layers before the manifest',
        },
      );
    }
  }

  /** Files of an earlier image: blobs, children, and signatures, which belong to one manifest. */
  private async removeOthers(root: Manifest, isNew: boolean): Promise<void> {
    const needed = await this.neededFiles(root);
    for (const name of await listDir(this.path)) {
      const isBlob = /^[0-9a-f]{64,128}(\.manifest\.json)?$/.test(name) && !needed.has(name);
      const isSignature = isNew && /^([0-9a-f]{64,128}\.)?signature-[0-9]+$/.test(name);
      if (isBlob || isSignature) await unlink(join(this.path, name)).catch(() => undefined);
    }
  }

  private async neededFiles(manifest: Manifest, needed = new Set<string>()): Promise<Set<string>> {
    for (const { digest } of referencedBlobs(manifest)) needed.add(digestHex(digest));
    const children = manifest.kind === 'index' ? manifest.manifests : [];
    for (const { digest, mediaType } of children) {
      const name = `${digestHex(digest)}.manifest.json`;
      if (needed.has(name) || !(await this.isThere(name))) continue;
      needed.add(name);
      await this.neededFiles(parseManifest(await this.readFile(name), mediaType), needed);
    }
    return needed;
  }

  async signatures(_repository: string, digest: Digest): Promise<readonly Uint8Array[]> {
    return readSignatures(this.path, await this.signaturePrefix(digest));
  }

  /** @throws ImgfsError `too-large`, `not-found` without such a manifest. */
  async putSignature(_repository: string, digest: Digest, signature: Uint8Array): Promise<string> {
    this.assertWritable('put signature');
    return addSignature(this.path, await this.signaturePrefix(digest), signature);
  }

  /** Those of a child of the index have its digits in front. */
  private async signaturePrefix(digest: Digest): Promise<string> {
    await this.readManifest(digest);
    const isRoot = digestOf(await this.readRoot(), digestAlgorithm(digest)) === digest;
    return isRoot ? '' : `${digestHex(digest)}.`;
  }

  async deleteTag(repository: string, tag: string): Promise<void> {
    this.assertWritable('delete tag');
    await this.resolve({ repository, tag });
    await this.remove('manifest.json');
  }

  async deleteManifest(_repository: string, digest: Digest): Promise<void> {
    this.assertWritable('delete manifest');
    const child = `${digestHex(digest)}.manifest.json`;
    if (await this.isThere(child)) return this.remove(child);
    await this.readManifest(digest);
    return this.remove('manifest.json');
  }

  async deleteBlob(_repository: string, digest: Digest): Promise<void> {
    this.assertWritable('delete blob');
    await this.remove(digestHex(digest));
  }

  private async remove(name: string): Promise<void> {
    const path = join(this.path, name);
    await unlink(path).catch((error: unknown) => {
      throw fileError(error, 'delete', path, { missing: 'not-found' });
    });
  }

  private assertWritable(operation: string): void {
    if (this.options.readOnly !== true) return;
    throw new ImgfsError('read-only-store', `${operation}: ${this.id} was opened read-only`);
  }
}
