/** index.json of an OCI image layout, read again whenever the file changed. */
import { stat } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { join } from 'node:path';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { fileError } from '../file-error.js';
import { readSmallFile } from '../safe-open.js';
import { entryNames, ImageTable } from './image-table.js';

/**
 * An entry is about 250 bytes, so this is 130,000 images; containers/image and containerd have no bound. Parsing takes
 * 12 ms for each MiB, once per change of the file.
 */
export const maxIndexBytes = 32 * 1024 * 1024;

/**
 * Parse index.json.
 * @throws ImgfsError `invalid-content` when it is not an image index, `too-large`.
 */
export function parseLayoutIndex(bytes: Uint8Array, path: string): ImageTable {
  const parsed = parseManifest(bytes, undefined, { what: `${path}/index.json`, maxBytes: maxIndexBytes });
  if (parsed.kind !== 'index') {
    throw new ImgfsError(
      'invalid-content',
      `parse ${path}/index.json: an ${parsed.kind} manifest, not an index`,
      {
        path,
      },
    );
  }
  return new ImageTable(
    path,
    parsed.manifests.map((descriptor) => ({ descriptor, names: entryNames(descriptor.annotations) })),
  );
}

/** An empty index.json. */
export const emptyIndex = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] });

interface Loaded {
  readonly identity: string;
  readonly table: ImageTable;
}

/** What changes when somebody replaces or rewrites the file. */
function identityOf(stats: BigIntStats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}

export class LayoutIndexFile {
  readonly path: string;
  private readonly root: string;
  private loaded: Loaded | undefined;
  private loading: Promise<ImageTable> | undefined;

  constructor(root: string) {
    this.root = root;
    this.path = join(root, 'index.json');
  }

  /** The images as the file has them now; one stat when nothing changed. @throws as {@link parseLayoutIndex}. */
  async table(): Promise<ImageTable> {
    const stats = await stat(this.path, { bigint: true }).catch((error: unknown) => {
      throw fileError(error, 'read', this.path);
    });
    if (this.loaded?.identity === identityOf(stats)) return this.loaded.table;
    this.loading ??= this.load().finally(() => {
      this.loading = undefined;
    });
    return this.loading;
  }

  /** The bytes, for editing under the lock. */
  async bytes(): Promise<Uint8Array> {
    return (await this.read()).bytes;
  }

  private async load(): Promise<ImageTable> {
    const { bytes, stats } = await this.read();
    const table = parseLayoutIndex(bytes, this.root);
    this.loaded = { identity: identityOf(stats), table };
    return table;
  }

  private read(): ReturnType<typeof readSmallFile> {
    return readSmallFile(this.path, { operation: 'read', within: [this.root], maxBytes: maxIndexBytes });
  }
}
