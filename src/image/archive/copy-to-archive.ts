/** Images into an archive: what is in it stays, the file is written anew and takes the old one's place at once. */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Platform } from '../../oci/platform.js';
import { openArchiveStore, type ArchiveStore } from '../../store/archive/archive-store.js';
import { planImages, type ArchivedImage, type ArchiveFormat } from '../../store/archive/write/plan-images.js';
import {
  verifiedTar,
  writeTarFile,
  writeTarStream,
  type WriteTarOptions,
} from '../../store/archive/write/write-tar.js';
import type { DockerDaemonStore } from '../../store/docker-daemon/docker-daemon-store.js';
import { fsErrorCode, fileError } from '../../store/file-error.js';
import type { ImageName } from '../../store/image-name.js';
import { withLock } from '../../store/layout/lock.js';
import { isReferrersFinder } from '../../store/store.js';
import type { CopyEvent, CopyOptions, CopyResult, CopySource } from '../copy/copy-image.js';
import { readManifest } from '../read-manifest.js';
import { collectImage, type ImageParts } from './collect-image.js';

export interface ArchiveDestination {
  readonly format: ArchiveFormat;
  readonly path: string;
  /** Repository of the names; `''` for bare tags, which only an image layout keeps. */
  readonly repository: string;
}

export interface CopyToArchiveOptions extends Omit<CopyOptions, 'parallel'> {
  readonly platform?: Platform;
  /** Where an old archive that is compressed gets unpacked to. */
  readonly spoolDirectory?: string;
}

/** How long one writer waits for another to end: an archive of 5 GB takes less at 100 MB/s. */
const lockTimeoutMs = 60_000;

/**
 * Copy an image into an archive, which is made when there is none. A path that is no regular file (`/dev/stdout`, a
 * pipe) gets the image alone, as a stream.
 * @throws ImgfsError what the source throws; `integrity`; `invalid-content` when the file is no archive of the format;
 *   `timeout` when somebody else is writing it.
 */
