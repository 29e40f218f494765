/**
 * `sif:path`: images of Singularity and Apptainer. An OCI-SIF is an index and its blobs, served where they lie. An older
 * one is an artifact with a file for each data object: the squashfs of the root, the definition, signatures, SBOMs.
 */
import { stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { digestOf, isDigest, type Digest } from '../../oci/digest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { digestMember, readExactly } from '../archive/archive-contents.js';
import { archiveIdentity } from '../archive/archive-file.js';
import { fileBody } from '../file-body.js';
import { fileError } from '../file-error.js';
import { ImageTable } from '../layout/image-table.js';
import { maxIndexBytes, parseLayoutIndex } from '../layout/layout-index.js';
import { remembered } from '../remembered.js';
import { openRegularFile, type OpenedFile } from '../safe-open.js';
import {
  openSnapshotStore,
  type Snapshot,
  type SnapshotBlob,
  type SnapshotStore,
  type SnapshotStoreOptions,
} from '../snapshot-store.js';
import type { CallOptions } from '../store.js';
import { refuseField } from '../../oci/json-fields.js';
import { readSif, sifTypes, type SifObject } from './sif-file.js';

export interface SifOptions extends SnapshotStoreOptions {
  /** Where digests are remembered. */
  readonly spoolDirectory?: string;
}

/**
 * Open a SIF file; an image without a name is called `latest`.
 * @throws ImgfsError `not-found`, `denied`, `invalid-content` for what is none or cut short, `unsupported`.
 */
export async function openSif(path: string, options: SifOptions & CallOptions = {}): Promise<SnapshotStore> {
  const absolute = resolvePath(path);
  return openSnapshotStore(
    {
      transport: 'sif',
      id: `sif:${absolute}`,
      path: absolute,
      missingHint: 'the file lacks it: build it again',
      identity: async () => {
        const stats = await stat(absolute, { bigint: true }).catch((error: unknown) => {
          throw fileError(error, 'open sif', absolute, { missing: 'not-found' });
        });
        return archiveIdentity(stats);
      },
      load: async (call) => {
        const file = await openRegularFile(absolute, {
          operation: 'open sif',
          within: ['/'],
          missing: 'not-found',
        });
        try {
          const snapshot = await readSnapshot(file, absolute, { ...options, ...call });
          return { identity: archiveIdentity(file.stats), snapshot };
        } catch (error) {
          await file.handle.close();
          throw fileError(error, 'open sif', absolute);
        }
      },
    },
    options,
  );
}

async function readSnapshot(
  file: OpenedFile,
  path: string,
  options: SifOptions & CallOptions,
): Promise<Snapshot> {
  const objects = await readSif(file, path);
  const root = objects.find(({ type }) => type === sifTypes.ociRootIndex);
  const blobs = new Map<Digest, SnapshotBlob>();
  const place = ({ offset, size }: SifObject): SnapshotBlob => {
    const region = { handle: file.handle, path, offset, size, release: async () => undefined };
    return { size, open: async (range, call) => fileBody(region, range, call) };
  };
  const digests = await digestsOf(file, path, objects, options);
  for (const [at, object] of objects.entries()) {
    const digest = digests[at];
    if (digest !== undefined && object !== root) blobs.set(digest, place(object));
  }
  const images =
    root === undefined ? artifactTable(path, objects, digests, blobs) : await indexTable(file, path, root);
  return { images, blob: (digest) => blobs.get(digest), close: () => file.handle.close() };
}

/** OCI blobs say what they are; of the others, one pass tells. */
async function digestsOf(
  file: OpenedFile,
  path: string,
  objects: readonly SifObject[],
  options: SifOptions & CallOptions,
): Promise<readonly Digest[]> {
  const isList = (value: unknown): value is Digest[] =>
    Array.isArray(value) && value.length === objects.length && value.every((item) => isDigest(item));
  if (objects.every(({ digest, type }) => digest !== undefined || type === sifTypes.ociRootIndex)) {
    return objects.map(({ digest }) => digest ?? digestOf(new Uint8Array(0)));
  }
  return remembered(
    options.spoolDirectory,
    `sif ${path} ${archiveIdentity(file.stats)}`,
    isList,
    async () => {
      const found: Digest[] = [];
      for (const object of objects) {
        found.push(
          object.digest ??
            (await digestMember({ file: { path, handle: file.handle } }, object, 'sha256', options)),
        );
      }
      return found;
    },
  );
}

async function indexTable(file: OpenedFile, path: string, { offset, size }: SifObject): Promise<ImageTable> {
  if (size > maxIndexBytes) refuseField(`open sif ${path}`, `an index of ${size} bytes`);
  const bytes = Buffer.alloc(size);
  await readExactly({ path, handle: file.handle }, bytes, offset, size);
  const { entries } = await parseLayoutIndex(bytes, path);
  const [only] = entries;
  if (only === undefined || entries.length > 1 || only.names.length > 0) return new ImageTable(path, entries);
  return new ImageTable(path, [{ ...only, names: [{ repository: '', tag: 'latest' }] }]);
}

const names: Readonly<Record<number, string>> = {
  [sifTypes.definition]: 'definition',
  [sifTypes.environment]: 'environment',
  [sifTypes.labels]: 'labels.json',
  [sifTypes.signature]: 'signature',
  [sifTypes.json]: 'data.json',
  [sifTypes.generic]: 'data',
  [sifTypes.cryptMessage]: 'message',
  [sifTypes.sbom]: 'sbom.json',
};

const fileSystems: Readonly<Record<number, string>> = {
  1: 'squashfs',
  2: 'ext3',
  3: 'tar',
  4: 'raw',
  5: 'encrypted',
};

function titleOf({ type, fileSystem, role, id }: SifObject): string {
  if (type !== sifTypes.partition) return `${id}-${names[type] ?? 'object'}`;
  const suffix = fileSystems[fileSystem] ?? 'partition';
  return role === 2 ? `rootfs.${suffix}` : `${id}-partition.${suffix}`;
}

function artifactTable(
  path: string,
  objects: readonly SifObject[],
  digests: readonly Digest[],
  blobs: Map<Digest, SnapshotBlob>,
): ImageTable {
  const put = (bytes: Buffer, mediaType: string): { mediaType: string; digest: Digest; size: number } => {
    const digest = digestOf(bytes);
    blobs.set(digest, { bytes });
    return { mediaType, digest, size: bytes.length };
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: 'application/vnd.sylabs.sif',
    config: put(Buffer.from('{}'), mediaTypes.ociEmpty),
    layers: objects.map((object, at) => ({
      mediaType:
        object.type === sifTypes.partition && object.fileSystem === 1
          ? 'application/vnd.sylabs.image.layer.v1.squashfs'
          : mediaTypes.octetStream,
      digest: digests[at],
      size: object.size,
      annotations: { 'org.opencontainers.image.title': titleOf(object) },
    })),
  };
  const descriptor = {
    ...put(Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest),
    artifactType: manifest.artifactType,
  };
  return new ImageTable(path, [{ descriptor, names: [{ repository: '', tag: 'latest' }] }]);
}
