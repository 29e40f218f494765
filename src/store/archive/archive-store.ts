/**
 * Archives of images, read in place: members are found once by seeking over their headers, then served by offset.
 * Nothing is unpacked, except that a compressed archive is decompressed once, to a file without a name; what that has found
 * is kept, and the next process decompresses what it reads.
 */
import { stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { fileBody } from '../file-body.js';
import { fileError } from '../file-error.js';
import {
  openSnapshotStore,
  type Snapshot,
  type SnapshotSource,
  type SnapshotStore,
  type SnapshotStoreOptions,
} from '../snapshot-store.js';
import type { CallOptions } from '../store.js';
import type { ArchiveContents, ScannedArchive } from './archive-contents.js';
import {
  archiveIdentity,
  openArchiveFile,
  type ArchiveFile,
  type ArchiveFileOptions,
} from './archive-file.js';
import { DockerArchiveLoader } from './docker-archive.js';
import type { LoadOptions } from './manifest-draft.js';
import { MemberTable } from './member-table.js';
import { loadOciArchive } from './oci-archive.js';
import { scanTar } from './scan-tar.js';
import { SeenBytes } from './seen-bytes.js';
import { headerWalker, type ArchiveBytes } from './walk-headers.js';

export interface ArchiveStoreOptions extends ArchiveFileOptions, SnapshotStoreOptions {}

export type ArchiveTransport = 'oci-archive' | 'docker-archive';

/** One version of an archive. */
export interface ArchiveSnapshot extends Snapshot {
  /** index.json as it is, where the archive is an image layout. */
  readonly index: Uint8Array | undefined;
}

export type ArchiveStore = SnapshotStore<ArchiveSnapshot>;

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
  const format = transport === 'oci-archive' ? ociArchive : dockerArchive;
  return openSnapshotStore(archiveSource(transport, resolvePath(path), options, format), {
    ...options,
    ...call,
  });
}

const ociArchive = (): ArchiveLoader => ({ load: loadOciArchive });
const dockerArchive = (): ArchiveLoader => new DockerArchiveLoader();

/** Finds what a tar file of some format holds; one for each opening. */
export interface ArchiveLoader {
  /** Gets the end of the archive while its headers are being read: what is found in it need not be looked at again. */
  foresee?(end: ArchiveBytes): void;
  /** Called while more headers are read, with the members that have come: what they suffice for need not be done later. */
  prepare?(members: MemberTable): void;
  load(archive: ScannedArchive, options: LoadOptions): Promise<ArchiveContents>;
}

/** A tar file as a store; `path` is absolute. */
export function archiveSource(
  transport: SnapshotSource['transport'],
  path: string,
  options: ArchiveFileOptions,
  format: () => ArchiveLoader,
): SnapshotSource<ArchiveSnapshot> {
  return {
    transport,
    id: `${transport}:${path}`,
    path,
    missingHint: 'the archive is incomplete: save the image again',
    identity: async (isFirst) => archiveIdentity(await statArchive(path, isFirst)),
    load: async (call) => {
      const seen = new SeenBytes();
      let loader = format();
      const onEnd = (end: ArchiveBytes): void => {
        seen.addEnd(end);
        loader.foresee?.(end);
      };
      const file = await openArchiveFile(path, { ...options, ...call, onEnd });
      try {
        if (file.begun === undefined) {
          // What came beforehand may be of another file.
          seen.clear();
          loader = format();
        }
        const archive = await scan(file, seen, loader, call);
        const contents = await loader.load(archive, { ...options, ...call });
        seen.clear();
        const isCurrent = file.begun?.current() === file.identity;
        return { identity: file.identity, snapshot: makeSnapshot(file, contents), isCurrent };
      } catch (error) {
        await file.close();
        throw fileError(error, 'open archive', path);
      }
    },
  };
}

async function statArchive(path: string, isFirst: boolean): ReturnType<typeof statBig> {
  try {
    return await statBig(path);
  } catch (error) {
    throw fileError(error, 'open archive', path, { missing: isFirst ? 'not-found' : 'unavailable' });
  }
}

const statBig = (path: string) => stat(path, { bigint: true });

async function scan(
  file: ArchiveFile,
  seen: SeenBytes,
  loader: ArchiveLoader,
  call: CallOptions,
): Promise<ScannedArchive> {
  const { handle, path, size, begun } = file;
  if (file.members !== undefined) return { file, members: new MemberTable(path, file.members), seen };
  const read = async (buffer: Buffer, position: number): Promise<number> =>
    (await handle.read(buffer, 0, buffer.length, position)).bytesRead;
  const walker = headerWalker(handle.fd, path);
  const table = new MemberTable(path);
  const members = await scanTar(read, {
    path,
    size,
    seen,
    onMember: (member) => table.add(member),
    onWait: () => loader.prepare?.(table),
    ...(walker === undefined ? {} : { walker }),
    ...(begun === undefined ? {} : { begun }),
    ...call,
  });
  await file.remember?.(members);
  return { file, members: table, seen };
}

function makeSnapshot(file: ArchiveFile, contents: ArchiveContents): ArchiveSnapshot {
  const { handle, path } = file;
  return {
    images: contents.images,
    index: contents.index,
    close: () => file.close(),
    blob: (digest) => {
      const blob = contents.blob(digest);
      if (blob === undefined || 'bytes' in blob) return blob;
      const { offset, size } = blob;
      const region = {
        handle,
        path,
        offset,
        size,
        release: async () => undefined,
        ...(file.ensure === undefined ? {} : { prepare: file.ensure.bind(file) }),
      };
      return { size, open: async (range, options) => fileBody(region, range, options) };
    },
  };
}
