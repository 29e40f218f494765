/** `export/` of image directories: archives made while they are read, their sizes known beforehand. */
import type { ContentCache } from '../../content/content.js';
import { ImgfsError } from '../../errors/imgfs-error.js';
import { isImageConfig, type Image } from '../../image/image.js';
import { isTreeLayer } from '../../oci/media-type.js';
import { parseFullName } from '../../store/image-name.js';
import type { CallOptions } from '../../store/store.js';
import type { ImageInside } from '../inside/image-inside.js';
import { defaultLifetimes } from '../lifetimes.js';
import { nameFromText, nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, ListedChild, Listing, NodeStat } from '../node.js';
import { directoryStat, found, listed, missing, toNs } from '../nodes/answers.js';
import type { ImageExtension, ImagePlace } from '../tree-context.js';
import { ImageArchiveFile } from './image-archive-file.js';
import { RootfsArchiveFile } from './rootfs-archive-file.js';

export interface ImageExportsOptions {
  readonly content: ContentCache;
  /** Whose trees are flattened; not closed here. */
  readonly inside: ImageInside;
  /** Time of what has none, in milliseconds since the epoch. Default: now. */
  readonly mountTimeMs?: number;
}

const directoryName = 'export';

export class ImageExports implements ImageExtension {
  readonly #options: ImageExportsOptions;
  readonly #mountTimeMs: number;

  constructor(options: ImageExportsOptions) {
    this.#options = options;
    this.#mountTimeMs = options.mountTimeMs ?? Date.now();
  }

  owns(place: ImagePlace, name: string): boolean {
    return place === 'image' && name === directoryName;
  }

  list(place: ImagePlace, image: Image): readonly ListedChild[] {
    return place === 'image' ? listed(directoryName, this.#directory(image)) : [];
  }

  lookup(place: ImagePlace, image: Image, name: Name): Found | undefined {
    return place === 'image' && nameToText(name) === directoryName ? this.#directory(image) : undefined;
  }

  #directory(image: Image): Found {
    const mtimeNs = toNs(image.peekCreated() ?? this.#mountTimeMs);
    return found(new ExportDirectory(image, this.#options, mtimeNs), defaultLifetimes.immutableMs);
  }
}

class ExportDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs = defaultLifetimes.immutableMs;
  readonly #image: Image;
  readonly #options: ImageExportsOptions;
  readonly #mtimeNs: bigint;

  constructor(image: Image, options: ImageExportsOptions, mtimeNs: bigint) {
    this.#image = image;
    this.#options = options;
    this.#mtimeNs = mtimeNs;
  }

  stat(): NodeStat {
    return directoryStat(this.#mtimeNs);
  }

  async lookup(name: Name, options: CallOptions): Promise<Found> {
    const match = /^(oci|docker|rootfs)(?:@(.+))?\.tar$/.exec(nameToText(name));
    const [, format, escaped] = match ?? [];
    if (format === undefined) return missing(this.attrTtlMs);
    if (format === 'oci') return this.#archive('oci', escaped);
    if (!(await isLoadable(this.#image, options))) return missing(this.attrTtlMs);
    if (format === 'docker') return this.#archive('docker', escaped);
    if (escaped !== undefined) return missing(this.attrTtlMs);
    const view = await this.#options.inside.rootfsView(this.#image, options);
    return view === undefined
      ? missing(this.attrTtlMs)
      : found(new RootfsArchiveFile(view, this.#mtimeNs), this.attrTtlMs);
  }

  async list(options: CallOptions): Promise<Listing> {
    const names = [
      'oci.tar',
      ...((await isLoadable(this.#image, options)) ? ['docker.tar', 'rootfs.tar'] : []),
    ];
    const children = names.map((name): ListedChild => ({ name: nameFromText(name), type: 'file' }));
    return { children, immutable: true };
  }

  #archive(format: 'oci' | 'docker', escaped: string | undefined): Found {
    const name = escaped === undefined ? undefined : unescaped(escaped);
    // A name that is none is no file: `docker@….tar` is made up by whoever looks it up.
    if (escaped !== undefined && (name === undefined || parseFullName(name) === undefined))
      return missing(this.attrTtlMs);
    const { content } = this.#options;
    return found(
      new ImageArchiveFile({
        image: this.#image,
        format,
        content,
        mtimeNs: this.#mtimeNs,
        ...(name === undefined ? {} : { name }),
      }),
      this.attrTtlMs,
    );
  }
}

/** `ghcr.io%2Fme%2Fapp%3Av1`: a slash cannot stand in a file name. */
function unescaped(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Container images have a root file system; artifacts have not. @throws ImgfsError what the store throws. */
async function isLoadable(image: Image, options: CallOptions): Promise<boolean> {
  try {
    const { manifest } = await image.chosen(options);
    if (manifest.kind !== 'image') return false;
    return isImageConfig(manifest.config) && manifest.layers.every(({ mediaType }) => isTreeLayer(mediaType));
  } catch (error) {
    // An index without the wanted platform, or a refused manifest: the OCI archive has it as it is.
    if (error instanceof ImgfsError && ['not-found', 'invalid-content', 'unsupported'].includes(error.code))
      return false;
    throw error;
  }
}
