/** `layers/`: the blobs of an image as they are stored, by position, with a suffix that says what they are. */
import type { Image } from '../../image/image.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { layerSuffix } from '../../oci/media-type.js';
import type { CallOptions } from '../../store/store.js';
import { nameToText, type Name } from '../name.js';
import type { DirectoryNode, Found, Listing, NodeStat, NodeXattrs } from '../node.js';
import type { TreeContext } from '../tree-context.js';
import { directoryStat, found, listed, missing, toNs } from './answers.js';
import { BlobFile, cachedPercent } from './blob-file.js';

/** `0.tar.gz`: the name of a layer blob. */
export function layerFileName(index: number, layer: Descriptor): string {
  return `${index}${layerSuffix(layer.mediaType)}`;
}

export class LayersDirectory implements DirectoryNode {
  readonly type = 'directory';
  readonly attrTtlMs: number;
  readonly #context: TreeContext;
  readonly #image: Image;

  constructor(context: TreeContext, image: Image) {
    this.#context = context;
    this.#image = image;
    this.attrTtlMs = context.lifetimes.immutableMs;
  }

  stat(): NodeStat {
    return directoryStat(this.#mtimeNs());
  }

  xattrs(): NodeXattrs {
    return new Map([
      [
        'user.imgfs.cached',
        async (options) => String(await cachedPercent(this.#context, await this.#layers(options))),
      ],
    ]);
  }

  async lookup(name: Name, options: CallOptions): Promise<Found> {
    const text = nameToText(name);
    const position = Number.parseInt(text, 10);
    const layer = (await this.#layers(options))[position];
    if (layer !== undefined && layerFileName(position, layer) === text) return this.#file(layer);
    for (const extension of this.#context.extensions) {
      const answer = await extension.lookup('layers', this.#image, name, options);
      if (answer !== undefined) return answer;
    }
    return missing(this.#context.lifetimes.immutableMs);
  }

  async list(options: CallOptions): Promise<Listing> {
    const layers = await this.#layers(options);
    const children = layers.flatMap((layer, index) => listed(layerFileName(index, layer), this.#file(layer)));
    for (const extension of this.#context.extensions) {
      children.push(...(await extension.list('layers', this.#image, options)));
    }
    // Decoded layers appear when their size is known.
    return { children, immutable: this.#context.extensions.length === 0 };
  }

  #file(layer: Descriptor): Found {
    const file = new BlobFile(this.#context, this.#image.source(layer), { mtimeNs: this.#mtimeNs() });
    return found(file, this.#context.lifetimes.immutableMs);
  }

  async #layers(options: CallOptions): Promise<readonly Descriptor[]> {
    const { descriptor, manifest } = await this.#image.chosen(options);
    this.#context.seen.learn(this.#image.store, this.#image.repository, descriptor, manifest);
    return manifest.kind === 'image' ? manifest.layers : manifest.blobs;
  }

  #mtimeNs(): bigint {
    const created = this.#image.peekCreated();
    return created === undefined ? this.#context.mountTimeNs : toNs(created);
  }
}
