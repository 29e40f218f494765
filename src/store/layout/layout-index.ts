/** index.json of an OCI image layout, read again whenever the file changed. */
import { stat } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ImgfsError } from '../../errors/imgfs-error.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { parseUntrustedJson } from '../../oci/json.js';
import { parseDescriptor } from '../../oci/parse-descriptor.js';
import { parseManifest } from '../../oci/parse-manifest.js';
import { mediaTypes } from '../../oci/media-type.js';
import { fileError } from '../file-error.js';
import type { ImageName } from '../image-name.js';
import { readSmallFile } from '../safe-open.js';
import { entryNames, ImageTable } from './image-table.js';
import { splitIndex } from './split-index.js';

/** An entry is about 250 bytes, so this is 130,000 images; containers/image and containerd have no bound. */
export const maxIndexBytes = 32 * 1024 * 1024;

/** Above this an index is parsed in pieces: about 500 images of 10 µs each. */
const inOneGoBytes = 128 * 1024;

/** Entries parsed between two turns of the event loop: 2 ms. */
const entriesAtOnce = 200;

/**
 * Parse index.json. A large one is parsed in pieces, with other work between.
 * @throws ImgfsError `invalid-content` when it is not an image index, `too-large`.
 */
export async function parseLayoutIndex(bytes: Uint8Array, path: string): Promise<ImageTable> {
  const what = `${path}/index.json`;
  const isLarge = bytes.length > inOneGoBytes && bytes.length <= maxIndexBytes;
  const split = isLarge ? await splitIndex(bytes) : undefined;
  const parsed = parseManifest(split?.skeleton ?? bytes, undefined, { what, maxBytes: maxIndexBytes });
  if (parsed.kind !== 'index') {
    throw new ImgfsError('invalid-content', `parse ${what}: an ${parsed.kind} manifest, not an index`, {
      path,
    });
  }
  const manifests = split === undefined ? parsed.manifests : await parseElements(split.elements, what);
  const images: { descriptor: Descriptor; names: readonly ImageName[] }[] = [];
  for (const [at, descriptor] of manifests.entries()) {
    if (at % entriesAtOnce === entriesAtOnce - 1) await nextTurn();
    images.push({ descriptor, names: entryNames(descriptor.annotations) });
  }
  return new ImageTable(path, images);
}

async function parseElements(elements: readonly Uint8Array[], what: string): Promise<readonly Descriptor[]> {
  const parsed: Descriptor[] = [];
  for (const [at, element] of elements.entries()) {
    if (at % entriesAtOnce === entriesAtOnce - 1) await nextTurn();
    const where = `${what}: manifests[${at}]`;
    parsed.push(parseDescriptor(parseUntrustedJson(element, { what: where, maxBytes: inOneGoBytes }), where));
  }
  return parsed;
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
    const table = await parseLayoutIndex(bytes, this.root);
    this.loaded = { identity: identityOf(stats), table };
    return table;
  }

  private read(): ReturnType<typeof readSmallFile> {
    return readSmallFile(this.path, { operation: 'read', within: [this.root], maxBytes: maxIndexBytes });
  }
}