export async function copyToArchive(
  source: CopySource,
  destination: ArchiveDestination,
  options: CopyToArchiveOptions = {},
): Promise<CopyResult> {
  const named = resolve(destination.path);
  const added = await collectAll(source, destination, options);
  const { state, path } = await fileState(named);
  const target = { ...destination, path };
  if (state === 'stream') return write(added, [], { ...target, isStream: true }, undefined, options);
  const replace = async (): Promise<CopyResult> => {
    // Again: it may have been made while we waited.
    if ((await fileState(path)).state === 'new') return write(added, [], target, undefined, options);
    const old = await openArchiveStore(destination.format, path, options, options);
    try {
      const kept = await collectOld(old, added, options);
      return await write(added, kept, target, (await old.snapshot()).index, options);
    } finally {
      await old.close();
    }
  };
  return withLock(join(dirname(path), `.${basename(path)}.imgfs-lock`), replace, {
    timeoutMs: lockTimeoutMs,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

interface FileState {
  readonly state: 'new' | 'archive' | 'stream';
  /** Links resolved: the file is replaced where it is. */
  readonly path: string;
}

/** An empty file is what mktemp made. What is in /dev and /proc is written to, never replaced. */
async function fileState(path: string): Promise<FileState> {
  try {
    if (/^\/(dev|proc)\//.test(path)) return { state: 'stream', path };
    const stats = await stat(path);
    if (stats.isDirectory()) {
      throw new ImgfsError('is-dir', `write archive ${path}: it is a directory`, { path });
    }
    if (!stats.isFile()) return { state: 'stream', path };
    return { state: stats.size === 0 ? 'new' : 'archive', path: await realpath(path) };
  } catch (error) {
    if (fsErrorCode(error) === 'ENOENT') return { state: 'new', path };
    throw fileError(error, 'write archive', path);
  }
}

function partsOf({ store, repository }: Pick<CopySource, 'store' | 'repository'>): ImageParts {
  return {
    readManifest: (descriptor, options) => readManifest(store, repository, descriptor, options),
    openBlob: (descriptor, range, options) => store.fetch(repository, descriptor, { ...options, range }),
  };
}

/** The image, and its referrers when they were asked for. */
async function collectAll(
  source: CopySource,
  { format, repository }: ArchiveDestination,
  options: CopyToArchiveOptions,
): Promise<readonly ArchivedImage[]> {
  const names = (options.tags ?? []).map((tag) => ({ repository, tag }));
  const parts = partsOf(source);
  const image = await collectImage(source.descriptor, names, parts, options);
  if (format === 'docker-archive' && image.loadable === undefined) {
    const { digest } = source.descriptor;
    throw new ImgfsError('unsupported', `write docker-archive: ${digest} is no image with layers`, {
      digest,
      hint: 'write it to an oci-archive:, which holds anything',
    });
  }
  const images = [image];
  if (options.referrers !== true || !isReferrersFinder(source.store)) return images;
  if (format === 'docker-archive') {
    throw new ImgfsError('unsupported', 'write docker-archive: it keeps no referrers', {
      hint: 'write to an oci-archive: to take them along',
    });
  }
  const seen = new Set([source.descriptor.digest]);
  for (let at = 0; at < images.length; at += 1) {
    const subject = images[at]?.descriptor.digest;
    if (subject === undefined) break;
    for await (const referrer of source.store.referrers(source.repository, subject, options)) {
      if (seen.has(referrer.digest)) continue;
      seen.add(referrer.digest);
      images.push(await collectImage(referrer, [], parts, options));
    }
  }
  return images;
}

/** What the archive keeps: images that have a name left, or never had one. */
async function collectOld(
  old: ArchiveStore,
  added: readonly ArchivedImage[],
  options: CopyToArchiveOptions,
): Promise<readonly ArchivedImage[]> {
  const taken = added.flatMap(({ names }) => names);
  const isTaken = (name: ImageName): boolean =>
    taken.some(({ repository, tag }) => repository === name.repository && tag === name.tag);
  const parts = partsOf({ store: old, repository: '' });
  const kept: ArchivedImage[] = [];
  for (const { descriptor, names } of await old.images()) {
    const left = names.filter((name) => !isTaken(name));
    if (names.length > 0 && left.length === 0) continue;
    kept.push(await collectImage(descriptor, left, parts, options));
  }
  return kept;
}

async function write(
  added: readonly ArchivedImage[],
  kept: readonly ArchivedImage[],
  { format, path, isStream = false }: ArchiveDestination & { readonly isStream?: boolean },
  index: Uint8Array | undefined,
  options: CopyToArchiveOptions,
): Promise<CopyResult> {
  const plan = await planImages(format, [...kept, ...added], index);
  return counted(added, kept, options, (progress) =>
    (isStream ? writeTarStream : writeTarFile)(path, plan, progress),
  );
}

/** Send an archive somewhere, and tell what passes. */
async function counted(
  added: readonly ArchivedImage[],
  kept: readonly ArchivedImage[],
  options: CopyToArchiveOptions,
  send: (progress: WriteTarOptions) => Promise<void>,
): Promise<CopyResult> {
  const ours = new Set(added.flatMap(({ blobs }) => blobs.map(({ digest }) => digest)));
  const old = new Set(kept.flatMap(({ blobs }) => blobs.map(({ digest }) => digest)));
  const present = [...ours].filter((digest) => old.has(digest)).length;
  let [sent, sentBytes] = [0, 0];
  const tell = (event: CopyEvent): void => options.onEvent?.(event);
  await send({
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onBlob: (digest, size, state) => {
      if (state === 'start') return tell({ kind: 'blob-start', digest, size });
      const outcome = ours.has(digest) && !old.has(digest) ? 'sent' : 'present';
      if (outcome === 'sent') sent += 1;
      tell({ kind: 'blob-end', digest, size, outcome });
    },
    onBytes: (digest, bytes) => {
      if (old.has(digest)) return;
      sentBytes += bytes;
      tell({ kind: 'blob-bytes', digest, bytes });
    },
  });
  const [image] = added;
  if (image === undefined) throw new ImgfsError('internal', 'write archive: nothing to write');
  for (const { descriptor } of added) {
    tell({ kind: 'manifest', digest: descriptor.digest, mediaType: descriptor.mediaType });
  }
  return {
    descriptor: image.descriptor,
    manifests: added.reduce((sum, { manifests }) => sum + manifests.length, 0),
    blobs: { present, mounted: 0, sent },
    sentBytes,
  };
}

/** Copy an image into an engine as `docker load` does. @throws as {@link copyToArchive}, and what the engine says. */
export async function copyToEngine(
  source: CopySource,
  { engine, repository }: { readonly engine: DockerDaemonStore; readonly repository: string },
  options: CopyToArchiveOptions = {},
): Promise<CopyResult> {
  const added = await collectAll(source, { format: 'docker-archive', path: engine.id, repository }, options);
  const plan = await planImages('docker-archive', added);
  return counted(added, [], options, (progress) => engine.load(verifiedTar(plan, progress), progress));
}
